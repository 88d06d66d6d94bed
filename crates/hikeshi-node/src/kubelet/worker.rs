//! One pod's life: a task that compares what the pod should be with what its init tells, and acts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::probes::{self, Finding, Kind};
use super::sandbox::{self, Sandbox};
use super::status::{self, Ended, Run, State};
use super::{Kubelet, env, exec, hosts, pods, quantity, volumes};
use crate::shim::InitClient;
use crate::shim::protocol::{ContainerStatus, Limits, Request, StartRequest, Started, StatusReply};

const RETRY: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(3600);
const DEFAULT_GRACE: u64 = 30;

/// What a worker waits for besides its pod.
enum Update {
    Init(StatusReply),
    InitGone,
    Probe(Finding),
}

/// Deletion in progress.
struct Ending {
    deadline: Instant,
    killed: bool,
    pre_stop: Option<JoinSet<()>>,
    signalled: bool,
}

pub struct Worker {
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) pod: Arc<Pod>,
    pub(super) uid: String,
    pub(super) dir: PathBuf,
    pub(super) runs: BTreeMap<String, Run>,
    pub(super) sandbox: Option<Sandbox>,
    watcher: JoinSet<()>,
    probes: BTreeMap<String, JoinSet<()>>,
    /// Containers told to end for a failed probe: killed at the deadline.
    stopping: BTreeMap<String, Instant>,
    updates: (mpsc::Sender<Update>, mpsc::Receiver<Update>),
    findings: (mpsc::Sender<Finding>, mpsc::Receiver<Finding>),
    ending: Option<Ending>,
    over: bool,
    written: Option<Value>,
    sandbox_retry: Option<Instant>,
}

