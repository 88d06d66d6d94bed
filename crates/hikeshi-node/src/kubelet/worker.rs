//! One pod's life: a task that compares what the pod should be with what its init tells, and acts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ending::Ending;
use super::failing::{Failing, Watch};
use super::probes::{Finding, Kind};
use super::sandbox::{self, Sandbox};
use super::status::{self, Ended, Run, State};
use super::{Kubelet, adopt, hosts, pods, volumes};
use crate::shim::InitClient;
use crate::shim::protocol::{ContainerStatus, Request, StatusReply};

pub(super) const RETRY: Duration = Duration::from_secs(1);
pub(super) const IDLE: Duration = Duration::from_secs(3600);

/// What a worker waits for besides its pod.
enum Update {
    Init(StatusReply),
    InitGone,
    Probe(Finding),
}

pub struct Worker {
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) pod: Arc<Pod>,
    pub(super) uid: String,
    pub(super) dir: PathBuf,
    pub(super) runs: BTreeMap<String, Run>,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) watcher: JoinSet<()>,
    pub(super) probes: BTreeMap<String, JoinSet<()>>,
    /// Containers told to end for a failed probe: killed at the deadline.
    pub(super) stopping: BTreeMap<String, Instant>,
    /// Containers that a fault ends: they run again when it is lifted.
    pub(super) put_down: BTreeSet<String>,
    updates: (mpsc::Sender<Update>, mpsc::Receiver<Update>),
    pub(super) findings: (mpsc::Sender<Finding>, mpsc::Receiver<Finding>),
    pub(super) ending: Option<Ending>,
    /// Why the pod is being ended as Failed, if it is.
    pub(super) failing: Option<Failing>,
    pub(super) storage: Watch,
    pub(super) over: bool,
    pub(super) written: Option<Value>,
    sandbox_retry: Option<Instant>,
}

/// What a step asks its loop to do.
pub(super) enum Next {
    Wait(Duration),
    Done,
}

impl Worker {
    pub fn new(kubelet: Arc<Kubelet>, pod: Arc<Pod>) -> Self {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let dir = kubelet.pod_dir(&uid);
        Self {
            kubelet,
            pod,
            uid,
            dir,
            runs: BTreeMap::new(),
            sandbox: None,
            watcher: JoinSet::new(),
            probes: BTreeMap::new(),
            stopping: BTreeMap::new(),
            put_down: BTreeSet::new(),
            updates: mpsc::channel(64),
            findings: mpsc::channel(64),
            ending: None,
            failing: None,
            storage: Watch::default(),
            over: false,
            written: None,
            sandbox_retry: None,
        }
    }

