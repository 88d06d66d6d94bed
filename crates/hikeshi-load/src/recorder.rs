//! What happened: Prometheus' counters, the measurement, and the list of acknowledged posts.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::journey::Journey;
use crate::latency::Quantiles;
use crate::measured::Measured;

type Labels = [(&'static str, &'static str); 2];
type JourneyLabel = [(&'static str, &'static str); 1];

/// Seconds.
const BUCKETS: [f64; 13] = [
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];

/// A post that Chirpy acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub id: i64,
    /// The author's place among the people that take part.
    pub author: u32,
    /// Milliseconds since 1970.
    pub at: i64,
}

/// One journey's totals.
#[derive(Clone, Debug, Default, Serialize)]
pub struct JourneySummary {
    /// Requests that were due, and those that were written to a connection.
    pub offered: u64,
    pub sent: u64,
    pub ok: u64,
    pub error: u64,
    pub fresh: u64,
    pub stale: u64,
    /// Of what was answered well, from the intended start.
    pub latency_ms: Quantiles,
    /// Of what failed.
    pub failed_ms: Quantiles,
    /// How often each kind of error occurred; only so many kinds are told apart.
    pub errors: HashMap<String, u64>,
}

/// Everything since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub seconds: f64,
    pub acknowledged: usize,
    /// Processor seconds of this program.
    pub cpu_seconds: f64,
    /// How long after they were due requests were written.
    pub late_ms: Quantiles,
    pub journeys: HashMap<&'static str, JourneySummary>,
}

/// A journey's metrics, found once.
struct Metrics {
    ok: Counter,
    error: Counter,
    duration: Histogram,
}

/// Takes observations from many threads.
pub struct Recorder {
    registry: Registry,
    /// By [`Journey::place`].
    metrics: Vec<Metrics>,
    fresh: Counter,
    stale: Counter,
    measured: Mutex<Measured>,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

impl Recorder {
    /// For these journeys. All counters exist from the start, at zero: a rate over the first failure is then a rate, not
    /// a gap. `measured` is what is added to.
    pub fn new(journeys: &[Journey], mut measured: Measured) -> Self {
        let requests = Family::<Labels, Counter>::default();
        let durations = Family::<JourneyLabel, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let freshness = Family::<Labels, Counter>::default();
        let mut registry = Registry::default();
        registry.register("journey_requests", "Journeys taken, by result", requests.clone());
        registry.register(
            "journey_request_duration_seconds",
            "Time from the intended start of a journey to its good end; what failed is counted, not timed",
            durations.clone(),
        );
        registry.register(
            "journey_freshness",
            "Sampled posts: were they in followers' timelines?",
            freshness.clone(),
        );
        let metrics = Journey::ALL.map(|journey| {
            if !journeys.contains(&journey) {
                // Nobody takes it, and it is not told.
                return Metrics {
                    ok: Counter::default(),
                    error: Counter::default(),
                    duration: Histogram::new(BUCKETS),
                };
            }
            measured.journey(journey);
            let counter =
                |result| requests.get_or_create_owned(&[("journey", journey.name()), ("result", result)]);
            Metrics {
                ok: counter("ok"),
                error: counter("error"),
                duration: durations.get_or_create_owned(&[("journey", journey.name())]),
            }
        });
        let sampled = |result| {
            let labels = [("journey", Journey::ReadTimeline.name()), ("result", result)];
            freshness.get_or_create_owned(&labels)
        };
        Self {
            registry,
            metrics: metrics.into(),
            fresh: sampled("fresh"),
            stale: sampled("stale"),
            measured: Mutex::new(measured),
            acknowledged: Mutex::default(),
        }
    }

    /// What was measured so far.
    pub fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn posts(&self) -> MutexGuard<'_, Vec<Acknowledged>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request became due, `at` after the start.
    pub fn offered(&self, journey: Journey, at: Duration) {
        self.measured()
            .count(journey, at, |counts, _| counts.offered += 1);
    }

    /// A request was written, `late` after it was due.
    pub fn sent(&self, journey: Journey, at: Duration, late: Duration) {
        let mut measured = self.measured();
        measured.late.record(late);
        measured.count(journey, at, |counts, _| counts.sent += 1);
    }

