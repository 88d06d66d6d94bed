//! What happened: counters and histograms per journey, and the list of acknowledged posts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram as Hdr;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::schedule::Journey;

type Labels = [(&'static str, &'static str); 2];
type JourneyLabel = [(&'static str, &'static str); 1];

/// Seconds.
const BUCKETS: [f64; 13] = [
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];

/// A post that Chirpy acknowledged.
#[derive(Clone, Debug, Serialize)]
pub struct Acknowledged {
    pub id: i64,
    pub author: String,
    /// RFC 3339.
    pub at: String,
}

/// Latency of a journey in milliseconds, from the intended start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// One journey's totals.
#[derive(Clone, Debug, Default, Serialize)]
pub struct JourneySummary {
    /// Requests that were due.
    pub offered: u64,
    pub ok: u64,
    pub error: u64,
    pub fresh: u64,
    pub stale: u64,
    pub latency_ms: Latency,
    /// The last few kinds of error and how often each occurred.
    pub errors: HashMap<String, u64>,
}

/// Everything since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub seconds: f64,
    pub acknowledged: usize,
    pub journeys: HashMap<&'static str, JourneySummary>,
}

struct Tally {
    latency: Hdr<u64>,
    summary: JourneySummary,
}

/// Takes observations from many tasks.
pub struct Recorder {
    registry: Registry,
    requests: Family<Labels, Counter>,
    durations: Family<JourneyLabel, Histogram>,
    freshness: Family<Labels, Counter>,
    tallies: Mutex<HashMap<Journey, Tally>>,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// All counters exist from the start, at zero: a rate over the first failure is then a rate, not a gap.
    pub fn new() -> Self {
        let requests = Family::<Labels, Counter>::default();
        let durations = Family::<JourneyLabel, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let freshness = Family::<Labels, Counter>::default();
        let mut registry = Registry::default();
        registry.register("journey_requests", "Journeys taken, by result", requests.clone());
        registry.register(
            "journey_request_duration_seconds",
            "Time from the intended start of a journey to its end",
            durations.clone(),
        );
        registry.register(
            "journey_freshness",
            "Sampled posts: were they in followers' timelines?",
            freshness.clone(),
        );
        let mut tallies = HashMap::new();
        for journey in Journey::ALL {
            for result in ["ok", "error"] {
                drop(requests.get_or_create(&[("journey", journey.name()), ("result", result)]));
            }
            drop(durations.get_or_create(&[("journey", journey.name())]));
            tallies.insert(
                journey,
                Tally {
                    latency: latency(),
                    summary: JourneySummary::default(),
                },
            );
        }
        for result in ["fresh", "stale"] {
            drop(freshness.get_or_create(&[("journey", Journey::Read.name()), ("result", result)]));
        }
        Self {
            registry,
            requests,
            durations,
            freshness,
            tallies: Mutex::new(tallies),
            acknowledged: Mutex::default(),
        }
    }

    fn tally(&self, journey: Journey, change: impl FnOnce(&mut Tally)) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        change(tallies.entry(journey).or_insert_with(|| Tally {
            latency: latency(),
            summary: JourneySummary::default(),
        }));
    }

    /// A request became due.
    pub fn offered(&self, journey: Journey) {
        self.tally(journey, |tally| tally.summary.offered += 1);
    }

    /// A request ended `elapsed` after it was due; an error says which.
    pub fn ended(&self, journey: Journey, elapsed: Duration, outcome: Result<(), &str>) {
        let result = if outcome.is_ok() { "ok" } else { "error" };
        self.requests
            .get_or_create(&[("journey", journey.name()), ("result", result)])
            .inc();
        self.durations
            .get_or_create(&[("journey", journey.name())])
            .observe(elapsed.as_secs_f64());
        self.tally(journey, |tally| {
            tally
                .latency
                .saturating_record(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
            match outcome {
                Ok(()) => tally.summary.ok += 1,
                Err(error) => {
                    tally.summary.error += 1;
                    // A bounded number of kinds: an error message may hold anything.
                    let kind = if tally.summary.errors.len() < 20 || tally.summary.errors.contains_key(error)
                    {
                        error
                    } else {
                        "other"
                    };
                    *tally.summary.errors.entry(kind.to_owned()).or_default() += 1;
                }
            }
        });
    }

    /// A sampled post was, or was not, in every timeline looked at.
    pub fn freshness(&self, fresh: bool) {
        let result = if fresh { "fresh" } else { "stale" };
        self.freshness
            .get_or_create(&[("journey", Journey::Read.name()), ("result", result)])
            .inc();
        self.tally(Journey::Read, |tally| {
            if fresh {
                tally.summary.fresh += 1
            } else {
                tally.summary.stale += 1
            }
        });
    }

    /// Chirpy said that this post is stored.
    pub fn acknowledge(&self, post: Acknowledged) {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(post);
    }

    /// JSON lines of all acknowledged posts, oldest first.
    pub fn acknowledged_lines(&self) -> String {
        let posts = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        posts
            .iter()
            .filter_map(|post| serde_json::to_string(post).ok())
            .fold(String::new(), |mut text, line| {
                text.push_str(&line);
                text.push('\n');
                text
            })
    }

    /// Totals after `elapsed` of running.
    pub fn summary(&self, elapsed: Duration) -> Summary {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let journeys = tallies.iter().map(|(journey, tally)| {
            let mut summary = tally.summary.clone();
            let at = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1000.0;
            let max = tally.latency.max() as f64 / 1000.0;
            summary.latency_ms = Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max,
            };
            (journey.name(), summary)
        });
        Summary {
            seconds: elapsed.as_secs_f64(),
            acknowledged: self
                .acknowledged
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .len(),
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

/// Microseconds up to a minute, two significant digits.
fn latency() -> Hdr<u64> {
    Hdr::new_with_bounds(1, 60_000_000, 2).unwrap_or_else(|_| unreachable!("these bounds are valid"))
}