/// What a step asks its loop to do.
enum Next {
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
            updates: mpsc::channel(64),
            findings: mpsc::channel(64),
            ending: None,
            over: false,
            written: None,
            sandbox_retry: None,
        }
    }

    /// Runs until the pod is gone from the API (and from the machine), or `shutdown`: then the pod runs on.
    pub async fn run(mut self, mut pods: watch::Receiver<Option<Arc<Pod>>>, shutdown: CancellationToken) {
        self.over = pods::is_over(&self.pod);
        self.adopt().await;
        let mut config = self.kubelet.config_changes();
        loop {
            let wait = match self.step().await {
                Next::Wait(wait) => wait,
                Next::Done => break,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = pods.changed() => {
                    let newest = pods.borrow_and_update().clone();
                    match newest {
                        Some(pod) if changed.is_ok() => self.pod = pod,
                        // Deleted by force: nobody wants its status any more.
                        _ => break,
                    }
                }
                Some(update) = self.updates.1.recv() => self.take(update).await,
                Some(finding) = self.findings.1.recv() => self.take(Update::Probe(finding)).await,
                _ = config.changed() => self.refresh_volumes(),
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.destroy().await;
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.kubelet.client.clone(), self.pod.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn policy(&self) -> &str {
        self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
    }

    /// Goes on with a pod that an earlier kubelet started.
    async fn adopt(&mut self) {
        let Some(mut sandbox) = sandbox::find(&self.dir) else {
            self.restore();
            return;
        };
        let Ok(status) = sandbox.init.call::<StatusReply>(&Request::Status).await else {
            self.restore();
            return;
        };
        self.kubelet.addresses.reserve(sandbox.record.ip);
        self.restore();
        self.sandbox = Some(sandbox);
        for container in &status.containers {
            let known = self.runs.entry(container.name.clone()).or_insert_with(|| Run::new("ContainerCreating"));
            known.restart = container.restart;
            known.backoff = super::backoff::Backoff::after(container.restart);
            if container.exit.is_none() {
                known.state = State::Running { started_at: container.started_at };
                let (name, started) = (container.name.clone(), known.started);
                self.start_probes(&name, started);
            } else {
                known.state = State::Running { started_at: container.started_at };
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
            status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
        });
        for known in listed {
            let mut run = Run::new("ContainerCreating");
            let ended = |state: &k8s_openapi::api::core::v1::ContainerStateTerminated, restart| Ended {
                code: state.exit_code,
                signal: state.signal,
                reason: state.reason.clone().unwrap_or_default(),
                message: state.message.clone(),
                started_at: state.started_at.as_ref().map(|time| time.0),
                finished_at: state.finished_at.as_ref().map_or_else(Timestamp::now, |time| time.0),
                restart,
            };
            run.restart = u32::try_from(known.restart_count).unwrap_or_default();
            run.backoff = super::backoff::Backoff::after(run.restart);
            run.started = known.started.unwrap_or_default();
            run.ready = known.ready;
            let last = known.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            run.last = last.map(|last| ended(last, run.restart.saturating_sub(1)));
            let state = known.state.as_ref();
            if let Some(over) = state.and_then(|state| state.terminated.as_ref()) {
                run.state = State::Ended(ended(over, run.restart));
            } else if let Some(running) = state.and_then(|state| state.running.as_ref()) {
                // Corrected by the init's own words if it is alive; else it ended with its init.
                let started_at = running.started_at.as_ref().map_or_else(Timestamp::now, |time| time.0);
                run.state = State::Running { started_at };
                if sandbox::find(&self.dir).is_none() {
                    run.state = State::Ended(lost(Some(started_at), run.restart));
                    (run.ready, run.started) = (false, false);
                }
            } else if run.last.is_some() || run.restart > 0 {
                // It was waiting for its next run.
                let last = run.last.clone().unwrap_or_else(|| lost(None, run.restart));
                run.state = State::Ended(Ended { restart: run.restart, ..last });
            }
            self.runs.insert(known.name.clone(), run);
        }
    }

    fn name(&self) -> String {
        let metadata = &self.pod.metadata;
        format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
    }

    /// Listens to the init's changes on a connection of its own.
    fn watch_init(&mut self) {
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

    fn take_status(&mut self, status: &StatusReply) {
        for ContainerStatus { name, restart, started_at, exit, .. } in &status.containers {
            let Some(run) = self.runs.get_mut(name) else { continue };
            if let (true, Some(exit)) = (run.is_running() && run.restart == *restart, exit) {
                run.state = State::Ended(Ended::new(exit, *started_at, *restart));
                (run.started, run.ready) = (false, false);
                self.probes.remove(name);
                self.stopping.remove(name);
            }
        }
    }

    /// The init died (killed by hand, or by the kernel), and everything in the pod with it.
    async fn sandbox_lost(&mut self) {
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
                run.state = State::Ended(lost(Some(started_at), run.restart));
                (run.started, run.ready) = (false, false);
            }
        }
        if !self.over && self.ending.is_none() {
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.kubelet.events.normal(&self.pod, None, "SandboxChanged", message);
        }
    }

    async fn take_finding(&mut self, finding: Finding) {
        let Finding { container, restart, kind, verdict, failure } = finding;
        let Some(run) = self.runs.get_mut(&container) else { return };
        if run.restart != restart || !run.is_running() || self.ending.is_some() {
            return;
        }
        match (kind, verdict) {
            (Kind::Startup, Some(true)) => {
                run.started = true;
                let spec = pods::containers(&self.pod).iter().find(|one| one.name == container);
                run.ready = spec.is_none_or(|spec| spec.readiness_probe.is_none());
            }
            (Kind::Readiness, Some(ready)) => run.ready = ready,
            _ => {}
        }
        if let Some(failure) = failure {
            let message = format!("{} probe failed: {failure}", kind.word());
            self.kubelet.events.warning(&self.pod, Some(&container), "Unhealthy", message);
        }
        if verdict == Some(false) && kind != Kind::Readiness {
            let message =
                format!("Container {container} failed {} probe, will be restarted", kind.word().to_lowercase());
            self.kubelet.events.normal(&self.pod, Some(&container), "Killing", message);
            self.probes.remove(&container);
            self.stopping.insert(container.clone(), Instant::now() + self.grace());
            self.signal(&container, libc::SIGTERM).await;
        }
    }

    async fn signal(&mut self, container: &str, signal: i32) {
        if let Some(sandbox) = &mut self.sandbox {
            let request = Request::Signal { container: container.to_owned(), signal };
            // Refused when it has just ended: its exit is on the way.
            let _ = sandbox.init.command(&request).await;
        }
    }

    async fn kill(&mut self, container: &str) {
        if let Some(sandbox) = &mut self.sandbox {
            let _ = sandbox.init.command(&Request::Kill { container: container.to_owned() }).await;
        }
    }

    fn grace(&self) -> Duration {
        let given = self.pod.metadata.deletion_grace_period_seconds;
        let seconds = given.or(self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds));
        Duration::from_secs(seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(DEFAULT_GRACE))
    }

    fn refresh_volumes(&mut self) {
        if self.sandbox.is_some()
            && let Err(error) = self.kubelet.with_sources(|sources| volumes::refresh(&self.pod, &self.dir, sources))
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
        if self.sandbox.is_some() {
            wait = wait.min(self.run_containers().await);
            wait = wait.min(self.kill_overdue().await);
        }
        let phase = status::phase(&self.pod, &self.runs);
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
        let reference = pods::containers(&pod).first().and_then(|container| container.image.clone()).unwrap_or_default();
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
            Ok(()) => sandbox::make(&pod, &self.dir, images.find(&reference), ip, &hosts_text, config, &sources).await,
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
                if before.is_none() {
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
        self.kubelet.events.warning(&self.pod, None, reason, error.to_string());
        tracing::warn!(pod = self.name(), %error, "no sandbox yet");
        self.sandbox_retry = Some(Instant::now() + RETRY);
        RETRY
    }

    /// Starts what should run and does not; returns when to look again.
    async fn run_containers(&mut self) -> Duration {
        let pod = self.pod.clone();
        for container in pods::init_containers(&pod) {
            if self.runs.get(&container.name).and_then(Run::exit_code) != Some(0) {
                for later in pods::containers(&pod) {
                    self.runs.entry(later.name.clone()).or_insert_with(|| Run::new("PodInitializing"));
                }
                return self.run_container(container, true).await;
            }
        }
        let mut wait = IDLE;
        for container in pods::containers(&pod) {
            wait = wait.min(self.run_container(container, false).await);
        }
        wait
    }

    async fn run_container(&mut self, container: &Container, init: bool) -> Duration {
        let policy = self.policy().to_owned();
        let name = &container.name;
        let run = self.runs.entry(name.clone()).or_insert_with(|| Run::new("ContainerCreating"));
        match &run.state {
            State::Running { .. } => return IDLE,
            State::Waiting { until: Some(until), .. } if *until > Instant::now() => return *until - Instant::now(),
            State::Waiting { .. } => {}
            State::Ended(ended) => {
                let again = match policy.as_str() {
                    "Always" => !init || ended.code != 0,
                    "OnFailure" => ended.code != 0,
                    _ => false,
                };
                if !again {
                    return IDLE;
                }
                let ran = ended.started_at.map_or(Duration::ZERO, |start| {
                    Duration::try_from(ended.finished_at.duration_since(start)).unwrap_or_default()
                });
                let ended = ended.clone();
                let delay = run.backoff.delay(ran);
                run.last = Some(ended);
                run.restart += 1;
                if !delay.is_zero() {
                    let pod_name = format!(
                        "{}_{}({})",
                        self.pod.metadata.name.as_deref().unwrap_or_default(),
                        self.pod.metadata.namespace.as_deref().unwrap_or_default(),
                        self.uid
                    );
                    let words = if delay.as_secs() >= 60 && delay.as_secs() % 60 == 0 {
                        format!("{}m0s", delay.as_secs() / 60)
                    } else if delay.as_secs() >= 60 {
                        format!("{}m{}s", delay.as_secs() / 60, delay.as_secs() % 60)
                    } else {
                        format!("{}s", delay.as_secs())
                    };
                    // The count goes up when it really starts again.
                    run.restart -= 1;
                    run.state = State::Waiting {
                        reason: "CrashLoopBackOff".to_owned(),
                        message: Some(format!("back-off {words} restarting failed container={name} pod={pod_name}")),
                        until: Some(Instant::now() + delay),
                    };
                    let message = format!("Back-off restarting failed container {name} in pod {pod_name}");
                    self.kubelet.events.warning(&self.pod, Some(name), "BackOff", message);
                    return delay;
                }
                run.state =
                    State::Waiting { reason: "ContainerCreating".to_owned(), message: None, until: None };
            }
        }
        let run_again = matches!(&run.state, State::Waiting { reason, .. } if reason == "CrashLoopBackOff");
        if run_again {
            run.restart += 1;
        }
        self.start_container(container).await
    }

    async fn start_container(&mut self, container: &Container) -> Duration {
        let kubelet = self.kubelet.clone();
        let name = container.name.clone();
        let reference = container.image.clone().unwrap_or_default();
        let images = kubelet.images();
        let image = match images.resolve(&reference, &kubelet.config.state_dir.join("bin")) {
            Ok(image) => image,
            Err(error) => return self.image_missing(&name, &reference, &error.to_string()),
        };
        let Some(ip) = self.sandbox.as_ref().map(|sandbox| sandbox.record.ip) else { return RETRY };
        let mut pod = (*self.pod).clone();
        pod.status.get_or_insert_default().pod_ip = Some(ip.to_string());
        let mut base = image.env.clone();
        base.insert("PATH".to_owned(), image.path());
        base.insert("HOSTNAME".to_owned(), pods::hostname(&pod));
        base.insert("HOME".to_owned(), image.workdir.display().to_string());
        base.insert("KUBERNETES_SERVICE_HOST".to_owned(), "127.96.0.1".to_owned());
        base.insert("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned());
        let env = match env::environment(&pod, container, base, &kubelet.caches) {
            Ok(env) => env,
            Err(error) => {
                kubelet.events.warning(&self.pod, Some(&name), "Failed", format!("Error: {error}"));
                self.wait(&name, "CreateContainerConfigError", Some(error.to_string()), RETRY);
                return RETRY;
            }
        };
        let expanded = |words: Option<&Vec<String>>| -> Vec<String> {
            words.into_iter().flatten().map(|word| env::expand(word, &env)).collect()
        };
        let argv = image.argv(&expanded(container.command.as_ref()), &expanded(container.args.as_ref()));
        let cwd = container.working_dir.clone().map_or_else(|| image.workdir.clone(), PathBuf::from);
        let restart = self.runs.get(&name).map_or(0, |run| run.restart);
        let request = StartRequest { container: name.clone(), argv, env, cwd, restart, limits: limits(container) };
        if let Err(error) = exec::remember(&self.dir, &request) {
            tracing::warn!(pod = self.name(), %error, "exec will not know this container's environment");
        }
        let present = format!("Container image \"{reference}\" already present on machine");
        kubelet.events.normal(&self.pod, Some(&name), "Pulled", present);
        let Some(sandbox) = &mut self.sandbox else { return RETRY };
        let outcome = sandbox.init.call::<Started>(&Request::Start(request)).await;
        let Some(run) = self.runs.get_mut(&name) else { return RETRY };
        match outcome {
            Ok(_) => {
                kubelet.events.normal(&self.pod, Some(&name), "Created", format!("Created container: {name}"));
                kubelet.events.normal(&self.pod, Some(&name), "Started", format!("Started container {name}"));
                run.state = State::Running { started_at: Timestamp::now() };
                run.started = container.startup_probe.is_none();
                run.ready = run.started && container.readiness_probe.is_none();
                run.pull_backoff = super::backoff::Backoff::default();
                self.start_probes(&name, false);
                IDLE
            }
            Err(error) => {
                kubelet.events.warning(&self.pod, Some(&name), "Failed", format!("Error: {error}"));
                run.state = State::Ended(Ended {
                    code: 128,
                    signal: None,
                    reason: "StartError".to_owned(),
                    message: Some(error.to_string()),
                    started_at: None,
                    finished_at: Timestamp::now(),
                    restart,
                });
                Duration::ZERO
            }
        }
    }

    fn image_missing(&mut self, name: &str, reference: &str, why: &str) -> Duration {
        let Some(run) = self.runs.get_mut(name) else { return RETRY };
        let again = matches!(&run.state, State::Waiting { reason, .. } if reason.ends_with("BackOff") || reason == "ErrImagePull");
        let delay = run.pull_backoff.delay(Duration::ZERO).max(Duration::from_secs(if again { 10 } else { 1 }));
        let events = &self.kubelet.events;
        events.warning(&self.pod, Some(name), "Failed", format!("Failed to pull image \"{reference}\": {why}"));
        if again {
            events.normal(&self.pod, Some(name), "BackOff", format!("Back-off pulling image \"{reference}\""));
            self.wait(name, "ImagePullBackOff", Some(format!("Back-off pulling image \"{reference}\": {why}")), delay);
        } else {
            events.warning(&self.pod, Some(name), "Failed", "Error: ErrImagePull".to_owned());
            self.wait(name, "ErrImagePull", Some(why.to_owned()), delay);
        }
        delay
    }

    fn wait(&mut self, name: &str, reason: &str, message: Option<String>, delay: Duration) {
        if let Some(run) = self.runs.get_mut(name) {
            run.state =
                State::Waiting { reason: reason.to_owned(), message, until: Some(Instant::now() + delay) };
        }
    }

    fn start_probes(&mut self, name: &str, started: bool) {
        let container = pods::containers(&self.pod).iter().find(|container| container.name == name);
        let (Some(container), Some(sandbox), Some(run)) = (container, &self.sandbox, self.runs.get(name)) else { return };
        let target = probes::Target {
            pod_dir: self.dir.clone(),
            ip: sandbox.record.ip,
            container: container.clone(),
            restart: run.restart,
        };
        self.probes.insert(name.to_owned(), probes::start(&target, started, &self.findings.0));
    }

    async fn kill_overdue(&mut self) -> Duration {
        let now = Instant::now();
        let overdue: Vec<String> =
            self.stopping.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        for name in overdue {
            self.stopping.remove(&name);
            self.kill(&name).await;
        }
        self.stopping.values().min().map_or(IDLE, |at| at.saturating_duration_since(now))
    }

    /// One step of a graceful deletion: preStop, SIGTERM, SIGKILL, final status, gone.
    async fn end_step(&mut self) -> Next {
        let running: Vec<String> =
            self.runs.iter().filter(|(_, run)| run.is_running()).map(|(name, _)| name.clone()).collect();
        let grace = self.grace();
        if self.ending.is_none() {
            self.probes.clear();
            for name in &running {
                let message = format!("Stopping container {name}");
                self.kubelet.events.normal(&self.pod, Some(name), "Killing", message);
            }
            let pre_stop = self.pre_stop(&running, grace);
            self.ending =
                Some(Ending { deadline: Instant::now() + grace, killed: false, pre_stop, signalled: false });
        }
        let Some(ending) = &mut self.ending else { return Next::Wait(RETRY) };
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
        let (term, kill) = ((hooks_done || overdue) && !ending.signalled, overdue && !ending.killed);
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
        for container in pods::containers(&self.pod).iter().filter(|container| running.contains(&container.name)) {
            let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
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
                    events.warning(&pod, Some(&name), "FailedPreStopHook", format!("PreStopHook failed: {problem}"));
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
        let failed = self.runs.values().any(|run| run.exit_code().is_some_and(|code| code != 0));
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
            preconditions: Some(Preconditions { uid: Some(self.uid.clone()), resource_version: None }),
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

    /// Writes the status if it has changed. `false`: to be tried again.
    async fn write_status(&mut self, phase: &str) -> bool {
        let entry = |container: &Container| status::container(&self.uid, container, self.runs.get(&container.name));
        let statuses = (
            pods::init_containers(&self.pod).iter().map(entry).collect(),
            pods::containers(&self.pod).iter().map(entry).collect(),
        );
        let record = sandbox::SandboxRecord::read(&self.dir);
        let address = record.as_ref().map(|record| (record.ip.to_string(), record.started_at));
        let sandbox = address.as_ref().map(|(ip, since)| (ip.as_str(), *since));
        let made = status::pod(&self.pod, statuses, phase, sandbox, Timestamp::now());
        // Transition times of a condition that the API has not shown yet would look new at every step.
        if self.written.as_ref().is_some_and(|written| same_but_times(written, &made)) {
            return true;
        }
        let name = self.pod.metadata.name.clone().unwrap_or_default();
        let patch = Patch::Merge(json!({"metadata": {"uid": self.uid}, "status": made}));
        match self.api().patch_status(&name, &PatchParams::default(), &patch).await {
            Ok(pod) => {
                self.written = Some(made);
                // So that the next comparison knows the transition times that were just written.
                if pod.metadata.uid.as_deref() == Some(&self.uid) && self.pod.metadata.deletion_timestamp.is_none() {
                    self.pod = Arc::new(pod);
                }
                true
            }
            Err(kube::Error::Api(status)) if status.code == 404 => true,
            Err(error) => {
                tracing::warn!(pod = self.name(), %error, "the status was not written");
                false
            }
        }
    }

    /// Nothing of the pod stays but its claims.
    async fn destroy(mut self) {
        self.watcher = JoinSet::new();
        self.probes.clear();
        let record = sandbox::SandboxRecord::read(&self.dir);
        sandbox::end(&self.dir).await;
        if let Err(error) = std::fs::remove_dir_all(&self.dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.dir.display(), %error, "a pod's folder was not removed");
        }
        if let Some(record) = record {
            self.kubelet.addresses.release(record.ip);
        }
    }
}

/// How a container ended that nobody saw end.
fn lost(started_at: Option<Timestamp>, restart: u32) -> Ended {
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

fn limits(container: &Container) -> Limits {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let of = |name: &str| limits.and_then(|limits| limits.get(name)).map(|quantity| quantity.0.as_str());
    Limits {
        cpu_millis: of("cpu").and_then(quantity::millis),
        memory_bytes: of("memory").and_then(quantity::units),
    }
}

/// Equal, transition times of conditions aside.
fn same_but_times(one: &Value, other: &Value) -> bool {
    let plain = |status: &Value| {
        let mut status = status.clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
        }
        status
    };
    plain(one) == plain(other)
}

impl Kubelet {
    /// The hosts file of a pod, which may not be in the cache yet.
    pub(super) fn hosts_for(&self, pod: &Pod, ip: std::net::Ipv4Addr) -> String {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let subdomain = pod.spec.as_ref().and_then(|spec| spec.subdomain.as_deref());
        let names = hosts::own_names(namespace, &pods::hostname(pod), subdomain);
        self.caches.names().render(namespace, Some((&ip.to_string(), &names)))
    }
}
