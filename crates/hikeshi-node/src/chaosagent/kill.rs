//! Containers that are killed, each once in an experiment's life: whoever comes back under the name lives.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hikeshi_chaos::status::{is_injected, text};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::wanted::Target;
use crate::netagent::status::Outcome;
use crate::shim::protocol::Request;
use crate::shim::{InitClient, InitError};

/// An init that did not answer has the request still before it: how long until it is asked again.
const SILENCE: Duration = Duration::from_secs(60);

/// The kills asked for and done, by experiment (uid) and record (id). The record itself may be written only later.
#[derive(Default)]
pub(super) struct Kills {
    all: BTreeMap<(String, String), Kill>,
}

enum Kill {
    /// The pod's init has been asked, and has not answered yet. It is not asked again meanwhile: one that hangs would
    /// kill as often as it was asked, once it goes on.
    Asked(AbortOnDropHandle<bool>),
    Done,
}

/// Whether a record tells that its container was killed at some time.
fn was_hit(record: &Value) -> bool {
    is_injected(record) || record["injectedCount"].as_u64().unwrap_or(0) > 0
}

impl Kills {
    /// What became of a record of a container-kill, after a try to kill what is still to be killed; `dir_of` is the folder
    /// of a pod (uid). As in Chaos Mesh it knows neither duration nor pause: it is in force from its one kill on, until it
    /// is deleted.
    pub fn outcome(
        &mut self,
        dir_of: impl Fn(&str) -> PathBuf,
        changed: &Arc<Notify>,
        object: &DynamicObject,
        record: &Value,
        target: Option<(Target, Arc<Pod>)>,
    ) -> Outcome {
        if object.metadata.deletion_timestamp.is_some() {
            return Outcome::Lifted;
        }
        let key = (object.uid().unwrap_or_default(), text(record, "id").to_owned());
        let (kill, outcome) = match self.all.remove(&key) {
            _ if was_hit(record) => (None, Outcome::InForce),
            Some(Kill::Done) => (Some(Kill::Done), Outcome::InForce),
            Some(Kill::Asked(task)) if task.is_finished() => match task.now_or_never() {
                Some(Ok(true)) => (Some(Kill::Done), Outcome::InForce),
                _ => (None, Outcome::Lifted),
            },
            Some(asked) => (Some(asked), Outcome::Lifted),
            None => {
                let runs = target.filter(|(target, pod)| target.is_running(pod));
                let wanted = object.data["status"]["experiment"]["desiredPhase"] == "Run";
                let asked = runs.filter(|_| wanted).map(|(target, _)| {
                    let dir = dir_of(&target.pod);
                    let task = tokio::spawn(ask(dir, target.container, changed.clone()));
                    Kill::Asked(AbortOnDropHandle::new(task))
                });
                (asked, Outcome::Lifted)
            }
        };
        self.all.extend(kill.map(|kill| (key, kill)));
        outcome
    }

    /// Forgets experiments that are no more.
    pub fn retain(&mut self, known: &HashSet<String>) {
        self.all.retain(|(experiment, _), _| known.contains(experiment));
    }
}

/// Kills a container's first process, and with it the container; the kubelet starts it again.
async fn ask(dir: PathBuf, container: String, changed: Arc<Notify>) -> bool {
    let request = Request::Signal {
        container: container.clone(),
        signal: libc::SIGKILL,
    };
    let killed = match InitClient::connect(&dir) {
        Ok(mut init) => init.command(&request).await.map(drop),
        Err(error) => Err(error),
    };
    match killed {
        Ok(()) => {
            changed.notify_one();
            true
        }
        Err(error) => {
            tracing::debug!(%error, dir = %dir.display(), container, "not killed yet");
            if matches!(&error, InitError::Gone(gone) if gone.kind() == io::ErrorKind::TimedOut) {
                tokio::time::sleep(SILENCE).await;
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::wanted::tests::pods;
    use super::*;

    #[tokio::test]
    async fn who_comes_back_under_the_name_is_not_killed_again() {
        let object = |phase: &str| -> DynamicObject {
            let object = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "PodChaos",
                "metadata": {"name": "x", "uid": "e"}, "spec": {"action": "container-kill"},
                "status": {"experiment": {"desiredPhase": phase}}});
            serde_json::from_value(object).unwrap()
        };
        let running = object("Run");
        let (mut kills, changed) = (Kills::default(), Arc::new(Notify::new()));
        let hit =
            json!({"id": "ns/web-0/a", "phase": "Not Injected", "injectedCount": 1, "recoveredCount": 1});
        let nowhere = |_: &str| PathBuf::from("/nonexistent");
        let target = || Target::of(&running, &hit, &pods());
        for target in [target(), None] {
            let outcome = kills.outcome(nowhere, &changed, &running, &hit, target);
            assert_eq!(outcome, Outcome::InForce);
            assert!(kills.all.is_empty(), "nobody is asked");
        }
        let fresh = json!({"id": "ns/web-0/a", "phase": "Not Injected", "injectedCount": 0});
        let stopped = object("Stop");
        assert_eq!(
            kills.outcome(nowhere, &changed, &stopped, &fresh, target()),
            Outcome::Lifted
        );
        assert!(kills.all.is_empty(), "it is not to run");
        assert_eq!(
            kills.outcome(nowhere, &changed, &running, &fresh, target()),
            Outcome::Lifted
        );
        assert_eq!(kills.all.len(), 1, "asked");
        let mut leaving = running.clone();
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(
            kills.outcome(nowhere, &changed, &leaving, &hit, target()),
            Outcome::Lifted
        );
    }
}
