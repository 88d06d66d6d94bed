//! Marked incidents, and how well alerts found them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backtest::replay::Firing;
use crate::policy::Severity;

/// A time in which users were hurt, as people (or a drill's log) say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    pub name: String,
    /// Unix seconds.
    pub from: i64,
    pub to: i64,
    #[serde(default)]
    pub kind: MarkKind,
    /// Journeys that were hurt; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journeys: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    #[default]
    Incident,
    Drill,
}

impl Mark {
    pub fn hurts(&self, journey: &str) -> bool {
        self.journeys.is_empty() || self.journeys.iter().any(|name| name == journey)
    }
}

/// How good alerts of one severity were.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Quality {
    pub severity: Severity,
    /// Alerts that fired (those of one objective that overlap count as one), and those of them within a marked incident.
    pub fired: usize,
    pub right: usize,
    /// Marked incidents, and those in which an alert fired.
    pub incidents: usize,
    pub found: usize,
    /// `right / fired`; none when nothing fired.
    pub precision: Option<f64>,
    /// `found / incidents`; none when nothing is marked.
    pub recall: Option<f64>,
    /// Median seconds from an incident's beginning to its first alert.
    pub seconds_to_detect: Option<f64>,
    /// Names of incidents in which nothing fired.
    pub missed: Vec<String>,
}

/// An objective's firings, with what is needed to compare them with marks.
pub struct Fired<'a> {
    pub journey: &'a str,
    pub firings: &'a [Firing],
}

/// Judges alerts of a severity. An alert is right when it fired during an incident, or so soon after it that its long window still
/// held it.
pub fn judge(severity: Severity, all: &[Fired<'_>], marks: &[Mark], end: i64) -> Quality {
    let mut fired = 0;
    let mut right = 0;
    let mut first: Vec<Option<i64>> = vec![None; marks.len()];
    for one in all {
        for episode in episodes(severity, one.firings, end) {
            fired += 1;
            let mut hit = false;
            for (mark, first) in marks.iter().zip(&mut first) {
                let overlaps =
                    episode.from <= mark.to.saturating_add(episode.grace) && episode.to >= mark.from;
                if mark.hurts(one.journey) && overlaps {
                    hit = true;
                    let at = episode.from.max(mark.from);
                    *first = Some(first.map_or(at, |other| other.min(at)));
                }
            }
            right += usize::from(hit);
        }
    }
    let mut delays: Vec<i64> = first
        .iter()
        .zip(marks)
        .filter_map(|(first, mark)| Some((*first)? - mark.from))
        .collect();
    delays.sort_unstable();
    let found = delays.len();
    #[expect(clippy::cast_precision_loss, reason = "counts of alerts")]
    let ratio = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    Quality {
        severity,
        fired,
        right,
        incidents: marks.len(),
        found,
        precision: ratio(right, fired),
        recall: ratio(found, marks.len()),
        seconds_to_detect: median(&delays),
        missed: first
            .iter()
            .zip(marks)
            .filter(|(first, _)| first.is_none())
            .map(|(_, mark)| mark.name.clone())
            .collect(),
    }
}

fn median(sorted: &[i64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds between an incident and its alert"
    )]
    let of = |at: i64| at as f64;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(of(sorted[middle])),
        _ => Some(f64::midpoint(of(sorted[middle - 1]), of(sorted[middle]))),
    }
}

struct Episode {
    from: i64,
    to: i64,
    /// Seconds for which an alert may still speak of what is over.
    grace: i64,
}

/// Firings of one severity that overlap, as one.
fn episodes(severity: Severity, firings: &[Firing], end: i64) -> Vec<Episode> {
    let mut out: Vec<Episode> = Vec::new();
    for firing in firings.iter().filter(|f| f.severity == severity) {
        let to = firing.to.unwrap_or(end);
        let grace = hikeshi_scenario::Dur::parse(&firing.window)
            .map_or(0, |window| i64::try_from(window.get().as_secs()).unwrap_or(0));
        match out.last_mut() {
            Some(last) if firing.from <= last.to => {
                last.to = last.to.max(to);
                last.grace = last.grace.min(grace);
            }
            _ => out.push(Episode {
                from: firing.from,
                to,
                grace,
            }),
        }
    }
    out
}
