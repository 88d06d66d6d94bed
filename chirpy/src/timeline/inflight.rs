//! Fan-out jobs that a worker holds, as a gauge that also says how many more it may take.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::service::Labels;

/// The jobs held, by shard.
#[derive(Clone)]
pub struct Inflight(Family<Labels, Gauge>);

/// The places of some jobs, which are free again when it is dropped: also when their task panics or is given up.
pub struct Places {
    gauge: Gauge,
    jobs: i64,
}

fn label(shard: i16) -> Labels {
    vec![("shard", shard.to_string())]
}

impl Inflight {
    /// Shows zero for these shards until they hold jobs.
    pub fn new(gauges: Family<Labels, Gauge>, shards: i16) -> Self {
        for shard in 0..shards {
            gauges.get_or_create(&label(shard)).set(0);
        }
        Self(gauges)
    }

    /// How many jobs of a shard are held.
    pub fn held(&self, shard: i16) -> i64 {
        self.0.get_or_create(&label(shard)).get()
    }

    /// Places for so many jobs of a shard.
    pub fn take(&self, shard: i16, jobs: usize) -> Places {
        let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
        let gauge = self.0.get_or_create(&label(shard)).clone();
        gauge.inc_by(jobs);
        Places { gauge, jobs }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.gauge.dec_by(self.jobs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_holds_no_places_after_that() {
        let inflight = Inflight::new(Family::default(), 3);
        let (kept, lost) = (inflight.take(1, 2), inflight.take(1, 5));
        assert_eq!((inflight.held(0), inflight.held(1)), (0, 7));
        let task = tokio::spawn(async move {
            let _places = lost;
            panic!("a bug");
        });
        assert!(task.await.is_err());
        assert_eq!(inflight.held(1), 2);
        drop(kept);
        assert_eq!(inflight.held(1), 0);
    }
}
