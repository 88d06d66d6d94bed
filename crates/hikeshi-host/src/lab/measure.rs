//! What the ingress counted of the requests on trial, asked of Prometheus.

use hikeshi_lab::{Delivered, Level};

use crate::prometheus::{Prometheus, PrometheusError};

/// The counters of the edge from the ingress to the trial group, at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    requests: f64,
    errors: f64,
    seconds: f64,
    within: Option<f64>,
    /// Seconds of all calls that the trial group itself made: what the system needed.
    own: f64,
}

/// Which edge.
pub(super) struct Edge<'a> {
    pub trial: &'a str,
    pub level: Level,
}

/// Asks for the counters as they are now.
pub(super) async fn counters(prometheus: &Prometheus, edge: &Edge<'_>) -> Result<Counters, PrometheusError> {
    let Edge { trial, level } = edge;
    let of = |metric: &str, more: &str| {
        format!("sum(hikeshi_edge_{metric}{{source=\"ingress\",destination=\"{trial}\"{more}}}) or vector(0)")
    };
    let within = match level {
        Level::Edge { micros, .. } => bucket(*micros),
        _ => None,
    };
    let requests = of("request_duration_seconds_count", "");
    let errors = of("requests_total", ",code=~\"5..|0\"");
    let seconds = of("request_duration_seconds_sum", "");
    let own = format!("sum(hikeshi_edge_request_duration_seconds_sum{{source=\"{trial}\"}}) or vector(0)");
    let below = within.map(|bound| of("request_duration_seconds_bucket", &format!(",le=~\"{bound}\"")));
    let (requests, errors, seconds, own, below) = tokio::join!(
        prometheus.value(&requests),
        prometheus.value(&errors),
        prometheus.value(&seconds),
        prometheus.value(&own),
        async {
            match below {
                Some(query) => prometheus.value(&query).await,
                None => Ok(None),
            }
        }
    );
    Ok(Counters {
        requests: requests?.unwrap_or(0.0),
        errors: errors?.unwrap_or(0.0),
        seconds: seconds?.unwrap_or(0.0),
        own: own?.unwrap_or(0.0),
        within: below?,
    })
}

/// The bucket that ends at this length, as Prometheus may spell it: the ingress' histogram ends at the lengths that
/// objectives usually name.
fn bucket(micros: u64) -> Option<String> {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of minutes")]
    let seconds = micros as f64 / 1e6;
    const BOUNDS: [f64; 14] = [
        0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0,
    ];
    let known = BOUNDS.iter().any(|bound| (bound - seconds).abs() < 1e-9);
    known.then(|| format!("{seconds}|{seconds:?}").replace('.', "\\\\."))
}

impl Counters {
    /// What came between an earlier moment and this one.
    pub fn since(&self, before: &Self) -> Delivered {
        let count = |now: f64, then: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a counter's growth"
            )]
            let growth = (now - then).max(0.0).round() as u64;
            growth
        };
        Delivered {
            requests: count(self.requests, before.requests),
            errors: count(self.errors, before.errors),
            seconds: (self.seconds - before.seconds).max(0.0),
            within: self.within.map(|now| count(now, before.within.unwrap_or(0.0))),
        }
    }

    /// Mean seconds that the system itself needed for a request between both moments.
    pub fn own_mean(&self, before: &Self) -> Option<f64> {
        let requests = self.requests - before.requests;
        (requests >= 1.0).then(|| (self.own - before.own).max(0.0) / requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_between_two_moments() {
        let before = Counters {
            requests: 10.0,
            errors: 1.0,
            seconds: 3.0,
            within: Some(4.0),
            own: 1.0,
        };
        let now = Counters {
            requests: 14.0,
            errors: 2.0,
            seconds: 7.0,
            within: Some(7.0),
            own: 1.2,
        };
        let delivered = now.since(&before);
        assert_eq!(
            (delivered.requests, delivered.errors, delivered.within),
            (4, 1, Some(3))
        );
        assert!((now.own_mean(&before).unwrap() - 0.05).abs() < 1e-9);
        assert_eq!(before.own_mean(&before), None);
        assert_eq!(bucket(1_000_000).as_deref(), Some("1|1\\\\.0"));
        assert_eq!(bucket(1_234_000), None);
    }
}
