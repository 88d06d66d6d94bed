//! A worker for each pod; and what happens to pods when their node is switched off and on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Kubelet, sandbox, worker};

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

impl Kubelet {
    /// Starts a worker for each new pod and hands every change to it.
    pub(super) async fn dispatch(self: &Arc<Self>, tasks: &TaskTracker, shutdown: &CancellationToken) {
        let mut changed = self.caches.pods_changed();
        let mut workers: HashMap<String, Running> = HashMap::new();
        let mut dark: HashSet<String> = HashSet::new();
        loop {
            changed.borrow_and_update();
            let bound = self.bound_pods();
            let pods = self.our_pods();
            for uid in bound.keys().filter(|uid| !pods.contains_key(*uid)) {
                if dark.insert(uid.clone()) {
                    self.cut_power(uid, workers.remove(uid)).await;
                }
            }
            for uid in dark.iter().filter(|uid| !bound.contains_key(*uid)) {
                // Deleted by force while its node was off.
                self.discard(uid).await;
            }
            dark.retain(|uid| bound.contains_key(uid) && !pods.contains_key(uid));
            workers.retain(|uid, worker| {
                if !pods.contains_key(uid) {
                    let _ = worker.pod.send(None);
                }
                !worker.pod.is_closed() && pods.contains_key(uid)
            });
            for (uid, pod) in pods {
                match workers.get(&uid) {
                    Some(worker) => worker.tell(pod),
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
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Ends a pod as a power cut does: its processes die, the API hears nothing of it, its folder stays.
    async fn cut_power(&self, uid: &str, worker: Option<Running>) {
        if let Some(Running { pod, task }) = worker {
            // The worker stops where it is: nobody may write the status of a pod whose node is off.
            drop(pod);
            if let Err(error) = task.await {
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
