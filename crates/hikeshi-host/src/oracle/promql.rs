//! A comparison in PromQL: it holds when it answers at least one sample.

use crate::prometheus::Prometheus;

pub(super) async fn holds(prometheus: &Prometheus, query: &str) -> Result<(), String> {
    match prometheus.query(query).await {
        Ok(samples) if samples.is_empty() => Err(format!("does not hold: {query}")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{query}: {error}")),
    }
}
