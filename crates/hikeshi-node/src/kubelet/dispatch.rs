//! A worker for each pod; and what happens to pods when their node is switched off and on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Kubelet, sandbox, worker};
use crate::shim::launch::{kill_recorded, read_record};

/// How long a worker may take to stop before its init is killed under it.
const BUSY: Duration = Duration::from_secs(1);

/// A pod's worker: what it is told, and its task.
struct Running {
    pod: watch::Sender<Option<Arc<Pod>>>,
    task: JoinHandle<()>,
}

impl Running {
    fn tell(&self, pod: Arc<Pod>) {
        self.pod.send_if_modified(|known| {
            let version = |pod: &Pod| pod.metadata.resource_version.clone();
            let differs = known.as_ref().is_none_or(|known| version(known) != version(&pod));
            if differs {
                *known = Some(pod);
            }
            differs
        });
    }
}

/// Pods that are ended side by side: one that takes long is nobody else's concern.
#[derive(Default)]
struct Endings {
    tasks: JoinSet<()>,
    uids: HashMap<tokio::task::Id, String>,
}

impl Endings {
    fn begin(&mut self, uid: &str, work: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(work).id();
        self.uids.insert(id, uid.to_owned());
    }

    fn has(&self, uid: &str) -> bool {
        self.uids.values().any(|one| one == uid)
    }

    /// Waits for the next one; for ever if there is none.
    async fn one_is_done(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                tracing::error!(%error, "a pod was not ended");
                error.id()
            }
        };
        self.uids.remove(&id);
    }
}

impl Kubelet {
    /// Starts a worker for each new pod and hands every change to it.
    pub(super) async fn dispatch(self: &Arc<Self>, tasks: &TaskTracker, shutdown: &CancellationToken) {
        let mut changed = self.caches.pods_changed();
        let mut workers: HashMap<String, Running> = HashMap::new();
        let mut dark: HashSet<String> = HashSet::new();
        // Pods that are being ended without a worker: none gets a new one before that is done.
        let mut endings = Endings::default();
        loop {
            changed.borrow_and_update();
            let bound = self.bound_pods();
            let pods = self.our_pods();
            for uid in bound.keys().filter(|uid| !pods.contains_key(*uid)) {
                if dark.insert(uid.clone()) {
                    let (kubelet, name, worker) = (self.clone(), uid.clone(), workers.remove(uid));
                    endings.begin(uid, async move { kubelet.cut_power(&name, worker).await });
                }
            }
            dark.retain(|uid| !pods.contains_key(uid));
            // Deleted by force while its node was off.
            let forced = |uid: &String| !bound.contains_key(uid) && !endings.has(uid);
            for uid in dark.iter().filter(|uid| forced(uid)).cloned().collect::<Vec<_>>() {
                dark.remove(&uid);
                let (kubelet, name) = (self.clone(), uid.clone());
                endings.begin(&uid, async move { kubelet.discard(&name).await });
            }
            workers.retain(|uid, worker| {
                if !pods.contains_key(uid) {
                    let _ = worker.pod.send(None);
                }
                !worker.pod.is_closed() && pods.contains_key(uid)
            });
            for (uid, pod) in pods {
                match workers.get(&uid) {
                    Some(worker) => worker.tell(pod),
                    None if endings.has(&uid) => {}
                    None => {
                        let (sender, receiver) = watch::channel(Some(pod.clone()));
                        let work = worker::Worker::new(self.clone(), pod).run(receiver, shutdown.clone());
                        let task = tasks.spawn(work);
                        workers.insert(uid, Running { pod: sender, task });
                    }
                }
            }
            tokio::select! {
                outcome = changed.changed() => if outcome.is_err() { return },
                () = endings.one_is_done() => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Ends a pod as a power cut does: its processes die, the API hears nothing of it, its folder stays.
    async fn cut_power(&self, uid: &str, worker: Option<Running>) {
        if let Some(Running { pod, mut task }) = worker {
            // The worker stops where it is: nobody may write the status of a pod whose node is off.
            drop(pod);
            let ended = match tokio::time::timeout(BUSY, &mut task).await {
                Ok(ended) => ended,
                Err(_) => {
                    // It waits for its init, most likely: that one is to die anyway.
                    if let Some(record) = read_record(&self.pod_dir(uid)) {
                        kill_recorded(&record);
                    }
                    task.await
                }
            };
            if let Err(error) = ended {
                tracing::error!(uid, %error, "a pod's worker died");
            }
        }
        sandbox::end(&self.pod_dir(uid)).await;
    }

    /// Nothing of a pod that has no worker stays.
    pub(super) async fn discard(&self, uid: &str) {
        let dir = self.pod_dir(uid);
        let record = sandbox::SandboxRecord::read(&dir);
        sandbox::end(&dir).await;
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %dir.display(), %error, "a pod's folder was not removed");
        }
        if let Some(record) = record {
            self.addresses.release(record.ip);
        }
    }
}
