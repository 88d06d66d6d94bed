//! The chaos agent: carries out the experiments that act inside pods, and tells in their records what became of them.
//!
//! Everything it does ends with it: a pod is held down by the kubelet's word in memory, a stress program by a pipe whose
//! other end is here, another time of day by a lease that is renewed every second. So whatever kills control lifts these
//! faults, within seconds.

pub(crate) mod clock;
mod stores;
mod stress;
mod wanted;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hikeshi_chaos::status::{is_injected, text};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::netagent::chaos::should_run;
use crate::netagent::status::{self, Outcome};
use crate::shim::InitClient;
use crate::shim::protocol::Request;
use stores::Stores;
use wanted::{Target, Wanted, What};

/// Leases are renewed and what failed is tried again this often.
const BEAT: Duration = Duration::from_secs(1);

pub(crate) struct Agent {
    kubelet: Arc<Kubelet>,
    changed: Arc<Notify>,
    stresses: BTreeMap<Target, stress::Stress>,
    clocks: clock::Clocks,
    /// Containers killed once: their record may be written only later.
    killed: HashSet<Target>,
}

impl Agent {
    pub fn new(kubelet: Arc<Kubelet>) -> Self {
        Self {
            kubelet,
            changed: Arc::new(Notify::new()),
            stresses: BTreeMap::new(),
            clocks: clock::Clocks::default(),
            killed: HashSet::new(),
        }
    }

    /// Runs until `shutdown`; every fault of this agent is lifted then.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let stores = Stores::start(&self.kubelet.client, &self.changed);
        let mut pods = self.kubelet.pods_changed();
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let changed = self.changed.clone();
        let work = async {
            if !stores.complete().await {
                return;
            }
            loop {
                self.sync(&stores).await;
                tokio::select! {
                    () = changed.notified() => {}
                    outcome = pods.changed() => if outcome.is_err() { return },
                    _ = beat.tick() => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
        self.clocks.set(&self.kubelet, BTreeMap::new());
    }

    /// One pass: experiments -> what is wanted -> what is so -> statuses.
    async fn sync(&mut self, stores: &Stores) {
        let now = Timestamp::now();
        let pods = self.kubelet.pods_by_name();
        let experiments = stores.experiments();
        if experiments.is_empty() && self.stresses.is_empty() && self.clocks.is_empty() {
            self.kubelet.hold(Default::default());
            return;
        }
        let wanted = Wanted::of(&experiments, &pods, now);
        self.kubelet.hold(wanted.held.clone());
        self.clocks.set(&self.kubelet, wanted.clocks.clone());
        self.keep_stresses(&wanted, &pods).await;
        for (kind, object) in &experiments {
            let what = What::of(kind, object);
            let run = should_run(object, now);
            let mut outcomes = BTreeMap::new();
            for record in hikeshi_chaos::status::records(&object.data["status"]) {
                let outcome = match &what {
                    Ok(None) => continue,
                    Ok(Some(what)) if run => self.outcome(what, object, record, &pods).await,
                    Ok(Some(_)) => Outcome::Lifted,
                    Err(message) => Outcome::Refused(message.clone()),
                };
                outcomes.insert(text(record, "id").to_owned(), outcome);
            }
            // Pods are killed by the controller, who says so himself.
            if matches!(what, Ok(None)) {
                continue;
            }
            let of = |record: &Value| {
                outcomes
                    .get(text(record, "id"))
                    .cloned()
                    .unwrap_or(Outcome::Lifted)
            };
            if let Some(patch) = status::patch(object, of, now) {
                self.write(kind, object, &patch).await;
            }
        }
        let known: HashSet<String> = experiments
            .iter()
            .filter_map(|(_, object)| object.uid())
            .collect();
        self.killed.retain(|target| known.contains(&target.experiment));
    }

    async fn keep_stresses(&mut self, wanted: &Wanted, pods: &BTreeMap<(String, String), Arc<Pod>>) {
        let over: Vec<Target> = self
            .stresses
            .iter()
            .filter(|(target, stress)| {
                stress.has_ended() || wanted.stresses.get(target) != Some(stress.load())
            })
            .map(|(target, _)| target.clone())
            .collect();
        for target in over {
            if let Some(stress) = self.stresses.remove(&target) {
                stress.end().await;
            }
        }
        for (target, load) in &wanted.stresses {
            match self.stresses.get_mut(target) {
                Some(stress) => stress.renew(),
                None => {
                    let running = pods.values().any(|pod| target.is_running(pod));
                    if !running {
                        continue;
                    }
                    let dir = self.kubelet.pod_dir(&target.pod);
                    match stress::Stress::start(&dir, &target.container, *load, &self.changed).await {
                        Ok(stress) => drop(self.stresses.insert(target.clone(), stress)),
                        // The container may have ended just now: the next beat tries again.
                        Err(error) => tracing::debug!(%error, ?target, "no stress yet"),
                    }
                }
            }
        }
    }

    async fn outcome(
        &mut self,
        what: &What,
        object: &DynamicObject,
        record: &Value,
        pods: &BTreeMap<(String, String), Arc<Pod>>,
    ) -> Outcome {
        let Some((target, pod)) = Target::of(object, record, pods) else {
            return Outcome::Lifted;
        };
        let done = match what {
            What::Failure => !wanted::any_runs(&pod),
            What::Stress(_) => self.stresses.contains_key(&target),
            What::Time(_) => match clock::refusal(&self.kubelet, &pod, &target.container) {
                Some(message) => return Outcome::Refused(message),
                None => self.clocks.contains(&target),
            },
            What::Kill => {
                is_injected(record) || self.killed.contains(&target) || self.kill(&target, &pod).await
            }
        };
        if done { Outcome::InForce } else { Outcome::Lifted }
    }

    /// Kills a container's first process, and with it the container; the kubelet starts it again.
    async fn kill(&mut self, target: &Target, pod: &Pod) -> bool {
        if !target.is_running(pod) {
            return false;
        }
        let dir = self.kubelet.pod_dir(&target.pod);
        let request = Request::Signal {
            container: target.container.clone(),
            signal: libc::SIGKILL,
        };
        let killed = match InitClient::connect(&dir) {
            Ok(mut init) => init.command(&request).await.map(drop),
            Err(error) => Err(error),
        };
        match killed {
            Ok(()) => {
                self.killed.insert(target.clone());
                true
            }
            Err(error) => {
                tracing::debug!(%error, ?target, "not killed yet");
                false
            }
        }
    }

    /// After a conflict the newer object comes by the watch anyway; after another failure the next beat writes again.
    async fn write(&self, kind: &str, object: &DynamicObject, patch: &Value) {
        let namespace = object.namespace().unwrap_or_default();
        let client = self.kubelet.client.clone();
        let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &stores::resource(kind));
        let name = object.name_any();
        let written = api
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        match written {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => tracing::warn!(%error, namespace, name, "an experiment's status was not written"),
        }
    }
}
