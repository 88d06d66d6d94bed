//! Going on with a pod that an earlier kubelet started.

use jiff::Timestamp;

use super::backoff::Backoff;
use super::status::{Ended, Run, State};
use super::worker::Worker;
use super::{hooks, pods, sandbox};
use crate::shim::protocol::{Request, StatusReply};

impl Worker {
    /// Goes on with a pod that an earlier kubelet started.
    pub(super) async fn adopt(&mut self) {
        let Some(mut sandbox) = sandbox::find(&self.dir) else {
            self.restore();
            return;
        };
        let Ok(status) = sandbox.init.call::<StatusReply>(&Request::Status).await else {
            // Deaf: no use to us, and never two inits of one pod.
            sandbox::end(&self.dir).await;
            self.restore();
            return;
        };
        self.kubelet.addresses.reserve(sandbox.record.ip);
        self.restore();
        self.sandbox = Some(sandbox);
        for container in &status.containers {
            let known = self
                .runs
                .entry(container.name.clone())
                .or_insert_with(|| Run::new("ContainerCreating"));
            known.restart = container.restart;
            known.backoff = Backoff::after(container.restart);
            if container.exit.is_none() {
                known.state = State::Running {
                    started_at: container.started_at,
                };
                let (name, started) = (container.name.clone(), known.started);
                let hook = pods::probed(&self.pod)
                    .find(|one| one.name == name && hooks::post_start(one).is_some())
                    .filter(|_| !started)
                    .cloned();
                match hook {
                    // Whether the hook had come to its end is not known: it runs at least once.
                    Some(container) => self.after_start(&container),
                    None => self.start_probes(&name, started),
                }
            } else {
                known.state = State::Running {
                    started_at: container.started_at,
                };
            }
        }
        self.take_status(&status);
        self.watch_init();
        tracing::info!(pod = self.name(), "found running");
    }

    /// Restart counts and past ends, as the API remembers them.
    fn restore(&mut self) {
        let status = self.pod.status.as_ref();
        let listed = status.into_iter().flat_map(|status| {
            status
                .init_container_statuses
                .iter()
                .flatten()
                .chain(status.container_statuses.iter().flatten())
        });
        for known in listed {
            let mut run = Run::new("ContainerCreating");
            let ended = |state: &k8s_openapi::api::core::v1::ContainerStateTerminated, restart| Ended {
                code: state.exit_code,
                signal: state.signal,
                reason: state.reason.clone().unwrap_or_default(),
                message: state.message.clone(),
                started_at: state.started_at.as_ref().map(|time| time.0),
                finished_at: state
                    .finished_at
                    .as_ref()
                    .map_or_else(Timestamp::now, |time| time.0),
                restart,
            };
            run.restart = u32::try_from(known.restart_count).unwrap_or_default();
            run.backoff = Backoff::after(run.restart);
            run.started = known.started.unwrap_or_default();
            run.ready = known.ready;
            let last = known
                .last_state
                .as_ref()
                .and_then(|state| state.terminated.as_ref());
            run.last = last.map(|last| ended(last, run.restart.saturating_sub(1)));
            let state = known.state.as_ref();
            if let Some(over) = state.and_then(|state| state.terminated.as_ref()) {
                run.state = State::Ended(ended(over, run.restart));
            } else if let Some(running) = state.and_then(|state| state.running.as_ref()) {
                // Corrected by the init's own words if it is alive; else it ended with its init.
                let started_at = running
                    .started_at
                    .as_ref()
                    .map_or_else(Timestamp::now, |time| time.0);
                run.state = State::Running { started_at };
                if sandbox::find(&self.dir).is_none() {
                    run.state = State::Ended(lost(Some(started_at), run.restart));
                    (run.ready, run.started) = (false, false);
                }
            } else if run.last.is_some() || run.restart > 0 {
                // It was waiting for its next run.
                let last = run.last.clone().unwrap_or_else(|| lost(None, run.restart));
                run.state = State::Ended(Ended {
                    restart: run.restart,
                    ..last
                });
            }
            self.runs.insert(known.name.clone(), run);
        }
    }
}

/// How a container ended that nobody saw end.
pub(super) fn lost(started_at: Option<Timestamp>, restart: u32) -> Ended {
    Ended {
        code: 137,
        signal: None,
        reason: "ContainerStatusUnknown".to_owned(),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        started_at,
        finished_at: Timestamp::now(),
        restart,
    }
}