    /// A request that was due `at` after the start ended `elapsed` later; an error says which. What failed has no part in the
    /// latencies: a system that refuses quickly would look fast.
    pub fn ended(&self, journey: Journey, at: Duration, elapsed: Duration, outcome: Result<(), &str>) {
        let metrics = &self.metrics[journey.place()];
        match outcome {
            Ok(()) => metrics.ok.inc(),
            Err(_) => metrics.error.inc(),
        };
        let mut measured = self.measured();
        match outcome {
            Ok(()) => {
                metrics.duration.observe(elapsed.as_secs_f64());
                measured.count(journey, at, |counts, latency| {
                    latency.record(elapsed);
                    counts.ok += 1;
                });
            }
            Err(kind) => {
                measured.count(journey, at, |counts, _| counts.error += 1);
                let tally = measured.journey(journey);
                tally.failed.record(elapsed);
                tally.fail(kind, 1);
            }
        }
    }

    /// A sampled post was, or was not, in every timeline looked at.
    pub fn freshness(&self, fresh: bool) {
        let counter = if fresh { &self.fresh } else { &self.stale };
        counter.inc();
        let mut measured = self.measured();
        let tally = measured.journey(Journey::ReadTimeline);
        if fresh {
            tally.fresh += 1;
        } else {
            tally.stale += 1;
        }
    }

    /// Chirpy said that this post is stored.
    pub fn acknowledge(&self, post: Acknowledged) {
        self.posts().push(post);
    }

    /// JSON lines of all acknowledged posts, oldest first: id, author, RFC 3339 time. `name` tells an author's name.
    pub fn acknowledged_lines(&self, name: impl Fn(u32) -> String) -> String {
        let posts = self.posts().clone();
        let mut text = String::with_capacity(posts.len() * 80);
        for post in posts {
            let at = jiff::Timestamp::from_millisecond(post.at).unwrap_or_default();
            let author = serde_json::Value::from(name(post.author));
            // Writing to a string cannot fail.
            let _ = writeln!(text, r#"{{"id":{},"author":{author},"at":"{at}"}}"#, post.id);
        }
        text
    }

    /// Totals after `elapsed` of running.
    pub fn summary(&self, elapsed: Duration) -> Summary {
        let measured = self.measured();
        let journeys = measured.journeys.iter().map(|(journey, tally)| {
            let summary = JourneySummary {
                offered: tally.counts.offered,
                sent: tally.counts.sent,
                ok: tally.counts.ok,
                error: tally.counts.error,
                fresh: tally.fresh,
                stale: tally.stale,
                latency_ms: tally.latency.quantiles(),
                failed_ms: tally.failed.quantiles(),
                errors: tally
                    .errors
                    .iter()
                    .map(|(kind, times)| (kind.clone(), *times))
                    .collect(),
            };
            (journey.name(), summary)
        });
        Summary {
            seconds: elapsed.as_secs_f64(),
            acknowledged: self.posts().len(),
            cpu_seconds: cpu_seconds(),
            late_ms: measured.late.quantiles(),
            journeys: journeys.collect(),
        }
    }

    /// The metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When formatting fails.
    pub fn exposition(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Processor seconds, user's and system's, of this process so far.
pub fn cpu_seconds() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeVal;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        seconds(usage.user_time()) + seconds(usage.system_time())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_refusals_make_nothing_look_fast() {
        let recorder = Recorder::new(
            &[Journey::ReadTimeline],
            Measured::with_course(Duration::from_secs(10)),
        );
        let ended = |millis, outcome| {
            let at = Duration::from_secs(1);
            recorder.ended(Journey::ReadTimeline, at, Duration::from_millis(millis), outcome);
        };
        ended(900, Ok(()));
        (0..99).for_each(|_| ended(1, Err("status 503")));
        let summary = recorder.summary(Duration::from_secs(10));
        let reads = &summary.journeys["read-timeline"];
        assert!(
            reads.latency_ms.p50 >= 900.0 && reads.failed_ms.max < 2.0,
            "{reads:?}"
        );
        assert_eq!((reads.ok, reads.error), (1, 99));
        let measured = recorder.measured();
        assert!(
            measured.journeys[&Journey::ReadTimeline].stretches[1]
                .latency
                .quantile(0.01)
                >= 900.0
        );
        let text = recorder.exposition().expect("text");
        assert!(
            text.contains("journey_request_duration_seconds_count{journey=\"read-timeline\"} 1\n"),
            "{text}"
        );
    }
}
