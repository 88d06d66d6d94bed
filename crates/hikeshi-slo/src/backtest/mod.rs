//! Would a target have held, and would its alerts have been right? A policy run over history.

pub mod burns;
pub mod marks;
pub mod replay;
#[cfg(test)]
pub(crate) mod tests;

use schemars::JsonSchema;
use serde::Serialize;

pub use burns::{BurnCourse, burn_courses, recent_seconds};
pub use marks::{Mark, MarkKind, Quality};
pub use replay::{Columns, Course, Firing, Replay};

use crate::policy::Severity;
use crate::spec::Spec;
use marks::{Fired, judge};

/// What a page or a terminal shows of a backtest.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Backtest {
    /// Unix seconds.
    pub from: i64,
    pub to: i64,
    pub objectives: Vec<Judged>,
    /// Pages, then tickets.
    pub quality: Vec<Quality>,
    pub marks: Vec<Mark>,
}

/// One objective over the history.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Judged {
    pub slo: String,
    pub journey: String,
    pub owner: String,
    /// Percent.
    pub objective: f64,
    /// As files write it.
    pub period: String,
    #[serde(flatten)]
    pub replay: Replay,
}

/// Runs every objective over its own history, and judges alerts by the marks within it.
pub fn backtest(histories: &[(&Spec, Columns)], marks: &[Mark]) -> Backtest {
    let objectives: Vec<Judged> = histories
        .iter()
        .map(|(spec, columns)| Judged {
            slo: spec.id.clone(),
            journey: spec.journey.clone(),
            owner: spec.owner.clone(),
            objective: spec.objective,
            period: spec.period.to_string(),
            replay: replay::replay(spec, columns),
        })
        .collect();
    let from = histories.iter().map(|(_, c)| c.start).min().unwrap_or(0);
    let to = histories
        .iter()
        .map(|(_, c)| {
            let steps = i64::try_from(c.total.len()).unwrap_or(i64::MAX);
            c.start.saturating_add(steps.saturating_mul(i64::from(c.step)))
        })
        .max()
        .unwrap_or(0);
    let marks: Vec<Mark> = marks
        .iter()
        .filter(|mark| mark.to >= from && mark.from <= to)
        .cloned()
        .collect();
    let fired: Vec<Fired<'_>> = objectives
        .iter()
        .map(|judged| Fired {
            journey: &judged.journey,
            firings: &judged.replay.firings,
        })
        .collect();
    let quality = [Severity::Page, Severity::Ticket]
        .into_iter()
        .map(|severity| judge(severity, &fired, &marks, to))
        .collect();
    Backtest {
        from,
        to,
        objectives,
        quality,
        marks,
    }
}
