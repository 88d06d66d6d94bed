//! `hikeshi slo budget`.

use std::path::PathBuf;

use futures::stream::{self, StreamExt};
use hikeshi_host::budgets::budget;
use hikeshi_slo::backtest::{Mark, MarkKind};
use hikeshi_slo::{Status, specs};
use jiff::Timestamp;

use super::super::args::Lang;
use super::super::output::{self, Progress};
use super::args::{Asked, How};
use super::fetch::Source;
use super::{file, marks};
use crate::failure::{Context, Failure};

/// Objectives that are asked for at once.
const AT_ONCE: usize = 2;

pub fn run(file: Option<PathBuf>, asked: &Asked, how: &How) -> Result<(), Failure> {
    let lang = Lang::or_environment(how.lang);
    let cujs = file::read(file)?.cujs;
    let source = Source::find(asked)?;
    let marks = marks::all(asked.marks.as_deref())?;
    let now = Timestamp::now().as_second();
    let mut progress = Progress::new(how.json);
    let wanted = specs(&cujs);
    let all = super::super::runtime()?.block_on(async {
        let asked = wanted
            .iter()
            .map(|spec| budget(&source.prometheus, spec, source.slo_clock, now, &marks));
        let mut answers = stream::iter(asked).buffered(AT_ONCE);
        let mut all: Vec<Status> = Vec::with_capacity(wanted.len());
        while let Some(answer) = answers.next().await {
            all.push(answer.map_err(|error| source.failed(&error))?.0);
            progress.say(&format!("{} / {}", all.len(), wanted.len()));
        }
        Ok::<_, Failure>(all)
    })?;
    progress.close();
    if how.json {
        output::json(&serde_json::to_value(&all).component("telling budgets")?);
    } else {
        for one in &all {
            tell(one, lang);
        }
        if source.slo_clock > 1.0 {
            let clock = source.slo_clock;
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
    let spent = all
        .iter()
        .filter(|one| one.left.is_some_and(|left| left <= 0.0))
        .count();
    if spent > 0 {
        return Err(Failure::not_so(match lang {
            Lang::Ja => format!("エラーバジェットを使い切った SLO が {spent} 件あります"),
            Lang::En => format!("{spent} SLO(s) have spent their error budget"),
        }));
    }
    Ok(())
}

fn tell(status: &Status, lang: Lang) {
    output::line(format!(
        "{} ({})  {} % / {}",
        status.slo, status.owner, status.objective, status.period
    ));
    output::line(format!("  {}", lang.of(&status.words)));
    if let (Some(left), Some(minutes)) = (status.left, status.minutes_left) {
        let left = left * 100.0;
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
            MarkKind::Drill => lang.pick("演習", "drill"),
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
        MarkKind::Drill => lang.pick("演習", "drill"),
        MarkKind::Incident => lang.pick("障害", "incident"),
    };
    format!("{kind} {}", mark.name)
}
