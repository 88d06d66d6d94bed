//! One objective's alerts and budget over a history of counts.

use schemars::JsonSchema;
use serde::Serialize;

use crate::period::Period;
use crate::policy::Severity;
use crate::spec::Spec;

/// Events of one objective in equal steps, oldest first. The nth step ends at `start + (n + 1) x step`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Columns {
    /// Unix seconds at which the first step begins.
    pub start: i64,
    /// Seconds.
    pub step: u32,
    /// Bad events in each step.
    pub bad: Vec<f64>,
    /// All events in each step; NaN where nothing is known.
    pub total: Vec<f64>,
}

impl Columns {
    fn end(&self, index: usize) -> i64 {
        self.end_of(index.saturating_add(1))
    }

    /// Unix seconds at which so many steps are over.
    pub fn end_of(&self, steps: usize) -> i64 {
        let steps = i64::try_from(steps).unwrap_or(i64::MAX);
        self.start
            .saturating_add(steps.saturating_mul(i64::from(self.step)))
    }

    /// Bad and all events of the steps that end within `from..=to` (Unix seconds) and do not begin before `from`.
    pub fn between(&self, from: i64, to: i64) -> (f64, f64) {
        let step = i64::from(self.step.max(1));
        let steps = self.total.len().min(self.bad.len());
        let index = |steps: i64| usize::try_from(steps.max(0)).unwrap_or(usize::MAX);
        let first = index((from - self.start + step - 1).div_euclid(step)).min(steps);
        let last = index((to - self.start).div_euclid(step)).clamp(first, steps);
        let sum = |column: &[f64]| {
            column[first..last]
                .iter()
                .filter(|n| n.is_finite())
                .map(|n| n.max(0.0))
                .sum()
        };
        (sum(&self.bad), sum(&self.total))
    }
}

/// How a budget went over a history, without alerts.
pub fn budget_course(spec: &Spec, columns: &Columns) -> Course {
    course(spec, columns, &Sums::of(columns))
}

/// From when to when one alert of an objective would have fired.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Firing {
    pub severity: Severity,
    /// The long window's name.
    pub window: String,
    pub factor: f64,
    /// Unix seconds.
    pub from: i64,
    /// Unix seconds; none: still firing where the history ends.
    pub to: Option<i64>,
    /// Share of the period's budget that was spent when it began, 0..; 1 is all.
    pub spent: f64,
}

/// What a history would have done to an objective.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Replay {
    /// In the order in which they began.
    pub firings: Vec<Firing>,
    pub course: Course,
}

/// How the budget went.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Course {
    /// Whether the budget lasted at every moment.
    pub held: bool,
    /// Unix seconds of the first moment at which all of it was spent.
    pub exhausted: Option<i64>,
    /// The largest share spent, and when.
    pub worst: f64,
    pub worst_at: i64,
    /// Share spent where the history ends.
    pub last: f64,
    /// Good events of all, 0..1, over the whole history; none without events.
    pub attained: Option<f64>,
    pub bad: f64,
    pub total: f64,
    /// Share of the history about which something is known.
    pub known: f64,
    /// (Unix seconds, share spent), at most [`POINTS`] of them, evenly spread over what is known: what a chart shows.
    pub points: Vec<(i64, f64)>,
}

/// Most points of a course.
pub const POINTS: usize = 200;

/// Runs an objective's policy over a history, every window at once over running sums. Windows shorter than a step are one step
/// long.
pub fn replay(spec: &Spec, columns: &Columns) -> Replay {
    let sums = Sums::of(columns);
    let course = course(spec, columns, &sums);
    let mut firings = Vec::new();
    for burn in spec.alerts() {
        let alert = Alert {
            long: sums.steps(burn.long.seconds, columns.step),
            short: sums.steps(burn.short.seconds, columns.step),
            // A product for a comparison of sums: no division where there are no events.
            limit: burn.factor * spec.budget,
            min_events: f64::from(spec.min_events),
            min_bad: f64::from(spec.min_failures),
        };
        for (first, after) in alert.firings(&sums) {
            firings.push(Firing {
                severity: burn.severity,
                window: burn.long.name(),
                factor: burn.factor,
                from: columns.end(first),
                to: (after < columns.total.len()).then(|| columns.end(after)),
                spent: spent_at(spec, columns, &sums, first),
            });
        }
    }
    firings.sort_by(|a, b| a.from.cmp(&b.from).then(a.severity.cmp(&b.severity)));
    Replay { firings, course }
}

/// Running sums: the sum of steps `a..b` is `[b] - [a]`.
pub(super) struct Sums {
    bad: Vec<f64>,
    total: Vec<f64>,
    /// Steps about which something is known.
    known: Vec<u32>,
}

impl Sums {
    pub(super) fn of(columns: &Columns) -> Self {
        let steps = columns.total.len().min(columns.bad.len());
        let mut sums = Self {
            bad: Vec::with_capacity(steps + 1),
            total: Vec::with_capacity(steps + 1),
            known: Vec::with_capacity(steps + 1),
        };
        let (mut bad, mut total, mut known) = (0.0, 0.0, 0_u32);
        sums.bad.push(bad);
        sums.total.push(total);
        sums.known.push(known);
        for (b, t) in columns.bad.iter().zip(&columns.total) {
            if t.is_finite() {
                total += t.max(0.0);
                known += 1;
            }
            if b.is_finite() {
                bad += b.max(0.0);
            }
            sums.bad.push(bad);
            sums.total.push(total);
            sums.known.push(known);
        }
        sums
    }

