//! Counts of good and bad events out of a Prometheus.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use hikeshi_slo::Spec;
use hikeshi_slo::backtest::Columns;
use serde_json::Value;

use super::args::Asked;
use crate::control::record::Record;
use crate::daemon::session::SLO_CLOCK;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

/// Prometheus answers at most 11,000 points a series.
const POINTS: i64 = 10_000;
/// Queries under way at once.
const AT_ONCE: usize = 4;

/// A Prometheus, and how fast its windows run.
pub struct Prometheus {
    http: reqwest::Client,
    base: String,
    pub slo_clock: f64,
}

/// A stretch of history: Unix seconds, a whole number of steps.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    pub from: i64,
    pub to: i64,
    pub step: u32,
}

impl Prometheus {
    /// The one that was named, else that of the system that is up.
    pub fn find(asked: &Asked) -> Result<Self, Failure> {
        let (base, clock) = match &asked.prometheus {
            Some(url) => {
                let plain = url.trim_end_matches('/').to_owned();
                if !(plain.starts_with("http://") || plain.starts_with("https://")) {
                    return Err(Failure::usage(format!(
                        "--prometheus {url}: write a URL, such as http://localhost:9090"
                    )));
                }
                (plain, 1.0)
            }
            None => {
                let record = Record::running(&Paths::from_environment()?);
                let address = record.and_then(|record| record.hosts.get("prometheus").copied());
                let address = address.ok_or_else(|| {
                    Failure::usage("no system is up whose Prometheus could be asked")
                        .hint("hikeshi up, or --prometheus URL")
                })?;
                (format!("http://{address}/prometheus"), SLO_CLOCK)
            }
        };
        let slo_clock = asked.slo_clock.unwrap_or(clock);
        if !(slo_clock.is_finite() && slo_clock > 0.0) {
            return Err(Failure::usage(format!("--slo-clock {slo_clock} is not above 0")));
        }
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(120))
            .build()
            .component("preparing to ask Prometheus")?;
        Ok(Self {
            http,
            base,
            slo_clock,
        })
    }

    /// The history of every objective, in their order.
    pub async fn columns(
        &self,
        wanted: &[(Spec, Stretch)],
        mut done: impl FnMut(usize),
    ) -> Result<Vec<Columns>, Failure> {
        let mut answers =
            stream::iter(wanted.iter().map(|(spec, stretch)| self.of(spec, *stretch))).buffered(AT_ONCE);
        let mut all = Vec::with_capacity(wanted.len());
        while let Some(columns) = answers.next().await {
            all.push(columns?);
            done(all.len());
        }
        Ok(all)
    }

    async fn of(&self, spec: &Spec, stretch: Stretch) -> Result<Columns, Failure> {
        let seconds = u64::from(stretch.step);
        let range = format!("{seconds}s");
        let steps = usize::try_from((stretch.to - stretch.from) / i64::from(stretch.step)).unwrap_or(0);
        // A ratio counts nothing: every step weighs the same.
        let (bad, total) = match spec.source.counts(&range, seconds) {
            Some((bad, total)) => {
                let bad = self.column(&bad, stretch, steps).await?;
                (bad, self.column(&total, stretch, steps).await?)
            }
            None => {
                let bad = self
                    .column(&spec.source.error_ratio(&range), stretch, steps)
                    .await?;
                let total = bad
                    .iter()
                    .map(|ratio| if ratio.is_nan() { f64::NAN } else { 1.0 })
                    .collect();
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
    async fn column(&self, promql: &str, stretch: Stretch, steps: usize) -> Result<Vec<f64>, Failure> {
        let step = i64::from(stretch.step);
        let mut column = vec![f64::NAN; steps];
        // The sample of a moment counts what happened in the step before it.
        let mut first = stretch.from + step;
        while first <= stretch.to {
            let last = stretch.to.min(first + (POINTS - 1) * step);
            for series in self.range(promql, first, last, stretch.step).await? {
                for pair in series["values"].as_array().into_iter().flatten() {
                    let Some((at, value)) = point(pair) else { continue };
                    let index = usize::try_from((at - stretch.from) / step - 1).ok();
                    if let Some(cell) = index.and_then(|index| column.get_mut(index)) {
                        *cell = if cell.is_nan() { value } else { *cell + value };
                    }
                }
            }
            first = last + step;
        }
        Ok(column)
    }

    async fn range(&self, promql: &str, from: i64, to: i64, step: u32) -> Result<Vec<Value>, Failure> {
        let asked = [
            ("query", promql.to_owned()),
            ("start", from.to_string()),
            ("end", to.to_string()),
            ("step", step.to_string()),
        ];
        let answer = self
            .http
            .post(format!("{}/api/v1/query_range", self.base))
            .form(&asked)
            .send()
            .await
            .map_err(|error| {
                Failure::component(format!("Prometheus at {} did not answer: {error}", self.base))
                    .hint("is that its address, with the prefix it is served under?")
            })?;
        let status = answer.status();
        let text = answer.text().await.component("reading Prometheus' answer")?;
        let mut answer: Value = serde_json::from_str(&text).map_err(|_| {
            Failure::component(format!(
                "{} answered {status}, which is not as Prometheus answers",
                self.base
            ))
            .hint("is that its address, with the prefix it is served under?")
        })?;
        if answer["status"] != "success" {
            let reason = answer["error"].as_str().unwrap_or("no reason given").to_owned();
            return Err(Failure::component(format!(
                "Prometheus refused `{promql}`: {reason}"
            )));
        }
        Ok(match answer["data"]["result"].take() {
            Value::Array(series) => series,
            _ => Vec::new(),
        })
    }
}

/// `[1700000000.0, "1.5"]`; none where the value is no number.
fn point(pair: &Value) -> Option<(i64, f64)> {
    let value: f64 = pair[1].as_str()?.parse().ok().filter(|v: &f64| v.is_finite())?;
    #[expect(clippy::cast_possible_truncation, reason = "Unix seconds")]
    let at = pair[0].as_f64()?.round() as i64;
    Some((at, value))
}

/// Rounds a stretch to whole steps that end at a multiple of the step, so that the same history is asked for in the same way.
pub fn stretch(from: i64, to: i64, step: u32) -> Stretch {
    let length = i64::from(step.max(1));
    Stretch {
        from: from.div_euclid(length) * length,
        to: to.div_euclid(length) * length,
        step: step.max(1),
    }
}
