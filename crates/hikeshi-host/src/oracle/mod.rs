//! What must hold for the incident to be really over. One check is one file and one line in [`Oracle::look`].

mod chirpy_check;
mod exec;
mod journeys;
mod promql;
mod shard_probe;
mod streak;

use std::time::Duration;

use hikeshi_scenario::scenario::{ChirpyCheck, Probe};
use hikeshi_scenario::{Check, Scenario};
use hikeshi_slo::{Cujs, JourneyQuery};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use crate::prometheus::Prometheus;

pub use chirpy_check::PostsFound;
use streak::Streak;

/// Time between two looks while something must hold.
const STEP: Duration = Duration::from_secs(3);

/// Green, or red with the reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub green: bool,
    pub reasons: Vec<String>,
}

/// What came of looking for a while.
#[derive(Debug, Clone)]
pub struct Held {
    pub verdict: Verdict,
    /// Since when every look was green, when the last one was.
    pub since: Option<Timestamp>,
    /// The last look.
    pub until: Timestamp,
}

/// Looks at the running system through Prometheus and the Kubernetes API, as anybody could.
#[derive(Clone)]
pub struct Oracle {
    client: kube::Client,
    prometheus: Prometheus,
    queries: Vec<JourneyQuery>,
}

impl Oracle {
    pub fn new(client: kube::Client, prometheus: Prometheus, cujs: &Cujs, slo_clock: f64) -> Self {
        let queries = hikeshi_slo::journey_queries(cujs, slo_clock);
        Self {
            client,
            prometheus,
            queries,
        }
    }

    /// Whether every journey is within its objectives now.
    pub async fn users_are_well(&self) -> bool {
        journeys::within_slo(&self.prometheus, &self.queries)
            .await
            .is_empty()
    }

    /// One look at everything. A check that cannot be made is a reason to be red: silence is not health.
    pub async fn look(&self, scenario: &Scenario) -> Verdict {
        let mut reasons = journeys::within_slo(&self.prometheus, &self.queries).await;
        for check in &scenario.oracle.checks {
            let found = match check {
                Check::Promql(query) => promql::holds(&self.prometheus, query).await,
                Check::Probe(Probe::WriteAndReadEachShard) => shard_probe::write_and_read(&self.client).await,
                Check::Chirpy(ChirpyCheck::NoAcknowledgedPostLost) => {
                    chirpy_check::no_acknowledged_post_lost(&self.client)
                        .await
                        .map(|_| ())
                }
                Check::Chirpy(ChirpyCheck::AcknowledgedPostsEverywhere) => {
                    chirpy_check::acknowledged_posts_everywhere(&self.client).await
                }
            };
            reasons.extend(found.err());
        }
        Verdict {
            green: reasons.is_empty(),
            reasons,
        }
    }

    /// What [`Self::held`] says for as long as the scenario wants health to hold.
    pub async fn outcome(&self, scenario: &Scenario, limit: Duration) -> Held {
        self.held(scenario, scenario.oracle.journeys.hold.get(), limit)
            .await
    }

    /// Green as soon as every look for `hold` was green; red as soon as that can no longer happen within `limit`, with what
    /// was wrong at the last red look.
    pub async fn held(&self, scenario: &Scenario, hold: Duration, limit: Duration) -> Held {
        let mut streak = Streak::new(hold, Instant::now() + limit);
        loop {
            let looked = Instant::now();
            let verdict = self.look(scenario).await;
            if let Some(held) = streak.saw(verdict, looked, Instant::now(), Timestamp::now()) {
                return held;
            }
            tokio::time::sleep_until(looked + STEP).await;
        }
    }

    /// How many acknowledged posts there are and how many of them the database has.
    ///
    /// # Errors
    /// A sentence, when the check could not be made.
    pub async fn posts(&self) -> Result<PostsFound, String> {
        chirpy_check::count(&self.client).await
    }
}