    pub(super) fn len(&self) -> usize {
        self.total.len() - 1
    }

    /// Bad and all events of the steps `first..=last`.
    pub(super) fn within(&self, first: usize, last: usize) -> (f64, f64) {
        (
            self.bad[last + 1] - self.bad[first],
            self.total[last + 1] - self.total[first],
        )
    }

    /// A window's length in steps.
    pub(super) fn steps(&self, seconds: u64, step: u32) -> usize {
        let step = u64::from(step.max(1));
        usize::try_from((seconds + step / 2) / step)
            .unwrap_or(usize::MAX)
            .clamp(1, self.len().max(1))
    }
}

struct Alert {
    long: usize,
    short: usize,
    limit: f64,
    min_events: f64,
    min_bad: f64,
}

impl Alert {
    /// Steps at which it begins to fire, and at which it no longer does.
    fn firings(&self, sums: &Sums) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut since = None;
        for at in 0..sums.len() {
            let end = at + 1;
            let (long, short) = (end.saturating_sub(self.long), end.saturating_sub(self.short));
            let total = sums.total[end] - sums.total[long];
            let bad = sums.bad[end] - sums.bad[long];
            let total_short = sums.total[end] - sums.total[short];
            let bad_short = sums.bad[end] - sums.bad[short];
            // Without events both sides are 0, and 0 is not more than 0.
            let fires = bad > self.limit * total
                && bad_short > self.limit * total_short
                && total >= self.min_events
                && bad >= self.min_bad
                && total_short > 0.0;
            match (fires, since) {
                (true, None) => since = Some(at),
                (false, Some(first)) => {
                    found.push((first, at));
                    since = None;
                }
                _ => {}
            }
        }
        if let Some(first) = since {
            found.push((first, sums.len()));
        }
        found
    }
}

/// First step that counts at a step, and seconds of the period as a whole.
fn window(spec: &Spec, columns: &Columns, index: usize) -> (usize, i64) {
    let now = columns.end(index);
    let (start, length) = match spec.period {
        Period::Rolling(_) => (
            spec.period.start(now),
            i64::try_from(spec.period.seconds()).unwrap_or(i64::MAX),
        ),
        // The step that ends with the period belongs to it.
        Period::Calendar(_) => {
            let start = spec.period.start(now - 1);
            (start, spec.period.end(now - 1).unwrap_or(now) - start)
        }
    };
    let steps = (start - columns.start).max(0) / i64::from(columns.step.max(1));
    (usize::try_from(steps).unwrap_or(usize::MAX).min(index), length)
}

/// `burn x time / period`: what is known of a period counts for its own share of it, so that an hour's outage on the first of the
/// month is not the end of the month.
fn spent_in(spec: &Spec, columns: &Columns, sums: &Sums, (from, length): (usize, i64), index: usize) -> f64 {
    let total = sums.total[index + 1] - sums.total[from];
    let bad = sums.bad[index + 1] - sums.bad[from];
    if total <= 0.0 || length <= 0 {
        return 0.0;
    }
    let known = sums.known[index + 1] - sums.known[from];
    #[expect(clippy::cast_precision_loss, reason = "seconds of a period")]
    let share = (f64::from(known) * f64::from(columns.step) / length as f64).min(1.0);
    bad / total / spec.budget * share
}

fn spent_at(spec: &Spec, columns: &Columns, sums: &Sums, index: usize) -> f64 {
    spent_in(spec, columns, sums, window(spec, columns, index), index)
}

fn course(spec: &Spec, columns: &Columns, sums: &Sums) -> Course {
    let steps = sums.len();
    let (bad, total) = (sums.bad[steps], sums.total[steps]);
    let mut course = Course {
        held: true,
        exhausted: None,
        worst: 0.0,
        worst_at: columns.start,
        last: 0.0,
        attained: (total > 0.0).then(|| 1.0 - bad / total),
        bad,
        total,
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
        known: if steps == 0 {
            0.0
        } else {
            f64::from(sums.known[steps]) / steps as f64
        },
        points: Vec::new(),
    };
    let begins = sums
        .known
        .iter()
        .position(|known| *known > 0)
        .unwrap_or(steps + 1)
        - 1;
    let every = (steps - begins).div_ceil(POINTS).max(1);
    let mut calendar: Option<(i64, (usize, i64))> = None;
    for index in 0..steps {
        let now = columns.end(index);
        // A calendar's window moves only when a period ends.
        let within = match (spec.period, calendar) {
            (Period::Calendar(_), Some((end, within))) if now <= end => within,
            (Period::Calendar(_), _) => {
                let within = window(spec, columns, index);
                calendar = Some((spec.period.end(now - 1).unwrap_or(now), within));
                within
            }
            (Period::Rolling(_), _) => window(spec, columns, index),
        };
        let spent = spent_in(spec, columns, sums, within, index);
        if spent > course.worst {
            (course.worst, course.worst_at) = (spent, now);
        }
        if spent > 1.0 + 1e-9 && course.exhausted.is_none() {
            course.exhausted = Some(now);
            course.held = false;
        }
        course.last = spent;
        // Where nothing is known of a whole window, nothing is drawn: it is not an untouched budget.
        let known = sums.known[index + 1] > sums.known[within.0];
        if known && ((index + 1 - begins).is_multiple_of(every) || index + 1 == steps) {
            course.points.push((now, spent));
        }
    }
    course
}
