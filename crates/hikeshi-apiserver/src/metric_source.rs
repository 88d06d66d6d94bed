//! What the server asks of the running system's Prometheus.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

/// Answers instant queries: the source behind `custom.metrics.k8s.io` and `external.metrics.k8s.io`.
#[async_trait]
pub trait MetricSource: Send + Sync + 'static {
    /// The samples of an instant PromQL query, now.
    async fn query(&self, promql: &str) -> Result<Vec<MetricSample>, MetricSourceError>;
}

/// One sample of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSample {
    pub labels: BTreeMap<String, String>,
    /// May be NaN or infinite, as Prometheus computes it.
    pub value: f64,
    pub at: Timestamp,
}

/// Why there are no samples; the text says what a person can do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct MetricSourceError(pub String);
