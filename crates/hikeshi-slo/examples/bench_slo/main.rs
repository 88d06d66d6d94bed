//! Measures a backtest: 100 SLOs over 30 days in steps of 15 seconds, all alerts and the budget at every step.
//!
//! `cargo run --release -p hikeshi-slo --example bench_slo [ROUNDS]`

#![expect(clippy::print_stdout, reason = "a program that tells its figures")]

use std::fmt::Write as _;
use std::time::Instant;

use hikeshi_slo::backtest::{Columns, Mark, MarkKind, backtest};
use hikeshi_slo::{Spec, parse, specs};

const SLOS: usize = 100;
const STEP: u32 = 15;
const DAYS: u32 = 30;

fn main() -> Result<(), String> {
    let rounds: usize = std::env::args()
        .nth(1)
        .map_or(Ok(5), |n| n.parse())
        .map_err(|_| "ROUNDS is no number")?;
    let specs = objectives()?;
    let columns: Vec<Columns> = (0..SLOS).map(history).collect();
    let marks: Vec<Mark> = (0..20)
        .map(|n| Mark {
            name: format!("incident {n}"),
            from: n * 129_600,
            to: n * 129_600 + 1_800,
            kind: MarkKind::Incident,
            journeys: Vec::new(),
        })
        .collect();
    let mut seconds = Vec::new();
    let mut fired = 0;
    for _ in 0..rounds.max(1) {
        let histories: Vec<(&Spec, Columns)> = specs.iter().zip(columns.iter().cloned()).collect();
        let started = Instant::now();
        let told = backtest(&histories, &marks);
        seconds.push(started.elapsed().as_secs_f64());
        fired = told.objectives.iter().map(|one| one.replay.firings.len()).sum();
    }
    seconds.sort_by(f64::total_cmp);
    let steps = DAYS * 86_400 / STEP;
    println!(
        "backtest of {SLOS} SLOs over {DAYS} days at {STEP} s ({steps} steps each, {fired} firings): median {:.2} s of {} rounds",
        seconds[seconds.len() / 2],
        seconds.len()
    );
    Ok(())
}

/// A hundred objectives of the usual policy; every fourth over a calendar's quarter.
fn objectives() -> Result<Vec<Spec>, String> {
    let mut text = "apiVersion: hikeshi.dev/v1\nkind: CUJs\nsystem: bench\ncujs:\n".to_owned();
    for n in 0..SLOS {
        let window = if n % 4 == 0 {
            ", window: {calendar: quarter}"
        } else {
            ""
        };
        let _ = write!(
            text,
            "  - name: j{n}\n    title: {{ja: x, en: x}}\n    owner: x\n    route: x\n    slos: [{{sli: availability, objective: 99.9{window}}}]\n"
        );
    }
    let cujs = parse("bench.yaml", &text).map_err(|problems| format!("{problems:?}"))?;
    Ok(specs(&cujs))
}

/// Traffic by day and night, a background of errors, and an incident every day and a half.
fn history(n: usize) -> Columns {
    let steps = i64::from(DAYS * 86_400 / STEP);
    let mut seed = (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut random = || {
        // xorshift64*: only to have something other than a constant.
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        #[expect(clippy::cast_precision_loss, reason = "a random share")]
        let share = (seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64;
        share
    };
    let mut columns = Columns {
        start: 0,
        step: STEP,
        ..Columns::default()
    };
    for step in 0..steps {
        let second = step * i64::from(STEP);
        let day = f64::midpoint(
            1.0,
            ((second % 86_400) as f64 / 86_400.0 * std::f64::consts::TAU).sin(),
        );
        let total = (100.0 + 1_000.0 * day * random()).round();
        let broken = second % 129_600 < 1_800 && !n.is_multiple_of(3);
        let ratio = if broken { 0.05 * random() } else { 0.001 * random() };
        columns.bad.push((total * ratio).round());
        columns.total.push(total);
    }
    columns
}
