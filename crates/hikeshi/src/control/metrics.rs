//! The API server's metrics for autoscaling, from the running system's Prometheus.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hikeshi_apiserver::{MetricSample, MetricSource, MetricSourceError};
use hikeshi_host::Prometheus;
use jiff::Timestamp;
use tokio::sync::watch;

/// Asks Prometheus where the data plane serves it on this host.
pub struct SystemMetrics(Prometheus);

impl SystemMetrics {
    /// `hosts`: host addresses by name, as far as they are bound.
    pub fn new(hosts: watch::Receiver<BTreeMap<String, SocketAddr>>) -> Self {
        let base = move || {
            let address = hosts.borrow().get("prometheus").copied()?;
            Some(format!("http://{address}/prometheus"))
        };
        Self(Prometheus::new(Arc::new(base)))
    }
}

#[async_trait]
impl MetricSource for SystemMetrics {
    async fn query(&self, promql: &str) -> Result<Vec<MetricSample>, MetricSourceError> {
        let samples = self.0.query(promql).await;
        let samples = samples.map_err(|error| MetricSourceError(error.to_string()))?;
        // An instant query's samples are all of the moment it was asked.
        let at = Timestamp::now();
        Ok(samples
            .into_iter()
            .map(|sample| MetricSample {
                labels: sample
                    .labels
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
                    .collect(),
                value: sample.value,
                at,
            })
            .collect())
    }
}
