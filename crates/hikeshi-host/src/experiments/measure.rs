//! Figures of checks and of the blast radius, from Prometheus.

use futures::future::join_all;
use hikeshi_experiment::Check;
use hikeshi_experiment::api::BlastRadius;
use jiff::Timestamp;

use crate::prometheus::{Prometheus, PrometheusError};

/// Over how long the blast radius' requests are counted.
const RECENT: &str = "2m";

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

/// Fills in how much traffic the pods of a blast radius take, as far as the data plane's edges are measured.
pub(super) async fn traffic(prometheus: &Prometheus, blast: &mut BlastRadius) {
    let mut names: Vec<&str> = blast
        .services
        .iter()
        .map(|service| service.name.as_str())
        .chain(
            blast
                .pods
                .iter()
                .map(|pod| pod.workload.rsplit('/').next().unwrap_or_default()),
        )
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return;
    }
    let edges = |selector: &str| format!("sum(rate(hikeshi_edge_requests_total{selector}[{RECENT}]))");
    let (these, all) = (
        edges(&format!("{{destination=~\"{}\"}}", names.join("|"))),
        edges(""),
    );
    let (these, all) = tokio::join!(prometheus.value(&these), prometheus.value(&all));
    if let (Ok(Some(these)), Ok(Some(all))) = (these, all) {
        blast.requests_per_second = Some(these);
        blast.share_of_requests = (all > 0.0).then(|| (these / all).clamp(0.0, 1.0));
    }
}
