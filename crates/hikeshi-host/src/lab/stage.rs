//! Putting a level on and taking it off, so that whoever feels it cannot tell one from another by how long that takes.

use std::time::Duration;

use hikeshi_lab::compile::{self, Put, WHOLE_WEIGHT};
use hikeshi_lab::{Level, Who};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::cluster::ClusterError;
use super::{LEASE, Labs, State, measure};
use crate::prometheus::PrometheusError;

/// A change takes so long, whatever it is.
const CHANGE: Duration = Duration::from_millis(2_500);
/// After so long every counter has been scraped once more.
const SCRAPED: Duration = Duration::from_millis(1_400);

/// Why a level is not on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("the cluster: {0}")]
    Cluster(#[from] ClusterError),
    #[error("measuring: {0}")]
    Prometheus(#[from] PrometheusError),
    #[error("the ingress does not lead to the app yet")]
    NoIngress,
}

/// When what is put in now ends by itself.
pub(super) fn lease() -> Timestamp {
    Timestamp::now().checked_add(LEASE).unwrap_or(Timestamp::MAX)
}

/// Is a level's object, not the normal state's.
fn is_level(name: &str) -> bool {
    name != "lab-normal"
}

impl Labs {
    /// The two groups, the ingress before them, and the normal state.
    pub(super) async fn set_up(
        &self,
        state: &mut State,
        normal: &hikeshi_lab::Normal,
        seed: u64,
    ) -> Result<(), StageError> {
        let entrance = &self.file.entrance;
        let (namespace, cluster) = (&entrance.namespace, &self.cluster);
        cluster.prepare().await?;
        state.deployment = cluster.deployment(namespace, &entrance.deployment).await?;
        cluster.apply(&compile::trial_group(&state.deployment)).await?;
        cluster
            .apply(&compile::service(entrance, &state.deployment))
            .await?;
        cluster.apply(&compile::ingress(entrance, None, None, 0)).await?;
        state.routed = None;
        cluster.ready(namespace, &entrance.trial_workload()).await?;
        cluster
            .put_in(&compile::normal(
                entrance,
                &state.deployment,
                normal,
                seed,
                lease(),
            ))
            .await?;
        self.served().await
    }

    /// Waits until the ingress leads to the app.
    async fn served(&self) -> Result<(), StageError> {
        let http = reqwest::Client::new();
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                if let Some(base) = (self.ingress)("ingress") {
                    let answer = http
                        .get(format!("{base}/"))
                        .timeout(Duration::from_secs(5))
                        .send()
                        .await;
                    if answer.is_ok_and(|answer| answer.status().is_success()) {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        waited.await.map_err(|_| StageError::NoIngress)
    }

    /// Leads a journey to the trial group: of the person with this token, or of everybody.
    pub(super) async fn lead(&self, state: &mut State, journey: &str, who: Who) -> Result<(), StageError> {
        let token = (who == Who::Person).then(|| state.token.clone());
        let wanted = Some((journey.to_owned(), token.clone()));
        if state.routed != wanted {
            let journey = self.file.journey(journey);
            let ingress = compile::ingress(&self.file.entrance, journey, token.as_deref(), WHOLE_WEIGHT);
            self.cluster.apply(&ingress).await?;
            state.routed = wanted;
        }
        Ok(())
    }

    /// Puts a level on in place of what is on. By the end it is in force, and everything before it has been counted.
    pub(super) async fn put_on(
        &self,
        state: &mut State,
        journey: &str,
        level: Level,
    ) -> Result<(), StageError> {
        let begun = Instant::now();
        let Some(lab) = &state.lab else { return Ok(()) };
        let (who, normal, seed) = (lab.wish.who, lab.wish.normal.clone(), lab.seed);
        self.cluster.take_out(is_level).await?;
        self.lead(state, journey, who).await?;
        state.number += 1;
        if let Some(journey) = self.file.journey(journey) {
            let put = Put {
                entrance: &self.file.entrance,
                deployment: &state.deployment,
                journey,
                who,
                token: &state.token,
                normal: &normal,
                number: state.number,
                // Annotations carry whole numbers that every JSON reader keeps exactly.
                seed: hikeshi_lab::stats::mixed(seed, state.number) >> 12,
                until: lease(),
            };
            for fault in compile::faults(level, &put) {
                self.cluster.put_in(&fault).await?;
            }
        }
        let settled = Instant::now() + SCRAPED;
        sleep_until(settled.max(begun + CHANGE)).await;
        state.begun = self.count(level).await?;
        Ok(())
    }

    async fn count(&self, level: Level) -> Result<measure::Counters, PrometheusError> {
        let trial = self.file.entrance.trial_workload();
        let edge = measure::Edge { trial: &trial, level };
        measure::counters(&self.prometheus, &edge).await
    }

    /// Looks how often what is on has been used so far, and what it was like.
    pub(super) async fn look(&self, state: &mut State) {
        let Some(level) = state
            .lab
            .as_ref()
            .and_then(|lab| lab.on())
            .map(|shown| shown.level)
        else {
            return;
        };
        let now = match self.count(level).await {
            Ok(now) => now,
            Err(error) => {
                tracing::debug!(%error, "the ingress could not be measured");
                return;
            }
        };
        let (delivered, own) = (now.since(&state.begun), now.own_mean(&state.begun));
        if let Some(lab) = &mut state.lab {
            // What the normal state is padded to is longer than what the system needs.
            let usual = match (lab.wish.normal.mean(), own) {
                (Some(given), Some(own)) => Some(given.max(own)),
                (given, own) => given.or(own),
            };
            state.normal = usual.or(state.normal);
            lab.measured(delivered);
        }
    }

    /// Counts what is on to its end. It stays in force.
    pub(super) async fn count_out(&self, state: &mut State) {
        if state.lab.as_ref().is_some_and(|lab| lab.on().is_some()) {
            tokio::time::sleep(SCRAPED).await;
            self.look(state).await;
            if let Some(lab) = &mut state.lab {
                let seen = lab.on().map(|shown| shown.delivered).unwrap_or_default();
                lab.close(seen, Timestamp::now());
            }
        }
    }

    /// Takes the level off; the normal state stays.
    pub(super) async fn take_off(&self) -> Result<(), StageError> {
        Ok(self.cluster.take_out(is_level).await?)
    }
}
