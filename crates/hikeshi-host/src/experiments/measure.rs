//! Figures of checks, and of the traffic that an experiment touches, from Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use hikeshi_experiment::api::Flow;
use hikeshi_experiment::life::EdgeFlow;
use hikeshi_experiment::selector::{Cluster, owner_of};
use hikeshi_experiment::traffic::{EdgeRate, Measured};
use hikeshi_experiment::{Check, Experiment};
use jiff::Timestamp;

use crate::prometheus::{Prometheus, PrometheusError, Sample};

/// Over how long what is asked now is counted.
const RECENT: &str = "20s";
/// Between two points of the past.
const STEP: f64 = 2.0;

/// The series of each check, in order, at a moment (none: now). An inner error: Prometheus did not answer, or refused.
pub(super) async fn series<'a>(
    prometheus: &Prometheus,
    checks: impl Iterator<Item = &'a Check>,
    at: Option<Timestamp>,
) -> Vec<Result<Vec<f64>, PrometheusError>> {
    let asked = checks.map(|check| async move {
        let samples = prometheus.query_at(&check.query, at).await?;
        Ok(samples.into_iter().map(|sample| sample.value).collect())
    });
    join_all(asked).await
}

/// The same, where why there is no answer does not matter.
pub(super) async fn values<'a>(
    prometheus: &Prometheus,
    checks: impl Iterator<Item = &'a Check>,
    at: Option<Timestamp>,
) -> Vec<Option<Vec<f64>>> {
    series(prometheus, checks, at)
        .await
        .into_iter()
        .map(Result::ok)
        .collect()
}

/// What is asked of whom now, as far as Prometheus knows.
pub(super) async fn traffic(prometheus: &Prometheus, cluster: &Cluster) -> Measured {
    let edges =
        format!("sum by (source, destination, route, code) (rate(hikeshi_edge_requests_total[{RECENT}]))");
    let bytes = format!("sum by (source, destination) (rate(hikeshi_edge_bytes_total[{RECENT}]))");
    let journeys = format!("sum by (journey, namespace, pod) (rate(journey_requests_total[{RECENT}]))");
    let (edges, bytes, journeys) = tokio::join!(
        asked(prometheus, &edges, None),
        asked(prometheus, &bytes, None),
        asked(prometheus, &journeys, None)
    );
    let edge = |sample: Sample| EdgeRate {
        source: label(&sample, "source"),
        destination: label(&sample, "destination"),
        route: label(&sample, "route"),
        code: label(&sample, "code").parse().unwrap_or_default(),
        per_second: sample.value,
    };
    let journey = |sample: Sample| {
        let (namespace, name) = (label(&sample, "namespace"), label(&sample, "pod"));
        let pod = cluster.pods.iter().find(|pod| {
            pod["metadata"]["namespace"] == namespace.as_str() && pod["metadata"]["name"] == name.as_str()
        })?;
        Some((label(&sample, "journey"), owner_of(pod).1, sample.value))
    };
    Measured {
        edges: edges.into_iter().map(edge).collect(),
        bytes: bytes
            .into_iter()
            .map(|sample| {
                (
                    label(&sample, "source"),
                    label(&sample, "destination"),
                    sample.value,
                )
            })
            .collect(),
        journeys: journeys.into_iter().filter_map(journey).collect(),
    }
}

/// The requests that came in by routes lately, for suggestions.
pub(super) async fn routes(prometheus: &Prometheus) -> Vec<EdgeRate> {
    let query = "sum by (source, destination, route) (hikeshi_edge_requests_total{route!=\"\"})";
    asked(prometheus, query, None)
        .await
        .into_iter()
        .map(|sample| EdgeRate {
            source: label(&sample, "source"),
            destination: label(&sample, "destination"),
            route: label(&sample, "route"),
            code: 0,
            per_second: 0.0,
        })
        .collect()
}