    /// Runs until the pod is gone from the API (and from the machine), or `shutdown`: then the pod runs on.
    pub async fn run(mut self, mut pods: watch::Receiver<Option<Arc<Pod>>>, shutdown: CancellationToken) {
        self.over = pods::is_over(&self.pod);
        self.adopt().await;
        // What an earlier control published may be what this one no longer accepts.
        self.refresh_volumes();
        let mut config = self.kubelet.config_changes();
        let mut held = self.kubelet.holds();
        loop {
            let wait = match self.step().await {
                Next::Wait(wait) => wait,
                Next::Done => break,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = pods.changed() => {
                    // Nobody watches pods any more: the kubelet is ending, the pod goes on.
                    if changed.is_err() {
                        return;
                    }
                    match pods.borrow_and_update().clone() {
                        // The answer to a write of this worker may be ahead of what is watched.
                        Some(pod) if pods::is_before(&pod, &self.pod) => {}
                        Some(pod) => self.pod = pod,
                        // Deleted by force: nobody wants its status any more.
                        None => break,
                    }
                }
                Some(update) = self.updates.1.recv() => self.take(update).await,
                Some(finding) = self.findings.1.recv() => self.take(Update::Probe(finding)).await,
                _ = config.changed() => self.refresh_volumes(),
                _ = held.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.destroy().await;
    }

    pub(super) fn api(&self) -> Api<Pod> {
        Api::namespaced(
            self.kubelet.client.clone(),
            self.pod.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }

    pub(super) fn policy(&self) -> &str {
        self.pod
            .spec
            .as_ref()
            .and_then(|spec| spec.restart_policy.as_deref())
            .unwrap_or("Always")
    }

    pub(super) fn name(&self) -> String {
        let metadata = &self.pod.metadata;
        format!(
            "{}/{}",
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default()
        )
    }

    /// Listens to the init's changes on a connection of its own.
    pub(super) fn watch_init(&mut self) {
        let (dir, updates) = (self.dir.clone(), self.updates.0.clone());
        self.watcher = JoinSet::new();
        self.watcher.spawn(async move {
            let mut seen = 0;
            if let Ok(mut init) = InitClient::connect(&dir) {
                while let Ok(status) = init.call::<StatusReply>(&Request::Watch { seen }).await {
                    seen = status.generation;
                    if updates.send(Update::Init(status)).await.is_err() {
                        return;
                    }
                }
            }
            let _ = updates.send(Update::InitGone).await;
        });
    }

    async fn take(&mut self, update: Update) {
        match update {
            Update::Init(status) => self.take_status(&status),
            Update::InitGone => self.sandbox_lost().await,
            Update::Probe(finding) => self.take_finding(finding).await,
        }
    }

    pub(super) fn take_status(&mut self, status: &StatusReply) {
        for ContainerStatus {
            name,
            restart,
            started_at,
            exit,
            ..
        } in &status.containers
        {
            let Some(run) = self.runs.get_mut(name) else {
                continue;
            };
            if let (true, Some(exit)) = (run.is_running() && run.restart == *restart, exit) {
                run.state = State::Ended(Ended::new(exit, *started_at, *restart));
                (run.started, run.ready) = (false, false);
                self.probes.remove(name);
                self.stopping.remove(name);
            }
        }
    }

    /// The init died (killed by hand, or by the kernel), and everything in the pod with it.
    pub(super) async fn sandbox_lost(&mut self) {
        if self.sandbox.is_none() {
            return;
        }
        self.sandbox = None;
        self.probes.clear();
        self.stopping.clear();
        self.watcher = JoinSet::new();
        sandbox::end(&self.dir).await;
        for run in self.runs.values_mut() {
            if let State::Running { started_at } = run.state {
                run.state = State::Ended(adopt::lost(Some(started_at), run.restart));
                (run.started, run.ready) = (false, false);
            }
        }
        if !self.over && self.ending.is_none() {
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.kubelet
                .events
                .normal(&self.pod, None, "SandboxChanged", message);
        }
    }

    async fn take_finding(&mut self, finding: Finding) {
        let Finding {
            container,
            restart,
            kind,
            verdict,
            failure,
        } = finding;
        let Some(run) = self.runs.get_mut(&container) else {
            return;
        };
        if run.restart != restart || !run.is_running() || self.ending.is_some() {
            return;
        }
        match (kind, verdict) {
            (Kind::PostStart, Some(true)) => {
                self.begin_probes(&container);
                return;
            }
            (Kind::Startup, Some(true)) => {
                run.started = true;
                let spec = pods::probed(&self.pod).find(|one| one.name == container);
                run.ready = spec.is_none_or(|spec| spec.readiness_probe.is_none());
            }
            (Kind::Readiness, Some(ready)) => run.ready = ready,
            _ => {}
        }
        if let Some(failure) = failure {
            let (reason, message) = match kind {
                Kind::PostStart => ("FailedPostStartHook", format!("PostStartHook failed: {failure}")),
                _ => ("Unhealthy", format!("{} probe failed: {failure}", kind.word())),
            };
            self.kubelet
                .events
                .warning(&self.pod, Some(&container), reason, message);
        }
        if verdict == Some(false) && kind != Kind::Readiness {
            let message = match kind {
                Kind::PostStart => "FailedPostStartHook".to_owned(),
                _ => format!(
                    "Container {container} failed {} probe, will be restarted",
                    kind.word().to_lowercase()
                ),
            };
            self.kubelet
                .events
                .normal(&self.pod, Some(&container), "Killing", message);
            self.probes.remove(&container);
            let spec = pods::probed(&self.pod).find(|one| one.name == container);
            let grace = spec
                .and_then(|spec| kind.grace(spec))
                .unwrap_or_else(|| self.grace());
            self.stopping.insert(container.clone(), Instant::now() + grace);
            self.signal(&container, libc::SIGTERM).await;
        }
    }

    pub(super) async fn signal(&mut self, container: &str, signal: i32) {
        if let Some(sandbox) = &mut self.sandbox {
            let request = Request::Signal {
                container: container.to_owned(),
                signal,
            };
            // Refused when it has just ended: its exit is on the way.
            let _ = sandbox.init.command(&request).await;
        }
    }

    pub(super) async fn kill(&mut self, container: &str) {
        if let Some(sandbox) = &mut self.sandbox {
            let _ = sandbox
                .init
                .command(&Request::Kill {
                    container: container.to_owned(),
                })
                .await;
        }
    }

    pub(super) fn grace(&self) -> Duration {
        pods::grace(&self.pod)
    }

    fn refresh_volumes(&self) {
        if self.sandbox.is_some()
            && let Err(error) = self
                .kubelet
                .with_sources(|sources| volumes::refresh(&self.pod, &self.dir, sources))
        {
            tracing::debug!(pod = self.name(), %error, "a volume was not refreshed");
        }
    }

    async fn step(&mut self) -> Next {
        if self.pod.metadata.deletion_timestamp.is_some() {
            return self.end_step().await;
        }
        if self.over {
            return Next::Wait(IDLE);
        }
        let mut wait = IDLE;
        if self.sandbox.is_none() {
            wait = wait.min(self.make_sandbox().await);
        }
        self.wait_again();
        if self.sandbox.is_some() {
            if let Some(left) = self.held_for() {
                self.keep_down().await;
                wait = wait.min(left);
            } else if self.failing.is_none() {
                wait = wait.min(self.run_containers().await);
            }
            wait = wait.min(self.kill_overdue().await);
        }
        wait = wait.min(self.keep_bounds().await);
        let phase = self.phase();
        if !self.write_status(phase).await {
            wait = wait.min(RETRY);
        } else if phase == "Succeeded" || phase == "Failed" {
            self.over = true;
            self.watcher = JoinSet::new();
            self.probes.clear();
            self.sandbox = None;
            sandbox::end(&self.dir).await;
        }
        Next::Wait(wait)
    }

    async fn make_sandbox(&mut self) -> Duration {
        if let Some(until) = self.sandbox_retry.filter(|until| *until > Instant::now()) {
            return until - Instant::now();
        }
        let kubelet = self.kubelet.clone();
        let before = sandbox::SandboxRecord::read(&self.dir).map(|record| record.ip);
        let ip = match before {
            // The same pod keeps its address over a lost init.
            Some(ip) => {
                kubelet.addresses.reserve(ip);
                Some(ip)
            }
            None => kubelet.addresses.allocate(),
        };
        let Some(ip) = ip else {
            return self.sandbox_failed(&sandbox::SandboxError::NoAddress);
        };
        // Before the volumes: the downward API may ask for the address.
        let mut pod = (*self.pod).clone();
        pod.status.get_or_insert_default().pod_ip = Some(ip.to_string());
        let hosts_text = kubelet.hosts_for(&pod, ip);
        let reference = pods::containers(&pod)
            .first()
            .and_then(|container| container.image.clone())
            .unwrap_or_default();
        let images = kubelet.images();
        let config = &kubelet.config;
        let claims = config.state_dir.join("volumes");
        let sources = volumes::Sources {
            config: &kubelet.caches,
            claims: &claims,
            ca_pem: &config.ca_pem,
            token_for: &*config.token_for,
        };
        let made = match kubelet.bind_claims(&pod).await {
            Ok(()) => {
                sandbox::make(
                    &pod,
                    &self.dir,
                    images.find(&reference),
                    ip,
                    &hosts_text,
                    config,
                    &sources,
                )
                .await
            }
            Err(error) => Err(error.into()),
        };
        match made {
            Ok(sandbox) => {
                self.sandbox = Some(sandbox);
                self.sandbox_retry = None;
                self.watch_init();
                // The address must be known before the programs start: the network agent opens the pod's doors.
                let phase = status::phase(&self.pod, &self.runs);
                self.write_status(phase).await;
                Duration::ZERO
            }
            Err(error) => {
                // Once it is on record the next attempt takes it again: nobody else may have it meanwhile.
                if sandbox::SandboxRecord::read(&self.dir).is_none() {
                    kubelet.addresses.release(ip);
                }
                self.sandbox_failed(&error)
            }
        }
    }

    fn sandbox_failed(&mut self, error: &sandbox::SandboxError) -> Duration {
        let reason = match error {
            sandbox::SandboxError::Volume(_) => "FailedMount",
            _ => "FailedCreatePodSandBox",
        };
        self.kubelet
            .events
            .warning(&self.pod, None, reason, error.to_string());
        tracing::warn!(pod = self.name(), %error, "no sandbox yet");
        self.sandbox_retry = Some(Instant::now() + RETRY);
        RETRY
    }

    async fn kill_overdue(&mut self) -> Duration {
        let now = Instant::now();
        let overdue: Vec<String> = self
            .stopping
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in overdue {
            self.stopping.remove(&name);
            self.kill(&name).await;
        }
        self.stopping
            .values()
            .min()
            .map_or(IDLE, |at| at.saturating_duration_since(now))
    }
}

impl Kubelet {
    /// The hosts file of a pod, which may not be in the cache yet.
    pub(super) fn hosts_for(&self, pod: &Pod, ip: std::net::Ipv4Addr) -> String {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let subdomain = pod.spec.as_ref().and_then(|spec| spec.subdomain.as_deref());
        let names = hosts::own_names(namespace, &pods::hostname(pod), subdomain);
        let names = self
            .caches
            .names()
            .render(namespace, Some((&ip.to_string(), &names)));
        names + &hosts::aliases(pod)
    }
}
