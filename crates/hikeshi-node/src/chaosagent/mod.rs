//! The chaos agent: carries out the experiments that act inside pods, and tells in their records what became of them.
//!
//! It waits for nobody without a limit: a pod whose init hangs, or an API that does not answer, must not keep another
//! experiment's end from coming. Everything it does ends with it: a pod is held down by a lease in memory, a stress program by a pipe
//! whose other end is here, another time of day by a lease in a file; the leases are renewed every second. So whatever kills control lifts these
//! faults, within seconds.

pub(crate) mod clock;
mod kill;
mod stores;
mod stress;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hikeshi_chaos::status::text;
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
use stores::Stores;
use wanted::{Target, Wanted, What};

/// Leases are renewed and what failed is tried again this often.
const BEAT: Duration = Duration::from_secs(1);
/// How long one answer of an init or of the API is waited for: shorter than every lease that is renewed here.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Agent {
    kubelet: Arc<Kubelet>,
    changed: Arc<Notify>,
    stresses: BTreeMap<Target, stress::Run>,
    clocks: clock::Clocks,
    kills: kill::Kills,
}

impl Agent {
    pub fn new(kubelet: Arc<Kubelet>) -> Self {
        Self {
            kubelet,
            changed: Arc::new(Notify::new()),
            stresses: BTreeMap::new(),
            clocks: clock::Clocks::default(),
            kills: kill::Kills::default(),
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
        let known: HashSet<String> = experiments
            .iter()
            .filter_map(|(_, object)| object.uid())
            .collect();
        self.kills.retain(&known);
        if experiments.is_empty() && self.stresses.is_empty() && self.clocks.is_empty() {
            self.kubelet.hold(Default::default());
            return;
        }
        let wanted = Wanted::of(&experiments, &pods, now);
        self.kubelet.hold(wanted.held.clone());
        self.clocks.set(&self.kubelet, wanted.clocks.clone());
        self.keep_stresses(&wanted, &pods);
        let mut patches = Vec::new();
        for (kind, object) in &experiments {
            let what = What::of(kind, object);
            let run = should_run(object, now);
            let mut outcomes = BTreeMap::new();
            for record in hikeshi_chaos::status::records(&object.data["status"]) {
                let outcome = match &what {
                    Ok(None) => continue,
                    Ok(Some(what)) => self.outcome(what, run, object, record, &pods),
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
                patches.push((*kind, object, patch));
            }
        }
        join_all(
            patches
                .iter()
                .map(|(kind, object, patch)| self.write(kind, object, patch)),
        )
        .await;
    }

    fn keep_stresses(&mut self, wanted: &Wanted, pods: &BTreeMap<(String, String), Arc<Pod>>) {
        let targets: BTreeSet<Target> = self
            .stresses
            .keys()
            .chain(wanted.stresses.keys())
            .cloned()
            .collect();
        for target in targets {
            let load = wanted.stresses.get(&target);
            let now = self.stresses.remove(&target);
            let next = now.and_then(|run| run.next(load, &self.changed));
            let runs = || pods.values().any(|pod| target.is_running(pod));
            let next = match (next, load) {
                (None, Some(load)) if runs() => {
                    let dir = self.kubelet.pod_dir(&target.pod);
                    let container = target.container.clone();
                    Some(stress::Run::start(dir, container, *load, self.changed.clone()))
                }
                (next, _) => next,
            };
            self.stresses.extend(next.map(|run| (target, run)));
        }
    }

    /// What became of an experiment on one of its targets; `run` says whether it should be in force.
    fn outcome(
        &mut self,
        what: &What,
        run: bool,
        object: &DynamicObject,
        record: &Value,
        pods: &BTreeMap<(String, String), Arc<Pod>>,
    ) -> Outcome {
        let target = Target::of(object, record, pods);
        if matches!(what, What::Kill) {
            let dir_of = |pod: &str| self.kubelet.pod_dir(pod);
            return self.kills.outcome(dir_of, &self.changed, object, record, target);
        }
        let Some((target, pod)) = target else {
            return Outcome::Lifted;
        };
        let done = match what {
            What::Failure => run && !wanted::any_runs(&pod),
            // Also after its time, until the program has ended.
            What::Stress(_) => self.stresses.get(&target).is_some_and(stress::Run::is_in_force),
            What::Time(_) => match clock::refusal(&self.kubelet, &pod, &target.container) {
                Some(message) if run => return Outcome::Refused(message),
                _ => run && self.clocks.contains(&target),
            },
            What::Kill => false,
        };
        if done { Outcome::InForce } else { Outcome::Lifted }
    }

    /// After a conflict the newer object comes by the watch anyway; after another failure the next beat writes again.
    async fn write(&self, kind: &str, object: &DynamicObject, patch: &Value) {
        let namespace = object.namespace().unwrap_or_default();
        let client = self.kubelet.client.clone();
        let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &stores::resource(kind));
        let name = object.name_any();
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let written = tokio::time::timeout(PATIENCE, api.patch_status(&name, &params, &patch)).await;
        let error = match written {
            Ok(Ok(_)) => return,
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        tracing::warn!(error, namespace, name, "an experiment's status was not written");
    }
}
