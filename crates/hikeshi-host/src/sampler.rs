//! What users get, once every two seconds, read from Prometheus into the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hikeshi_drill::Command;
use hikeshi_drill::event::JourneySample;
use hikeshi_slo::JourneyQuery;

use crate::host::Host;
use crate::prometheus::Prometheus;

const EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn run(host: Arc<Host>) {
    let queries = hikeshi_slo::journey_queries(&host.cujs, host.slo_clock);
    let mut clock = tokio::time::interval(EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        clock.tick().await;
        let Some(session) = host.running() else { continue };
        let journeys = sample(&host.prometheus, &queries).await;
        if journeys
            .values()
            .all(|sample| *sample == JourneySample::default())
        {
            continue;
        }
        if let Err(error) = session.submit(Command::Sample { journeys }).await {
            tracing::error!(%error, "a sample could not be written down");
        }
    }
}

/// Every journey now. What Prometheus cannot answer is left empty: no data is not zero.
pub(crate) async fn sample(
    prometheus: &Prometheus,
    queries: &[JourneyQuery],
) -> BTreeMap<String, JourneySample> {
    let each = queries.iter().map(|query| async move {
        let ask = |promql: Option<&str>| {
            let promql = promql.map(str::to_owned);
            async move {
                match promql {
                    Some(promql) => prometheus.value(&promql).await.ok().flatten(),
                    None => None,
                }
            }
        };
        let (availability, latency_good, p99, freshness, budget_left, requests_per_second) = tokio::join!(
            ask(Some(&query.availability)),
            ask(query.latency_good.as_deref()),
            ask(Some(&query.p99)),
            ask(query.freshness.as_deref()),
            ask(Some(&query.budget_left)),
            ask(Some(&query.rps)),
        );
        let sample = JourneySample {
            availability,
            latency_good,
            p99,
            freshness,
            budget_left,
            requests_per_second,
        };
        (query.journey.clone(), sample)
    });
    futures::future::join_all(each).await.into_iter().collect()
}
