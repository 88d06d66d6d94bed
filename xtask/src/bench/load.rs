//! `cargo xtask bench load`: the load generator beside wrk, both reading the same timeline from the same nginx.
//!
//! wrk sends as fast as answers come; ours sends what is due, reads every answer as Chirpy's and measures from when each
//! request was due. What both pay for a request is compared: processor seconds, the kernel's share included.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::peers;
use super::proxy;
use crate::workspace::{self, Workspace};

/// Rounds unless told otherwise: an odd number has a median.
const ROUNDS: usize = 5;
/// Requests per second.
const RATE: f64 = 20_000.0;
/// Of load, per candidate and round.
const SECONDS: &str = "5";
const CONNECTIONS: &str = "32";
/// Posts in the timeline that nginx answers with, as Chirpy's clients ask for.
const POSTS: u32 = 20;

/// One round.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    wrk_per_second: f64,
    wrk_cpu: f64,
    sent_per_second: f64,
    /// Percent of what was offered.
    short: f64,
    errors: f64,
    late_p99_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu: f64,
}

pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let rounds = match args {
        [] => ROUNDS,
        [rounds] => rounds
            .parse()
            .with_context(|| format!("{rounds} is no number of rounds"))?,
        _ => bail!("bench load takes one argument: the number of rounds"),
    };
    peers::install_packages(workspace, &["nginx", "wrk"])?;
    let build = ["build", "--release", "-p", "hikeshi-load"];
    workspace::run("cargo build", workspace.cargo().args(build))?;
    let program = workspace.built("release", "hikeshi-load");
    let dir = workspace.state()?.join("bench");
    fs::create_dir_all(&dir)?;
    let server = peers::answering(workspace, &dir, "chirpy", &locations())?;
    let target = format!("http://{}", server.address);
    let mut all = Vec::new();
    for round in 1..=rounds {
        println!("bench: round {round} of {rounds}");
        let before = children_cpu()?;
        let wrk = proxy::wrk(workspace, server.address, CONNECTIONS, SECONDS)?;
        let between = children_cpu()?;
        let ours = generate(workspace, &program, &target)?;
        let after = children_cpu()?;
        all.push(figures(&ours, after - between)?);
        if let Some(round) = all.last_mut() {
            round.wrk_per_second = wrk.requests_per_second;
            round.wrk_cpu = (between - before) / wrk.requests * 1e5;
        }
    }
    print(&all);
    Ok(())
}

/// What nginx answers with: a token to whoever logs in, else a timeline.
fn locations() -> String {
    let posts: Vec<Value> = (0..POSTS)
        .map(|n| {
            serde_json::json!({
                "id": 90_000 - n, "author_id": n + 1, "author": format!("person{:04}", n + 1),
                "text": format!("東京タワーが見える #{n:06x}"), "created_at": "2026-01-05T09:30:00.123456Z",
            })
        })
        .collect();
    let timeline = Value::from(posts);
    format!(
        "default_type application/json; location = /api/login {{ return 200 '{{\"token\":\"bench\"}}'; }} \
         location / {{ return 200 '{timeline}'; }}"
    )
}

/// The generator's summary.
fn generate(workspace: &Workspace, program: &Path, target: &str) -> Result<Value> {
    let rate = RATE.to_string();
    let output = workspace
        .command(program)
        .env("LOG_LEVEL", "warn")
        .args(["--target", target, "--rate", &rate, "--duration", SECONDS])
        .args([
            "--post-share",
            "0",
            "--freshness-followers",
            "0",
            "--settle",
            "0",
            "--port",
            "0",
        ])
        .output()
        .context("cannot start hikeshi-load")?;
    if !output.status.success() {
        bail!("hikeshi-load:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("hikeshi-load's summary")
}

fn figures(summary: &Value, cpu: f64) -> Result<Round> {
    let number = |at: &str| {
        summary
            .pointer(at)
            .and_then(Value::as_f64)
            .with_context(|| format!("no {at} in {summary}"))
    };
    let read = |what: &str| number(&format!("/journeys/read-timeline/{what}"));
    let (offered, sent) = (read("offered")?, read("sent")?);
    let seconds: f64 = SECONDS.parse()?;
    Ok(Round {
        sent_per_second: sent / number("/seconds")?,
        // Against what the rate asks for, not what the program says it offered, and in the time it really took.
        short: 100.0
            * (1.0
                - sent / (RATE * seconds).max(offered) * seconds.min(number("/seconds")?)
                    / number("/seconds")?),
        errors: read("error")?,
        late_p99_ms: number("/late_ms/p99")?,
        p50_ms: read("latency_ms/p50")?,
        p99_ms: read("latency_ms/p99")?,
        cpu: cpu / sent * 1e5,
        ..Round::default()
    })
}

fn print(rounds: &[Round]) {
    let of = |figure: fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    println!(
        "| a timeline of {POSTS} posts | offered req/s | sent req/s | short % | errors | sent late p99 ms | p50 ms | p99 ms | CPU s/100k |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    println!(
        "| wrk, c={CONNECTIONS} | - | {:.0} | - | 0 | - | - | - | {:.2} |",
        of(|round| round.wrk_per_second),
        of(|round| round.wrk_cpu)
    );
    println!(
        "| hikeshi-load | {RATE:.0} | {:.0} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} |",
        of(|round| round.sent_per_second),
        of(|round| round.short),
        of(|round| round.errors),
        of(|round| round.late_p99_ms),
        of(|round| round.p50_ms),
        of(|round| round.p99_ms),
        of(|round| round.cpu)
    );
    println!(
        "hikeshi-load / wrk: CPU x {:.2} (to reach: 2.00; short: 1 %)",
        of(|round| round.cpu / round.wrk_cpu)
    );
}

/// Processor seconds of the children that have ended so far.
fn children_cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The program's name may hold anything: count from the last bracket.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |place: usize| -> Result<f64> { Ok(fields.get(place).context("a short stat")?.parse()?) };
    // Linux counts user and system time in hundredths of a second.
    Ok((number(13)? + number(14)?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_sent_in_time_is_short() {
        let summary = |sent: u64, seconds: f64| {
            serde_json::json!({"seconds": seconds, "late_ms": {"p99": 0.3}, "journeys": {"read-timeline":
                {"offered": 100_000, "sent": sent, "error": 0, "latency_ms": {"p50": 0.2, "p99": 0.5}}}})
        };
        let short = |sent, seconds| figures(&summary(sent, seconds), 1.0).unwrap().short;
        assert!(short(100_000, 5.0).abs() < 1e-9);
        assert!((short(99_000, 5.0) - 1.0).abs() < 1e-9);
        assert!((short(100_000, 10.0) - 50.0).abs() < 1e-9);
        assert_eq!(figures(&summary(100_000, 5.0), 1.5).unwrap().cpu, 1.5);
    }
}
