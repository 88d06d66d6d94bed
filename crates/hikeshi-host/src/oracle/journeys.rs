//! Every journey within its objectives over the last short window.

use hikeshi_slo::JourneyQuery;

use crate::prometheus::Prometheus;
use crate::sampler;

/// The reasons why not; empty when all is well.
pub(super) async fn within_slo(prometheus: &Prometheus, queries: &[JourneyQuery]) -> Vec<String> {
    let samples = sampler::sample(prometheus, queries).await;
    queries
        .iter()
        .flat_map(|query| {
            let sample = samples.get(&query.journey).cloned().unwrap_or_default();
            query.broken(sample.availability, sample.latency_good, sample.freshness)
        })
        .collect()
}
