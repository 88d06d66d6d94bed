//! A pod's end: preStop hooks, SIGTERM, SIGKILL, the last status, nothing left behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{DeleteParams, Preconditions};
use tokio::task::JoinSet;

use super::worker::{Next, RETRY, Worker};
use super::{pods, sandbox, status};

/// How long after SIGKILL an init may take to tell of the end of its containers.
const UNHEARD: Duration = Duration::from_secs(5);

/// Deletion in progress.
pub(super) struct Ending {
    deadline: Instant,
    /// Since when everything should be dead.
    killed: Option<Instant>,
    pre_stop: JoinSet<()>,
    signalled: BTreeSet<String>,
}

/// Who is to end now: the containers together, then the sidecars one by one, the last started first.
fn next_to_end(pod: &Pod, running: &[String]) -> Vec<String> {
    let runs = |container: &&Container| running.contains(&container.name);
    let named = |container: &Container| container.name.clone();
    let containers: Vec<String> = pods::containers(pod).iter().filter(runs).map(named).collect();
    if !containers.is_empty() {
        return containers;
    }
    let sidecar = pods::init_containers(pod).iter().rev().find(runs);
    sidecar.map(named).into_iter().collect()
}

impl Worker {
    /// One step of a graceful deletion: preStop, SIGTERM, SIGKILL, final status, gone.
    pub(super) async fn end_step(&mut self) -> Next {
        let running: Vec<String> = self
            .runs
            .iter()
            .filter(|(_, run)| run.is_running())
            .map(|(name, _)| name.clone())
            .collect();
        let grace = self.grace();
        if self.ending.is_none() {
            self.probes.clear();
            for name in &running {
                let message = format!("Stopping container {name}");
                self.kubelet
                    .events
                    .normal(&self.pod, Some(name), "Killing", message);
            }
            let pre_stop = self.pre_stop_hooks(&running, grace);
            self.ending = Some(Ending {
                deadline: Instant::now() + grace,
                killed: None,
                pre_stop,
                signalled: BTreeSet::new(),
            });
        }
        let Some(ending) = &mut self.ending else {
            return Next::Wait(RETRY);
        };
        // A second delete may shorten the grace.
        ending.deadline = ending.deadline.min(Instant::now() + grace);
        if running.is_empty() || self.sandbox.is_none() {
            return self.finish().await;
        }
        let now = Instant::now();
        if ending.killed.is_some_and(|since| now >= since + UNHEARD) {
            // The init does not do what it is told, or does not tell: it goes, and all of the pod with it.
            tracing::warn!(pod = self.name(), "the pod's init does not end its containers");
            self.sandbox_lost().await;
            return self.finish().await;
        }
        let overdue = now >= ending.deadline;
        while ending.pre_stop.try_join_next().is_some() {}
        let hooks_done = ending.pre_stop.is_empty();
        let mut told = Vec::new();
        if hooks_done || overdue {
            for name in next_to_end(&self.pod, &running) {
                if ending.signalled.insert(name.clone()) {
                    told.push(name);
                }
            }
        }
        let kill = overdue && ending.killed.is_none();
        if kill {
            ending.killed = Some(now);
        }
        let wait = if !hooks_done && !overdue {
            Duration::from_millis(50)
        } else if ending.killed.is_some() {
            RETRY
        } else {
            ending.deadline - now
        };
        for name in &told {
            self.signal(name, libc::SIGTERM).await;
        }
        if kill {
            for name in &running {
                self.kill(name).await;
            }
        }
        Next::Wait(wait)
    }

    /// The containers have done their work: the sidecars end, one by one, each within the pod's grace.
    pub(super) async fn end_sidecars(&mut self) {
        let runs = self.runs.iter().filter(|(_, run)| run.is_running());
        let running: Vec<String> = runs.map(|(name, _)| name.clone()).collect();
        for name in next_to_end(&self.pod, &running) {
            if !self.stopping.contains_key(&name) {
                self.probes.remove(&name);
                self.stopping.insert(name.clone(), Instant::now() + self.grace());
                self.signal(&name, libc::SIGTERM).await;
            }
        }
    }

    /// The last status, then the object goes, then the folder (when the API says that it is gone).
    async fn finish(&mut self) -> Next {
        self.watcher = JoinSet::new();
        self.sandbox = None;
        sandbox::end(&self.dir).await;
        let failed = self
            .runs
            .values()
            .any(|run| run.exit_code().is_some_and(|code| code != 0));
        let phase = if pods::is_over(&self.pod) {
            status::phase(&self.pod, &self.runs)
        } else if failed || self.runs.values().any(|run| run.exit_code().is_none()) {
            "Failed"
        } else {
            "Succeeded"
        };
        self.write_status(phase).await;
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let name = self.pod.metadata.name.clone().unwrap_or_default();
        match self.api().delete(&name, &parameters).await {
            Ok(_) => Next::Done,
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Next::Done,
            Err(error) => {
                tracing::warn!(pod = self.name(), %error, "the pod was not deleted");
                Next::Wait(RETRY)
            }
        }
    }

    /// Nothing of the pod stays but its claims.
    pub(super) async fn destroy(mut self) {
        self.watcher = JoinSet::new();
        self.probes.clear();
        self.kubelet.discard(&self.uid).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sidecars_end_after_the_containers_in_reverse() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "s1", "restartPolicy": "Always"}, {"name": "s2", "restartPolicy": "Always"}]}}))
        .unwrap();
        let next = |running: &[&str]| {
            let running: Vec<String> = running.iter().map(|name| (*name).to_owned()).collect();
            next_to_end(&pod, &running)
        };
        assert_eq!(next(&["a", "b", "s1", "s2"]), ["a", "b"]);
        assert_eq!(next(&["b", "s1", "s2"]), ["b"]);
        assert_eq!(next(&["s1", "s2"]), ["s2"]);
        assert_eq!(next(&["s1"]), ["s1"]);
        assert!(next(&[]).is_empty());
    }
}
