//! `hikeshi slo backtest`.

use std::path::PathBuf;

use hikeshi_host::budgets::{Stretch, histories};
use hikeshi_scenario::Dur;
use hikeshi_slo::backtest::{Backtest, Judged, Quality, backtest};
use hikeshi_slo::{Severity, Spec, specs};
use jiff::Timestamp;

use super::super::args::Lang;
use super::super::output::{self, Progress};
use super::args::{Asked, How};
use super::fetch::Source;
use super::{budget, file, marks};
use crate::failure::{Context, Failure};

/// Firings of one objective that are listed; the rest is counted.
const LISTED: usize = 10;

pub struct Span<'a> {
    pub from: &'a str,
    pub to: Option<&'a str>,
    pub step: Option<&'a str>,
}

pub fn run(file: Option<PathBuf>, span: &Span<'_>, asked: &Asked, how: &How) -> Result<(), Failure> {
    let lang = Lang::or_environment(how.lang);
    let cujs = file::read(file)?.cujs;
    let source = Source::find(asked)?;
    let marks = marks::all(asked.marks.as_deref())?;
    let stretch = whole(span, source.slo_clock)?;
    let wanted: Vec<(Spec, Stretch)> = specs(&cujs)
        .iter()
        .map(|spec| (spec.on_clock(source.slo_clock), stretch))
        .collect();
    let mut progress = Progress::new(how.json);
    let asked = histories(&source.prometheus, &wanted, |done| {
        progress.say(&format!("{done} / {}", wanted.len()));
    });
    let columns = super::super::runtime()?
        .block_on(asked)
        .map_err(|error| source.failed(&error))?;
    progress.close();
    if columns.iter().all(|c| c.total.iter().all(|n| n.is_nan())) {
        return Err(
            Failure::component("Prometheus has no counts of any of these SLOs in that time")
                .hint("are the metrics named as in the file? is --step at least twice the scrape interval?"),
        );
    }
    let histories: Vec<_> = wanted.iter().map(|(spec, _)| spec).zip(columns).collect();
    let told = backtest(&histories, &marks);
    if how.json {
        output::json(&serde_json::to_value(&told).component("telling a backtest")?);
    } else {
        tell(&told, lang);
    }
    let missed = told
        .objectives
        .iter()
        .filter(|one| !one.replay.course.held)
        .count();
    if missed > 0 {
        return Err(Failure::not_so(match lang {
            Lang::Ja => format!("守れなかった SLO が {missed} 件あります"),
            Lang::En => format!("{missed} SLO(s) would not have held"),
        }));
    }
    Ok(())
}

fn whole(span: &Span<'_>, slo_clock: f64) -> Result<Stretch, Failure> {
    let now = Timestamp::now().as_second();
    let (from, to) = (
        moment(span.from, now)?,
        span.to.map_or(Ok(now), |to| moment(to, now))?,
    );
    let step = match span.step {
        Some(text) => Dur::parse(text)
            .ok()
            .and_then(|step| u32::try_from(step.get().as_secs()).ok())
            .filter(|step| *step >= 1)
            .ok_or_else(|| {
                Failure::usage(format!(
                    "--step {text}: write a duration of at least a second, such as 1m"
                ))
            })?,
        None if slo_clock > 1.0 => 5,
        None => 60,
    };
    let stretch = Stretch::rounded(from, to, step);
    if stretch.to <= stretch.from {
        return Err(Failure::usage(format!(
            "from {} to {} is less than a step",
            span.from,
            span.to.unwrap_or("now")
        )));
    }
    Ok(stretch)
}

/// A time, or how long ago.
fn moment(text: &str, now: i64) -> Result<i64, Failure> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_second());
    }
    let ago = Dur::parse(text).map_err(|_| {
        Failure::usage(format!(
            "`{text}` is neither a time (2026-11-01T00:00:00Z) nor how long ago (30d)"
        ))
    })?;
    Ok(now.saturating_sub_unsigned(ago.get().as_secs()))
}

