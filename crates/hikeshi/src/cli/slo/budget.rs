//! `hikeshi slo budget`.

use std::path::PathBuf;

use hikeshi_slo::backtest::{Mark, MarkKind};
use hikeshi_slo::{Spec, Status, specs, status};
use jiff::Timestamp;

use super::super::args::Lang;
use super::super::output::{self, Progress};
use super::args::{Asked, How};
use super::fetch::{Prometheus, Stretch, stretch};
use super::{file, marks};
use crate::failure::{Context, Failure};

/// How many steps a period is looked at in: a month in quarters of an hour.
const STEPS: u64 = 2_880;
/// Below this a rate has too few samples.
const SHORTEST: u64 = 60;

pub fn run(file: Option<PathBuf>, asked: &Asked, how: &How) -> Result<(), Failure> {
    let lang = Lang::or_environment(how.lang);
    let cujs = file::read(file)?.cujs;
    let prometheus = Prometheus::find(asked)?;
    let marks = marks::all(asked.marks.as_deref())?;
    let now = Timestamp::now().as_second();
    let wanted: Vec<(Spec, Stretch)> = specs(&cujs)
        .into_iter()
        .map(|spec| {
            let spec = spec.on_clock(prometheus.slo_clock);
            let stretch = whole_period(&spec, now, prometheus.slo_clock);
            (spec, stretch)
        })
        .collect();
    let mut progress = Progress::new(how.json);
    let columns = super::super::runtime()?.block_on(prometheus.columns(&wanted, |done| {
        progress.say(&format!("{done} / {}", wanted.len()));
    }))?;
    progress.close();
    let all: Vec<Status> = wanted
        .iter()
        .zip(&columns)
        .map(|((spec, _), columns)| status(spec, columns, &marks))
        .collect();
    if how.json {
        output::json(&serde_json::to_value(&all).component("telling budgets")?);
    } else {
        for one in &all {
            tell(one, lang);
        }
        if prometheus.slo_clock > 1.0 {
            let clock = prometheus.slo_clock;
            output::line(match lang {
                Lang::Ja => {
                    format!("(この演習の時計は {clock} 倍速です。期間も窓もその分だけ短くなっています)")
                }
                Lang::En => format!(
                    "(this system's clock runs {clock} times faster: periods and windows are as much shorter)"
                ),
            });
        }
    }
    let spent = all.iter().filter(|one| one.left <= 0.0).count();
    if spent > 0 {
        return Err(Failure::not_so(match lang {
            Lang::Ja => format!("エラーバジェットを使い切った SLO が {spent} 件あります"),
            Lang::En => format!("{spent} SLO(s) have spent their error budget"),
        }));
    }
    Ok(())
}

/// From the period's beginning until now, in steps that end now.
fn whole_period(spec: &Spec, now: i64, slo_clock: f64) -> Stretch {
    let from = spec.period.start(now);
    let length = u64::try_from(now - from).unwrap_or(0).max(SHORTEST);
    // A drill's Prometheus scrapes every second.
    let shortest = if slo_clock > 1.0 { 5 } else { SHORTEST };
    let step = u32::try_from((length / STEPS).max(shortest)).unwrap_or(u32::MAX);
    let mut stretch = stretch(from, now, step);
    // Not before the period began.
    if stretch.from < from {
        stretch.from += i64::from(stretch.step);
    }
    stretch
}

fn tell(status: &Status, lang: Lang) {
    output::line(format!(
        "{} ({})  {} % / {}",
        status.slo, status.owner, status.objective, status.period
    ));
    output::line(format!("  {}", lang.of(&status.words)));
    if status.total > 0.0 {
        let (left, minutes) = (status.left * 100.0, status.minutes_left);
        let events = status.events_left.map_or_else(String::new, |events| match lang {
            Lang::Ja => format!(" = 失敗 {events:.0} 件"),
            Lang::En => format!(" = {events:.0} failures"),
        });
        let burn = |burn: Option<f64>| burn.map_or_else(|| "-".to_owned(), |burn| format!("{burn:.2}x"));
        let (now, hour) = (burn(status.burn_now), burn(status.burn));
        output::line(match lang {
            Lang::Ja => format!(
                "  残り {left:.1} % = 全面停止 {minutes:.1} 分{events}   バーンレート {now} (短い窓) {hour} (長い窓)"
            ),
            Lang::En => format!(
                "  left {left:.1} % = {minutes:.1} min of outage{events}   burn {now} (short window) {hour} (long)"
            ),
        });
    }
    for spender in status.spenders.iter().filter(|s| s.bad > 0.0) {
        let kind = match spender.kind {
            MarkKind::Drill => lang.pick("訓練", "drill"),
            MarkKind::Incident => lang.pick("障害", "incident"),
        };
        let (name, share, bad) = (&spender.name, spender.spent * 100.0, spender.bad);
        output::line(match lang {
            Lang::Ja => format!("  {kind} {name}: {share:.1} % (失敗 {bad:.0} 件)"),
            Lang::En => format!("  {kind} {name}: {share:.1} % ({bad:.0} failures)"),
        });
    }
    if !status.spenders.is_empty() {
        let share = status.unmarked * 100.0;
        output::line(match lang {
            Lang::Ja => format!("  その他: {share:.1} %"),
            Lang::En => format!("  besides: {share:.1} %"),
        });
    }
    for action in &status.actions {
        let approver = action
            .approver
            .as_ref()
            .map_or_else(String::new, |who| match lang {
                Lang::Ja => format!(" (承認: {who})"),
                Lang::En => format!(" (approval: {who})"),
            });
        output::line(format!("  ! {}{approver}", lang.of(&action.action)));
    }
    if let Some(next) = &status.next {
        let action = lang.of(&next.action);
        output::line(match lang {
            Lang::Ja => format!("  {} % 消費したら: {action}", next.spent),
            Lang::En => format!("  at {} % spent: {action}", next.spent),
        });
    }
    if status.known < 0.99 && status.total > 0.0 {
        let known = status.known * 100.0;
        output::line(match lang {
            Lang::Ja => format!("  期間のうちデータがあるのは {known:.0} % です"),
            Lang::En => format!("  there is data for {known:.0} % of the period"),
        });
    }
}

/// Marks in a word each, for a backtest's table.
pub(super) fn named(mark: &Mark, lang: Lang) -> String {
    let kind = match mark.kind {
        MarkKind::Drill => lang.pick("訓練", "drill"),
        MarkKind::Incident => lang.pick("障害", "incident"),
    };
    format!("{kind} {}", mark.name)
}
