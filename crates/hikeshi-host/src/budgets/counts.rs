//! Counts of good and bad events out of a Prometheus.

use futures::stream::{self, StreamExt};
use hikeshi_slo::backtest::{Columns, recent_seconds};
use hikeshi_slo::{Period, Spec};

use crate::prometheus::{Prometheus, PrometheusError};

/// Prometheus answers at most 11,000 points a series.
const POINTS: i64 = 10_000;
/// Queries under way at once.
const AT_ONCE: usize = 4;
/// How many steps a period is looked at in: a month in quarters of an hour.
const STEPS: u64 = 2_880;
/// Below this a rate has too few samples: on a production Prometheus, and on a drill's, which scrapes every second.
const SHORTEST: u64 = 60;
const SHORTEST_IN_A_DRILL: u64 = 5;

/// A stretch of history: Unix seconds, a whole number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub from: i64,
    pub to: i64,
    pub step: u32,
}

impl Stretch {
    /// The whole steps that end at `to`, back to `from` at most.
    #[must_use]
    pub fn until(from: i64, to: i64, step: u32) -> Self {
        let step = step.max(1);
        let length = i64::from(step);
        Self {
            from: to - (to - from).max(0).div_euclid(length) * length,
            to,
            step,
        }
    }

    /// The same rounded to whole steps that end at a multiple of the step, so that the same history is asked for in the same way.
    #[must_use]
    pub fn rounded(from: i64, to: i64, step: u32) -> Self {
        let step = step.max(1);
        let length = i64::from(step);
        Self {
            from: from.div_euclid(length) * length,
            to: to.div_euclid(length) * length,
            step,
        }
    }

    /// Of the period that holds `now`, as far as it is over; `spec` is as its clock makes it.
    #[must_use]
    pub fn of_period(spec: &Spec, now: i64, slo_clock: f64) -> Self {
        // What ended now is the period's that ended.
        let from = match spec.period {
            Period::Rolling(_) => spec.period.start(now),
            Period::Calendar(_) => spec.period.start(now - 1),
        };
        let length = u64::try_from(now - from).unwrap_or(0);
        let step = (length / STEPS).max(shortest(slo_clock));
        Self::until(from, now, u32::try_from(step).unwrap_or(u32::MAX))
    }

    /// Of the last hours or days, in steps as short as the shortest alert window.
    #[must_use]
    pub fn of_alerts(spec: &Spec, now: i64, slo_clock: f64) -> Self {
        let window = spec.burns.iter().map(|burn| burn.short.seconds).min();
        let step = window.unwrap_or(0).max(shortest(slo_clock));
        let from = now.saturating_sub_unsigned(recent_seconds(spec));
        Self::until(from, now, u32::try_from(step).unwrap_or(u32::MAX))
    }

    fn steps(self) -> usize {
        usize::try_from((self.to - self.from) / i64::from(self.step)).unwrap_or(0)
    }
}

fn shortest(slo_clock: f64) -> u64 {
    if slo_clock > 1.0 {
        SHORTEST_IN_A_DRILL
    } else {
        SHORTEST
    }
}

/// The history of every objective, in their order; `done` hears how many there are.
///
/// # Errors
/// The first query that Prometheus does not answer.
pub async fn histories(
    prometheus: &Prometheus,
    wanted: &[(Spec, Stretch)],
    mut done: impl FnMut(usize),
) -> Result<Vec<Columns>, PrometheusError> {
    let asked: Vec<_> = wanted
        .iter()
        .map(|(spec, stretch)| history(prometheus, spec, *stretch))
        .collect();
    let mut answers = stream::iter(asked).buffered(AT_ONCE);
    let mut all = Vec::with_capacity(wanted.len());
    while let Some(columns) = answers.next().await {
        all.push(columns?);
        done(all.len());
    }
    Ok(all)
}