fn at(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

fn tell(told: &Backtest, lang: Lang) {
    output::line(format!("{} - {}", at(told.from), at(told.to)));
    for one in &told.objectives {
        objective(one, told, lang);
    }
    output::line("");
    for quality in &told.quality {
        judged(quality, lang);
    }
}

fn objective(one: &Judged, told: &Backtest, lang: Lang) {
    let course = &one.replay.course;
    let attained = course
        .attained
        .map_or_else(|| "-".to_owned(), |good| format!("{:.4} %", good * 100.0));
    let verdict = match (course.attained, course.held) {
        (None, _) => lang.pick("データなし", "no data"),
        (_, true) => lang.pick("守れた", "held"),
        (_, false) => lang.pick("守れなかった", "missed"),
    };
    output::line(format!(
        "{}  {} % / {}  {verdict}  ({attained})",
        one.slo, one.objective, one.period
    ));
    let (worst, when) = (course.worst * 100.0, at(course.worst_at));
    output::line(match lang {
        Lang::Ja => format!("  バジェット消費は最大 {worst:.0} % ({when})"),
        Lang::En => format!("  at most {worst:.0} % of the budget was spent ({when})"),
    });
    for firing in one.replay.firings.iter().take(LISTED) {
        let until = firing.to.map_or_else(|| "...".to_owned(), at);
        let (severity, window, factor) = (firing.severity.name(), &firing.window, firing.factor);
        let spent = firing.spent * 100.0;
        let during: Vec<String> = told
            .marks
            .iter()
            .filter(|m| {
                m.hurts(&one.journey) && firing.from <= m.to && firing.to.unwrap_or(told.to) >= m.from
            })
            .map(|mark| budget::named(mark, lang))
            .collect();
        let during = during.join(", ");
        output::line(match lang {
            Lang::Ja => format!(
                "  {severity:<6} {window} {factor}x  {} - {until}  消費済み {spent:.1} %  {during}",
                at(firing.from)
            ),
            Lang::En => format!(
                "  {severity:<6} {window} {factor}x  {} - {until}  {spent:.1} % spent by then  {during}",
                at(firing.from)
            ),
        });
    }
    if let Some(more) = one
        .replay
        .firings
        .len()
        .checked_sub(LISTED)
        .filter(|more| *more > 0)
    {
        output::line(match lang {
            Lang::Ja => format!("  ほかに {more} 回 (--json ですべて)"),
            Lang::En => format!("  and {more} more (all of them with --json)"),
        });
    }
}

fn judged(quality: &Quality, lang: Lang) {
    let severity = match quality.severity {
        Severity::Page => lang.pick("呼び出し", "pages"),
        Severity::Ticket => lang.pick("チケット", "tickets"),
    };
    let percent =
        |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |r| format!("{:.0} %", r * 100.0));
    let (precision, recall) = (percent(quality.precision), percent(quality.recall));
    let detect = quality
        .seconds_to_detect
        .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0} s"));
    let Quality {
        fired,
        right,
        incidents,
        found,
        ..
    } = quality;
    output::line(match lang {
        Lang::Ja => format!(
            "{severity}: 適合率 {precision} ({right} / {fired})  再現率 {recall} ({found} / {incidents})  検知までの中央値 {detect}"
        ),
        Lang::En => format!(
            "{severity}: precision {precision} ({right} of {fired})  recall {recall} ({found} of {incidents})  median time to detect {detect}"
        ),
    });
    if !quality.missed.is_empty() {
        let missed = quality.missed.join(", ");
        output::line(match lang {
            Lang::Ja => format!("  鳴らなかったもの: {missed}"),
            Lang::En => format!("  nothing fired in: {missed}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moments_or_ago() {
        assert_eq!(moment("1h30m", 10_000).unwrap(), 4_600);
        assert_eq!(moment("1970-01-01T09:00:10+09:00", 0).unwrap(), 10);
        assert!(moment("yesterday", 0).unwrap_err().message.contains("30d"));
    }
}
