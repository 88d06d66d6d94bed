//! The kubelet: turns pods that are bound to our nodes into processes, and tells the API how they fare.

pub(crate) mod addresses;
mod adopt;
mod backoff;
mod caches;
mod claims;
mod connect;
mod destroy;
mod dispatch;
mod ending;
mod env;
mod events;
mod exec;
mod failing;
mod held;
mod hooks;
mod hosts;
mod logs;
mod nodes;
mod pods;
mod probes;
mod quantity;
mod report;
mod sandbox;
mod starting;
mod status;
mod step;
mod storage;
mod turn;
mod usage;
mod volumes;
mod weight;
mod worker;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chaosagent::Agent;
use crate::images::{ImageError, Images};
use caches::{Caches, Watches};

pub use connect::ConnectError;
pub use destroy::destroy_all;
pub use exec::ExecError;
pub(crate) use held::memory_limit;
pub use logs::{LogError, LogRequest};
pub use usage::{ContainerUsage, NodeUsage, PodUsage};

/// Whose token a pod gets.
#[derive(Debug, Clone, Copy)]
pub struct PodAccount<'a> {
    pub namespace: &'a str,
    /// The service account's name.
    pub account: &'a str,
    pub pod: &'a str,
    pub pod_uid: &'a str,
}

/// Makes a pod's token for its service account.
pub type TokenFor = dyn Fn(PodAccount<'_>) -> String + Send + Sync;

/// What a kubelet needs to know.
pub struct KubeletConfig {
    /// The state folder: `pods/`, `volumes/`, `bin/`, `images/` lie below it.
    pub state_dir: PathBuf,
    /// Descriptions of native images; copied to `state_dir/images`, where pods can reach them.
    pub images_dir: PathBuf,
    /// The program that is started as `PROGRAM internal pod-init DIR`; the pods' user must be able to run it.
    pub init_program: PathBuf,
    /// The virtual nodes.
    pub nodes: Vec<NodeTemplate>,
    /// The cluster's CA, for pods' service accounts.
    pub ca_pem: String,
    /// A pod's token for its service account.
    pub token_for: Arc<TokenFor>,
    /// When its other end closes, every pod dies. Used by tests.
    pub lifeline: Option<OwnedFd>,
}

/// A virtual node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTemplate {
    pub name: String,
    pub zone: String,
}

/// Why the kubelet cannot run.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    #[error(transparent)]
    Images(#[from] ImageError),
    #[error("{path}: {source}")]
    Folder { path: String, source: io::Error },
}

/// The node agent. Logs, exec and usage also work while [`Kubelet::run`] has not begun.
pub struct Kubelet {
    pub(crate) client: kube::Client,
    config: KubeletConfig,
    addresses: addresses::Addresses,
    caches: Caches,
    watches: Mutex<Option<Watches>>,
    events: events::Recorder,
    images: Mutex<Arc<Images>>,
    usage: Mutex<Vec<PodUsage>>,
    /// Uids of pods whose containers must not run.
    held: watch::Sender<held::Held>,
}

impl Kubelet {
    /// Must be called inside a Tokio runtime.
    pub fn new(client: kube::Client, config: KubeletConfig) -> Arc<Self> {
        let (caches, watches) = Caches::new();
        Arc::new(Self {
            events: events::Recorder::new(client.clone()),
            client,
            config,
            addresses: addresses::Addresses::default(),
            caches,
            watches: Mutex::new(Some(watches)),
            images: Mutex::new(Arc::new(Images::default())),
            usage: Mutex::new(Vec::new()),
            held: watch::Sender::default(),
        })
    }