/// One objective's events in the steps of a stretch; `spec` is as its clock makes it.
///
/// # Errors
/// A query that Prometheus does not answer.
pub async fn history(
    prometheus: &Prometheus,
    spec: &Spec,
    stretch: Stretch,
) -> Result<Columns, PrometheusError> {
    let seconds = u64::from(stretch.step);
    let range = format!("{seconds}s");
    let (bad, total) = match spec.source.counts(&range, seconds) {
        Some((bad, total)) => (
            column(prometheus, &bad, stretch).await?,
            column(prometheus, &total, stretch).await?,
        ),
        // A ratio counts nothing: every step weighs the same.
        None => {
            let bad = column(prometheus, &spec.source.error_ratio(&range), stretch).await?;
            let one = |ratio: &f64| if ratio.is_nan() { f64::NAN } else { 1.0 };
            let total = bad.iter().map(one).collect();
            (bad, total)
        }
    };
    Ok(Columns {
        start: stretch.from,
        step: stretch.step,
        bad,
        total,
    })
}

/// One value a step, NaN where there is none; several series are summed.
async fn column(
    prometheus: &Prometheus,
    promql: &str,
    stretch: Stretch,
) -> Result<Vec<f64>, PrometheusError> {
    let step = i64::from(stretch.step);
    let mut column = vec![f64::NAN; stretch.steps()];
    // The sample of a moment counts what happened in the step before it.
    let mut first = stretch.from + step;
    while first <= stretch.to {
        let last = stretch.to.min(first + (POINTS - 1) * step);
        #[expect(clippy::cast_precision_loss, reason = "Unix seconds")]
        let (start, end) = (first as f64, last as f64);
        for series in prometheus
            .query_range(promql, start, end, f64::from(stretch.step))
            .await?
        {
            for (at, value) in series.into_iter().filter(|(_, value)| value.is_finite()) {
                #[expect(clippy::cast_possible_truncation, reason = "Unix seconds")]
                let index = usize::try_from((at.round() as i64 - stretch.from) / step - 1).ok();
                if let Some(cell) = index.and_then(|index| column.get_mut(index)) {
                    *cell = if cell.is_nan() { value } else { *cell + value };
                }
            }
        }
        first = last + step;
    }
    Ok(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(window: &str) -> Spec {
        let text = format!(
            "apiVersion: hikeshi.dev/v1\nkind: CUJs\nsystem: s\nwindow: {window}\ncujs:\n  - name: a\n    title: {{ja: a, en: a}}\n    owner: o\n    route: r\n    slos: [{{sli: availability, objective: 99}}]\n"
        );
        hikeshi_slo::specs(&hikeshi_slo::parse("t.yaml", &text).unwrap()).remove(0)
    }

    #[test]
    fn a_period_is_asked_for_up_to_now_and_never_before_it_began() {
        let now = 1_796_083_200 + 12_345;
        let rolling = Stretch::of_period(&spec("30d"), now, 1.0);
        assert_eq!(
            (rolling.from, rolling.to, rolling.step),
            (now - 30 * 86_400, now, 900)
        );
        // A quarter of the drill's clock: half a second a step would be less than a scrape.
        let drill = Stretch::of_period(&spec("30d").on_clock(60.0), now, 60.0);
        assert_eq!((drill.from, drill.to, drill.step), (now - 43_200, now, 15));
        // 2026-12-01T00:00Z and three hours more: steps of a minute that end now.
        let month = Stretch::of_period(&spec("{calendar: month}"), now, 1.0);
        assert_eq!((month.to, month.step), (now, 60));
        assert_eq!(month.from, 1_796_083_200 + 45);
        // The very moment a month begins, the one that ended is still told.
        let turn = Stretch::of_period(&spec("{calendar: month}"), 1_796_083_200, 1.0);
        assert_eq!(turn.to - turn.from, 30 * 86_400);
    }

    #[test]
    fn alerts_are_looked_at_in_steps_of_their_shortest_window() {
        let now = 1_796_083_200;
        let real = Stretch::of_alerts(&spec("30d"), now, 1.0);
        assert_eq!((real.from, real.to, real.step), (now - 6 * 86_400, now, 300));
        let drill = Stretch::of_alerts(&spec("30d").on_clock(60.0), now, 60.0);
        assert_eq!((drill.from, drill.to, drill.step), (now - 8_640, now, 5));
    }
}
