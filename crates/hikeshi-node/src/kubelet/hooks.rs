//! What a container asks to be done after its start and before its end.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use tokio::task::JoinSet;

use super::probes::{Finding, Kind, header_lines, http_get, port_of};
use super::worker::Worker;
use super::{exec, pods};

/// A hook that hangs must not hang the pod for ever.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) fn post_start(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref()?.post_start.as_ref()
}

/// Carries out one hook; `Err` says why it failed.
async fn run(
    pod_dir: &Path,
    ip: Ipv4Addr,
    container: &Container,
    hook: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    let work = async {
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(
                u64::try_from(sleep.seconds).unwrap_or_default(),
            ))
            .await;
            Ok(())
        } else if let Some(command) = hook.exec.as_ref().and_then(|exec| exec.command.clone()) {
            match exec::collect(pod_dir, &container.name, command, limit).await {
                Ok((0, _)) => Ok(()),
                Ok((code, output)) => Err(format!("exited with {code}: {output}")),
                Err(error) => Err(error.to_string()),
            }
        } else if let Some(action) = &hook.http_get {
            let port = port_of(&action.port, container)?;
            let path = action.path.as_deref().unwrap_or("/");
            http_get(pod_dir, ip, port, path, &header_lines(action)).await
        } else {
            Err("the hook has no exec, httpGet or sleep".to_owned())
        }
    };
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(format!("timed out after {limit:?}")))
}

impl Worker {
    /// After a start: the hook first, if there is one, then the probes. Until the hook has come to its end the container
    /// counts as not started.
    pub(super) fn after_start(&mut self, container: &Container) {
        let (Some(sandbox), Some(restart)) = (
            &self.sandbox,
            self.runs.get(&container.name).map(|run| run.restart),
        ) else {
            return;
        };
        let Some(hook) = post_start(container).cloned() else {
            return self.begin_probes(&container.name);
        };
        if let Some(run) = self.runs.get_mut(&container.name) {
            (run.started, run.ready) = (false, false);
        }
        let (dir, ip, findings) = (self.dir.clone(), sandbox.record.ip, self.findings.0.clone());
        let container = container.clone();
        let name = container.name.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let outcome = run(&dir, ip, &container, &hook, LONGEST).await;
            let finding = Finding {
                container: container.name,
                restart,
                kind: Kind::PostStart,
                verdict: Some(outcome.is_ok()),
                failure: outcome.err(),
            };
            // Closed only when the worker ends.
            let _ = findings.send(finding).await;
        });
        // In the probes' place: whatever ends them ends the hook.
        self.probes.insert(name, task);
    }

    /// The container has started, as far as its hook goes: the probes decide the rest.
    pub(super) fn begin_probes(&mut self, name: &str) {
        let spec = pods::probed(&self.pod).find(|one| one.name == name);
        let probes = spec.map(|one| (one.startup_probe.is_some(), one.readiness_probe.is_some()));
        let (startup, readiness) = probes.unwrap_or_default();
        if let Some(run) = self.runs.get_mut(name) {
            run.started = !startup;
            run.ready = run.started && !readiness;
        }
        self.start_probes(name, false);
    }

    /// Starts the preStop hooks of the running containers; they end with the set.
    pub(super) fn pre_stop_hooks(&self, running: &[String], grace: Duration) -> JoinSet<()> {
        let mut hooks = JoinSet::new();
        let Some(ip) = self.sandbox.as_ref().map(|sandbox| sandbox.record.ip) else {
            return hooks;
        };
        for container in pods::probed(&self.pod).filter(|container| running.contains(&container.name)) {
            let lifecycle = container.lifecycle.as_ref();
            let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.clone()) else {
                continue;
            };
            let (dir, container, pod) = (self.dir.clone(), container.clone(), self.pod.clone());
            let events = self.kubelet.events.clone();
            hooks.spawn(async move {
                if let Err(problem) = run(&dir, ip, &container, &hook, grace).await {
                    let message = format!("PreStopHook failed: {problem}");
                    events.warning(&pod, Some(&container.name), "FailedPreStopHook", message);
                }
            });
        }
        hooks
    }
}
