//! Pods that a fault holds down: their containers do not run, and run again as they were when it is lifted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;
use tokio::time::Instant;

use super::status::State;
use super::worker::Worker;
use super::{Kubelet, starting};
use crate::chaosagent::clock;

/// Pods (uids) that are held down, and until when unless that is renewed.
pub(super) type Held = BTreeMap<String, Instant>;

/// A pod that nobody renews the hold of runs again after this.
const LEASE: Duration = Duration::from_secs(5);

/// The waiting containers' reason in the pod's status.
const REASON: &str = "PodFailure";

/// A container's memory limit in bytes.
pub(crate) fn memory_limit(container: &Container) -> Option<u64> {
    starting::limits(container).memory_bytes
}

/// What the chaos agent asks of the kubelet.
impl Kubelet {
    /// Our pods by namespace and name.
    pub(crate) fn pods_by_name(&self) -> std::collections::BTreeMap<(String, String), Arc<Pod>> {
        let pods: HashMap<String, Arc<Pod>> = self.our_pods();
        let named = pods.into_values().filter_map(|pod| {
            let name = (pod.metadata.namespace.clone()?, pod.metadata.name.clone()?);
            Some((name, pod))
        });
        named.collect()
    }

    /// Holds exactly these pods (uids) down, until [`LEASE`] has passed since the last call.
    pub(crate) fn hold(&self, uids: BTreeSet<String>) {
        let now = Instant::now();
        self.held.send_if_modified(|held| {
            let differs = !held.keys().eq(uids.iter()) || held.values().any(|until| *until <= now);
            *held = uids.into_iter().map(|uid| (uid, now + LEASE)).collect();
            differs
        });
    }

    pub(super) fn holds(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    pub(crate) fn pods_changed(&self) -> watch::Receiver<u64> {
        self.caches.pods_changed()
    }

    pub(crate) fn has_clock_library(&self) -> bool {
        self.config.state_dir.join("bin").join(clock::LIBRARY).exists()
    }

    /// Whether programs of this image take the time from a library that can be put before the system's.
    pub(crate) fn moves_time(&self, reference: &str) -> bool {
        self.images()
            .find(reference)
            .is_some_and(|image| image.time_chaos)
    }

    /// Prepares a container's clock; the variables with which its programs find it.
    pub(super) fn clock(&self, pod_dir: &Path, image: &str, container: &str) -> Vec<(String, String)> {
        if !self.has_clock_library() || !self.moves_time(image) {
            return Vec::new();
        }
        if let Err(error) = clock::prepare(pod_dir, container) {
            tracing::warn!(%error, container, "a container's time of day cannot be moved");
            return Vec::new();
        }
        let library = format!("{}/{}", crate::images::BIN_DIR, clock::LIBRARY);
        vec![
            ("LD_PRELOAD".to_owned(), library),
            (
                clock::VARIABLE.to_owned(),
                format!("{}/{container}", clock::FOLDER),
            ),
        ]
    }
}

impl Worker {
    /// How long the pod is to be held down still; `None` when it is not.
    pub(super) fn held_for(&self) -> Option<Duration> {
        let until = *self.kubelet.held.borrow().get(&self.uid)?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Ends what runs.
    pub(super) async fn keep_down(&mut self) {
        let running = self.runs.iter().filter(|(_, run)| run.is_running());
        let running: Vec<String> = running.map(|(name, _)| name.clone()).collect();
        for name in running {
            if self.put_down.insert(name.clone()) {
                let message = format!("Container {name} is held down by a PodChaos experiment");
                self.kubelet
                    .events
                    .normal(&self.pod, Some(&name), "Killing", message);
            }
            self.probes.remove(&name);
            self.stopping.remove(&name);
            self.kill(&name).await;
        }
    }

    /// Turns what a fault has ended into something that waits to run again: also when the news comes after the fault.
    pub(super) fn wait_again(&mut self) {
        for (name, run) in &mut self.runs {
            if let State::Ended(ended) = &run.state
                && self.put_down.remove(name)
            {
                run.last = Some(ended.clone());
                run.state = State::Waiting {
                    reason: REASON.to_owned(),
                    message: Some("held down by a PodChaos experiment".to_owned()),
                    until: None,
                };
            }
        }
    }
}
