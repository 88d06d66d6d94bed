//! How fast a budget was being spent, beside what each alert waits for: the charts of burn rates.

use schemars::JsonSchema;
use serde::Serialize;

use super::replay::{Columns, Firing, Sums, replay};
use crate::policy::Severity;
use crate::spec::Spec;

/// One alert's two burn rates over the end of a history.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BurnCourse {
    pub severity: Severity,
    /// The windows' names, as the file writes them.
    pub long: String,
    pub short: String,
    /// Seconds of the windows as they run.
    pub long_seconds: u64,
    pub short_seconds: u64,
    /// Burning so many times too fast over both windows, it fires.
    pub factor: f64,
    /// Unix seconds, the burn rate over the long and over the short window; none without events in it. The highest of each
    /// stretch, so that no peak is lost.
    pub points: Vec<(i64, Option<f64>, Option<f64>)>,
    /// When it would have fired within the points' time.
    pub firings: Vec<Firing>,
    /// Whether it does where the history ends.
    pub fires: bool,
}

/// Most points of a course.
const POINTS: usize = 240;
/// How many of its long windows a chart goes back.
const WINDOWS: u64 = 12;

/// Seconds of history that the courses of an objective need: twice its longest window.
pub fn recent_seconds(spec: &Spec) -> u64 {
    let longest = spec.burns.iter().map(|burn| burn.long.seconds).max();
    longest.unwrap_or(3_600).saturating_mul(2)
}

/// The burn rates of every alert that can fire, from the policy's first to its last. `written` is as the file says; the clock
/// runs `slo_clock` times faster.
pub fn burn_courses(written: &Spec, slo_clock: f64, columns: &Columns) -> Vec<BurnCourse> {
    let spec = written.on_clock(slo_clock);
    let sums = Sums::of(columns);
    let steps = sums.len();
    let fired = replay(&spec, columns).firings;
    let step = u64::from(columns.step.max(1));
    let burns = spec.alerts().zip(written.alerts());
    burns
        .map(|(burn, said)| {
            let shown =
                usize::try_from(burn.long.seconds.saturating_mul(WINDOWS) / step).unwrap_or(usize::MAX);
            let first = steps.saturating_sub(shown);
            let (long, short) = (
                sums.steps(burn.long.seconds, columns.step),
                sums.steps(burn.short.seconds, columns.step),
            );
            let rate = |last: usize, window: usize| {
                let (bad, total) = sums.within((last + 1).saturating_sub(window), last);
                // What is left of running sums when everything in them was taken away again is no event.
                (total > 1e-6).then(|| (bad / total / spec.budget).max(0.0))
            };
            let every = (steps - first).div_ceil(POINTS).max(1);
            let points: Vec<_> = (first..steps)
                .step_by(every)
                .map(|from| {
                    let until = (from + every).min(steps);
                    let highest = |window| {
                        (from..until)
                            .filter_map(|last| rate(last, window))
                            .reduce(f64::max)
                    };
                    (columns.end_of(until), highest(long), highest(short))
                })
                .collect();
            let began = columns.end_of(first);
            let firings: Vec<Firing> = fired
                .iter()
                .filter(|firing| firing.severity == burn.severity && firing.window == burn.long.name())
                .filter(|firing| firing.to.is_none_or(|to| to > began))
                .cloned()
                .collect();
            BurnCourse {
                severity: burn.severity,
                long: said.long.name(),
                short: said.short.name(),
                long_seconds: burn.long.seconds,
                short_seconds: burn.short.seconds,
                factor: burn.factor,
                fires: firings.iter().any(|firing| firing.to.is_none()),
                points,
                firings,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::tests::{history, spec};

    #[test]
    fn a_course_shows_when_its_alert_fires_and_loses_no_peak() {
        let written = spec(99.9, "30d");
        // Six days, and in the last hour but one ten minutes of 20 %: 200 times too fast over the short window.
        let end = 6 * 86_400;
        let fault = end - 7_200..end - 6_600;
        let columns = history(6, 0, |t| if fault.contains(&t) { 0.2 } else { 0.0 });
        let courses = burn_courses(&written, 1.0, &columns);
        let names: Vec<_> = courses
            .iter()
            .map(|c| (c.severity, c.long.as_str(), c.short.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                (Severity::Page, "1h", "5m"),
                (Severity::Page, "6h", "30m"),
                (Severity::Ticket, "1d", "2h"),
                (Severity::Ticket, "3d", "6h")
            ]
        );
        let fast = &courses[0];
        assert_eq!(fast.points.last().map(|p| p.0), Some(end));
        assert!(fast.points[0].0 >= end - 12 * 3_600, "twelve hours of it");
        let (mut long, mut short) = (0.0, 0.0);
        for (_, over_long, over_short) in &fast.points {
            long = over_long.unwrap_or(0.0).max(long);
            short = over_short.unwrap_or(0.0).max(short);
        }
        assert!((short - 200.0_f64).abs() < 1e-6, "{short}");
        assert!((long - 200.0_f64 / 6.0).abs() < 1e-6, "{long}");
        assert_eq!((fast.firings.len(), fast.fires), (1, false));
        assert!(fault.contains(&fast.firings[0].from), "{:?}", fast.firings);
        assert!(
            courses
                .iter()
                .all(|c| c.factor > 0.0 && !c.points.is_empty() && c.points.len() <= POINTS)
        );
        assert_eq!(recent_seconds(&written), 6 * 86_400);
    }

    #[test]
    fn on_a_faster_clock_windows_shrink_and_keep_their_names() {
        let written = spec(99.9, "30d");
        let mut columns = history(1, 0, |_| 1.0);
        // Nothing is known of the first half.
        let half = columns.total.len() / 2;
        columns.total[..half].fill(f64::NAN);
        columns.bad[..half].fill(f64::NAN);
        columns.step = 5;
        let courses = burn_courses(&written, 60.0, &columns);
        assert_eq!(
            (
                courses[0].long.as_str(),
                courses[0].long_seconds,
                courses[0].short_seconds
            ),
            ("1h", 60, 5)
        );
        let slow = &courses[3];
        assert_eq!((slow.long.as_str(), slow.long_seconds), ("3d", 4_320));
        assert!(slow.fires && slow.points.iter().any(|p| p.1.is_some()));
        let silent = burn_courses(
            &written,
            60.0,
            &Columns {
                start: 0,
                step: 5,
                bad: vec![f64::NAN; 9],
                total: vec![f64::NAN; 9],
            },
        );
        assert!(
            silent
                .iter()
                .all(|c| !c.fires && c.points.iter().all(|p| p.1.is_none() && p.2.is_none()))
        );
        assert_eq!(burn_courses(&written, 1.0, &Columns::default()).len(), 4);
    }
}
