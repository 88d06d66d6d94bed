//! When somebody declares the incident resolved, the oracle looks whether it is. Green ends the drill; red does not:
//! the incident goes on, and so do the complaints.

use std::sync::Arc;
use std::time::Duration;

use hikeshi_drill::Command;

use crate::host::Host;
use crate::session::Session;

/// How much longer than `hold` a fix may take to show.
const PATIENCE: Duration = Duration::from_secs(45);

impl Host {
    /// Begins to look; at most one look is under way.
    pub(crate) fn judge_soon(&self, session: Arc<Session>) {
        let Ok(turn) = self.judging.clone().try_lock_owned() else {
            return;
        };
        let (oracle, faults) = (self.oracle.clone(), self.faults.clone());
        tokio::spawn(async move {
            let scenario = session.scenario.scenario.clone();
            let limit = scenario.oracle.journeys.hold.get() + PATIENCE;
            let verdict = oracle.outcome(&scenario, limit).await.verdict;
            let record = Command::OracleChecked {
                green: verdict.green,
                reasons: verdict.reasons,
            };
            if let Err(error) = session.submit(record).await {
                tracing::error!(%error, "the oracle's word could not be written down");
            }
            if verdict.green {
                let end = Command::End {
                    by: None,
                    reason: "resolved".into(),
                };
                if let Err(error) = session.submit(end).await {
                    tracing::error!(%error, "the drill's end could not be written down");
                }
                faults.lift(&session.scenario).await;
            }
            drop(turn);
        });
    }
}