/// What the edges of `workloads` carried in the `seconds` up to a moment.
pub(super) async fn edges(
    prometheus: &Prometheus,
    workloads: &BTreeSet<String>,
    sources_too: bool,
    seconds: f64,
    at: Timestamp,
) -> Vec<EdgeFlow> {
    // A Kubernetes name has no sign with a meaning in a regular expression but the dot, which matches itself.
    let names = workloads.iter().map(String::as_str).collect::<Vec<_>>().join("|");
    if names.is_empty() {
        return Vec::new();
    }
    let window = format!("{}ms", (seconds * 1e3).round());
    let rates = |metric: &str, only: &str, by: &str| {
        let end = |end: &str| format!("sum by ({by}) (rate({metric}{{{end}=~\"{names}\"{only}}}[{window}]))");
        if sources_too {
            format!("{} or {}", end("destination"), end("source"))
        } else {
            end("destination")
        }
    };
    let pair = "source, destination";
    let requests = rates("hikeshi_edge_requests_total", "", pair);
    let errors = rates("hikeshi_edge_requests_total", ",code=~\"5..|0\"", pair);
    let buckets = rates(
        "hikeshi_edge_request_duration_seconds_bucket",
        "",
        "source, destination, le",
    );
    let at = Some(at);
    let quantile = |q: f64| format!("histogram_quantile({q}, {buckets})");
    let (p50, p99) = (quantile(0.5), quantile(0.99));
    let (requests, errors, p50, p99) = tokio::join!(
        asked(prometheus, &requests, at),
        asked(prometheus, &errors, at),
        asked(prometheus, &p50, at),
        asked(prometheus, &p99, at)
    );
    let by_pair = |samples: Vec<Sample>| -> BTreeMap<(String, String), f64> {
        samples
            .into_iter()
            .map(|sample| {
                (
                    (label(&sample, "source"), label(&sample, "destination")),
                    sample.value,
                )
            })
            .collect()
    };
    let (errors, p50, p99) = (by_pair(errors), by_pair(p50), by_pair(p99));
    let finite = |map: &BTreeMap<_, f64>, key: &_| map.get(key).copied().filter(|value| value.is_finite());
    by_pair(requests)
        .into_iter()
        .map(|(key, rate)| EdgeFlow {
            flow: Flow {
                requests_per_second: rate,
                error_share: (rate > 0.0)
                    .then(|| (finite(&errors, &key).unwrap_or(0.0) / rate).clamp(0.0, 1.0)),
                p50_s: finite(&p50, &key),
                p99_s: finite(&p99, &key),
            },
            source: key.0,
            destination: key.1,
        })
        .collect()
}

/// Writes into an experiment what was so in the minute up to `start`.
pub(super) async fn past(prometheus: &Prometheus, experiment: &mut Experiment, start: Timestamp) {
    use hikeshi_experiment::life::BEFORE;
    let at = start.as_duration().as_secs_f64();
    let points = experiment.measured.iter().map(|measured| {
        let check = &measured.check;
        async move {
            let series = prometheus.query_range(&check.query, at - BEFORE, at, STEP).await;
            let mut moments: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
            for (at, value) in series.unwrap_or_default().into_iter().flatten() {
                #[expect(clippy::cast_possible_truncation, reason = "milliseconds of this century")]
                moments.entry((at * 1e3) as i64).or_default().push(value);
            }
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century")]
            let point = |(at, values): (i64, Vec<f64>)| Some((at as f64 / 1e3, check.worst(&values)?));
            moments.into_iter().filter_map(point).collect::<Vec<_>>()
        }
    });
    let sources_too = experiment.touches_sources();
    let (points, edges) = tokio::join!(
        join_all(points),
        edges(prometheus, &experiment.workloads, sources_too, BEFORE, start)
    );
    experiment.past(edges, points);
}

/// The samples; none when there is no answer: what is not known is told as that.
async fn asked(prometheus: &Prometheus, query: &str, at: Option<Timestamp>) -> Vec<Sample> {
    prometheus.query_at(query, at).await.unwrap_or_else(|error| {
        tracing::debug!(%error, query, "traffic could not be asked for");
        Vec::new()
    })
}

fn label(sample: &Sample, name: &str) -> String {
    sample
        .labels
        .get(name)
        .and_then(|value| value.as_str())
        .unwrap_or_default()
        .to_owned()
}