    /// Runs until `shutdown`; the pods run on and are found again by the next kubelet.
    ///
    /// # Errors
    /// The images cannot be read, or the state folder cannot be written.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), KubeletError> {
        let Some(watches) = self.watches.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        self.prepare_folders()?;
        *self.images.lock().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Images::load(&self.config.images_dir)?);
        let tasks = TaskTracker::new();
        let (kubelet, stop) = (self.clone(), shutdown.clone());
        tasks.spawn(async move { kubelet.caches.run(kubelet.client.clone(), watches, stop).await });
        tokio::select! {
            () = self.caches.ready() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        tasks.spawn(self.clone().keep_nodes(shutdown.clone()));
        tasks.spawn(self.clone().keep_hosts(shutdown.clone()));
        tasks.spawn(self.clone().keep_usage(shutdown.clone()));
        tasks.spawn(self.clone().keep_weights(shutdown.clone()));
        tasks.spawn(Agent::new(self.clone()).run(shutdown.clone()));
        self.clear_unknown().await;
        self.dispatch(&tasks, &shutdown).await;
        tasks.close();
        tasks.wait().await;
        Ok(())
    }

    fn prepare_folders(&self) -> Result<(), KubeletError> {
        let state = &self.config.state_dir;
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |source| KubeletError::Folder { path, source }
        };
        for folder in ["pods", "volumes", "images"] {
            let path = state.join(folder);
            fs::create_dir_all(&path).map_err(failed(&path))?;
        }
        let target = state.join("images");
        copy_folder(&self.config.images_dir, &target).map_err(failed(&target))
    }

    fn images(&self) -> Arc<Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.config.state_dir.join("pods").join(uid)
    }

    fn config_changes(&self) -> watch::Receiver<u64> {
        self.caches.config_changed()
    }

    fn with_sources<T>(&self, work: impl FnOnce(&volumes::Sources<'_>) -> T) -> T {
        let claims = self.config.state_dir.join("volumes");
        work(&volumes::Sources {
            config: &self.caches,
            claims: &claims,
            ca_pem: &self.config.ca_pem,
            token_for: &*self.config.token_for,
        })
    }

    /// The pods bound to those of our nodes that are on, by uid.
    fn our_pods(&self) -> HashMap<String, Arc<Pod>> {
        let mut pods = self.bound_pods();
        pods.retain(|_, pod| self.is_on(node_of(pod)));
        pods
    }

    /// The pods bound to our nodes, by uid.
    fn bound_pods(&self) -> HashMap<String, Arc<Pod>> {
        let ours = self.caches.pods.state().into_iter().filter(|pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
            node.is_some_and(|node| self.config.nodes.iter().any(|one| one.name == *node))
        });
        ours.filter_map(|pod| Some((pod.metadata.uid.clone()?, pod)))
            .collect()
    }

    /// Ends pods of the folder that the API does not know (any more).
    async fn clear_unknown(&self) {
        let known = self.bound_pods();
        let mut unknown = Vec::new();
        for entry in fs::read_dir(self.config.state_dir.join("pods"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if !known.contains_key(&entry.file_name().to_string_lossy().into_owned()) {
                unknown.push(entry.path());
            } else if let Some(record) = sandbox::SandboxRecord::read(&entry.path()) {
                // Before any worker may ask for a new address.
                self.addresses.reserve(record.ip);
            }
        }
        let end = |dir: PathBuf| async move {
            sandbox::end(&dir).await;
            let _ = fs::remove_dir_all(dir);
        };
        join_all(unknown.into_iter().map(end)).await;
    }

    /// Rewrites every pod's hosts file when names change.
    async fn keep_hosts(self: Arc<Self>, shutdown: CancellationToken) {
        let mut changed = self.caches.names_changed();
        loop {
            changed.borrow_and_update();
            for (uid, pod) in self.our_pods() {
                let dir = self.pod_dir(&uid);
                let Some(record) = sandbox::SandboxRecord::read(&dir) else {
                    continue;
                };
                let text = self.hosts_for(&pod, record.ip);
                if let Err(error) = hosts::write_in_place(&dir.join("hosts"), &text) {
                    tracing::warn!(%error, folder = %dir.display(), "a hosts file was not written");
                }
            }
            // Changes come in bursts; a name may be this much late.
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                () = shutdown.cancelled() => return,
            }
            tokio::select! {
                outcome = changed.changed() => if outcome.is_err() { return },
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn keep_usage(self: Arc<Self>, shutdown: CancellationToken) {
        let mut meter = usage::Meter::default();
        let mut ticks = tokio::time::interval(usage::WINDOW);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let pods = self.our_pods().into_iter().map(|(uid, pod)| usage::Measured {
                dir: self.pod_dir(&uid),
                uid,
                namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                name: pod.metadata.name.clone().unwrap_or_default(),
                node: pod
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.node_name.clone())
                    .unwrap_or_default(),
            });
            let measured = meter.measure(pods.collect()).await;
            *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = measured;
        }
    }

    /// The log of one container, oldest line first.
    ///
    /// # Errors
    /// The container has not run (that often) yet.
    pub async fn logs(
        &self,
        _namespace: &str,
        name: &str,
        uid: &str,
        request: LogRequest,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, LogError> {
        let dir = self.pod_dir(uid);
        let Some((run, path)) = logs::file_of(&dir, &request.container, request.previous) else {
            let (container, pod) = (request.container, name.to_owned());
            return Err(if request.previous {
                LogError::NoPrevious { container, pod }
            } else {
                let reason = self.waiting_reason(uid, &container);
                LogError::NotStarted {
                    container,
                    pod,
                    reason,
                }
            });
        };
        let running = self.run_observer(dir, request.container.clone(), run);
        Ok(logs::stream(&path, &request, running)?)
    }

    fn waiting_reason(&self, uid: &str, container: &str) -> String {
        let pods = self.our_pods();
        let status = pods.get(uid).and_then(|pod| pod.status.as_ref());
        let found = status.into_iter().flat_map(|status| {
            status
                .container_statuses
                .iter()
                .flatten()
                .chain(status.init_container_statuses.iter().flatten())
        });
        let waiting = found.into_iter().find(|status| status.name == container);
        let reason = waiting.and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
        reason.unwrap_or_else(|| "ContainerCreating".to_owned())
    }

    /// Says whether a run still goes on, by the init's own account, kept current in the background.
    fn run_observer(&self, dir: PathBuf, container: String, run: u32) -> impl Fn() -> bool + Send + use<> {
        use crate::shim::protocol::{Request, StatusReply};
        let (running_tx, running) = watch::channel(true);
        tokio::spawn(async move {
            let mut seen = 0;
            if let Ok(mut init) = crate::shim::InitClient::connect(&dir) {
                loop {
                    let watch = Request::Watch { seen };
                    let status = tokio::select! {
                        status = init.call::<StatusReply>(&watch) => status,
                        () = running_tx.closed() => return,
                    };
                    let Ok(status) = status else { break };
                    seen = status.generation;
                    let mine = status
                        .containers
                        .into_iter()
                        .find(|one| one.name == container && one.restart == run);
                    if mine.is_none_or(|one| one.exit.is_some()) {
                        break;
                    }
                }
            }
            let _ = running_tx.send(false);
        });
        move || *running.borrow()
    }

    /// Runs a command in a container until it ends; its exit code. With `tty` all output is on `stdout`.
    ///
    /// # Errors
    /// The container is not running, or the program cannot be started.
    #[expect(clippy::too_many_arguments, reason = "the parts of a Kubernetes exec request")]
    pub async fn exec(
        &self,
        _namespace: &str,
        _name: &str,
        uid: &str,
        container: &str,
        command: Vec<String>,
        tty: bool,
        stdin: Option<mpsc::Receiver<Bytes>>,
        stdout: mpsc::Sender<Bytes>,
        stderr: mpsc::Sender<Bytes>,
        resize: Option<mpsc::Receiver<(u16, u16)>>,
    ) -> Result<i32, ExecError> {
        let streams = exec::Streams {
            stdin,
            stdout,
            stderr,
            resize,
        };
        exec::run(&self.pod_dir(uid), container, command, tty, streams).await
    }

    /// Writes what comes to a container's standard input, from now on and beside others who do.
    ///
    /// # Errors
    /// The container is not running, or its standard input is not open (any more).
    pub async fn attach(
        &self,
        uid: &str,
        container: &str,
        stdin: mpsc::Receiver<Bytes>,
    ) -> Result<(), ExecError> {
        exec::attach(&self.pod_dir(uid), container, stdin).await
    }

    /// Shows a container's terminal from now on, and types on it, until the container ends.
    ///
    /// # Errors
    /// The container is not running, or has no terminal.
    pub async fn attach_terminal(
        &self,
        uid: &str,
        container: &str,
        stdin: Option<mpsc::Receiver<Bytes>>,
        stdout: mpsc::Sender<Bytes>,
        resize: Option<mpsc::Receiver<(u16, u16)>>,
    ) -> Result<(), ExecError> {
        exec::attach_terminal(&self.pod_dir(uid), container, stdin, stdout, resize).await
    }

    /// A connection to `127.0.0.1:port` inside the pod's network namespace.
    ///
    /// # Errors
    /// The pod does not run, or nothing listens there.
    pub async fn connect(&self, uid: &str, port: u16) -> Result<tokio::net::TcpStream, ConnectError> {
        connect::connect(&self.pod_dir(uid), port).await
    }

    /// Every running pod's usage over the last window.
    pub fn usage(&self) -> Vec<PodUsage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every node's usage: the sum of its pods.
    pub fn node_usage(&self) -> Vec<NodeUsage> {
        usage::by_node(
            self.config.nodes.iter().map(|node| node.name.clone()),
            &self.usage(),
        )
    }
}

/// The node a pod is bound to; empty if to none.
fn node_of(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
