//! A pod's end: preStop hooks, SIGTERM, SIGKILL, the last status, nothing left behind.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, Preconditions};
use tokio::task::JoinSet;

use super::worker::{Next, RETRY, Worker};
use super::{exec, pods, sandbox, status};

/// Deletion in progress.
pub(super) struct Ending {
    deadline: Instant,
    killed: bool,
    pre_stop: Option<JoinSet<()>>,
    signalled: bool,
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
            let pre_stop = self.pre_stop(&running, grace);
            self.ending = Some(Ending {
                deadline: Instant::now() + grace,
                killed: false,
                pre_stop,
                signalled: false,
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
        let overdue = now >= ending.deadline;
        let hooks_done = ending.pre_stop.as_mut().is_none_or(|hooks| {
            while hooks.try_join_next().is_some() {}
            hooks.is_empty()
        });
        let (term, kill) = (
            (hooks_done || overdue) && !ending.signalled,
            overdue && !ending.killed,
        );
        (ending.signalled, ending.killed) = (ending.signalled || term, ending.killed || kill);
        let wait = if !ending.signalled {
            Duration::from_millis(50)
        } else if ending.killed {
            RETRY
        } else {
            ending.deadline - now
        };
        for name in &running {
            if term {
                self.signal(name, libc::SIGTERM).await;
            }
            if kill {
                self.kill(name).await;
            }
        }
        Next::Wait(wait)
    }

    fn pre_stop(&self, running: &[String], grace: Duration) -> Option<JoinSet<()>> {
        let mut hooks = JoinSet::new();
        for container in pods::containers(&self.pod)
            .iter()
            .filter(|container| running.contains(&container.name))
        {
            let hook = container
                .lifecycle
                .as_ref()
                .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
            if let Some(sleep) = hook.and_then(|hook| hook.sleep.as_ref()) {
                let length = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default());
                hooks.spawn(tokio::time::sleep(length.min(grace)));
            }
            if let Some(command) = hook.and_then(|hook| hook.exec.as_ref()?.command.clone()) {
                let (dir, name, pod) = (self.dir.clone(), container.name.clone(), self.pod.clone());
                let events = self.kubelet.events.clone();
                hooks.spawn(async move {
                    let problem = match exec::collect(&dir, &name, command, grace).await {
                        Ok((0, _)) => return,
                        Ok((code, output)) => format!("exited with {code}: {output}"),
                        Err(error) => error.to_string(),
                    };
                    events.warning(
                        &pod,
                        Some(&name),
                        "FailedPreStopHook",
                        format!("PreStopHook failed: {problem}"),
                    );
                });
            }
        }
        (!hooks.is_empty()).then_some(hooks)
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
