//! What the experiments in force want of the pods. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hikeshi_chaos::pod::{self, Action};
use hikeshi_chaos::quantity::{Size, WHOLE};
use hikeshi_chaos::status::{parts, records, text};
use hikeshi_chaos::{stress, time};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::Value;

use crate::kubelet::memory_limit;
use crate::netagent::chaos::should_run;
use crate::stress::Load;

/// What an experiment does to those that its records name.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// The pod's containers do not run.
    Failure,
    /// The container is killed once.
    Kill,
    Stress(stress::Stressors),
    /// Nanoseconds that the container's time of day is moved by.
    Time(i64),
}

impl What {
    /// `None`: not this agent's to do. An error names the field.
    pub fn of(kind: &str, object: &DynamicObject) -> Result<Option<Self>, String> {
        let spec = &object.data["spec"];
        let wrong = |error: serde_json::Error| format!("spec: {error}");
        match kind {
            "PodChaos" => Ok(match pod::Spec::deserialize(spec).map_err(wrong)?.action {
                Action::PodKill => None,
                Action::PodFailure => Some(Self::Failure),
                Action::ContainerKill => Some(Self::Kill),
            }),
            "StressChaos" => {
                let spec = stress::Spec::deserialize(spec).map_err(wrong)?;
                if let Some(memory) = &spec.stressors.memory {
                    memory
                        .size()
                        .map_err(|error| format!("spec.stressors.memory.size: {error}"))?;
                }
                Ok(Some(Self::Stress(spec.stressors)))
            }
            _ => {
                let spec = time::Spec::deserialize(spec).map_err(wrong)?;
                let offset = spec
                    .offset()
                    .map_err(|error| format!("spec.timeOffset: {error}"))?;
                Ok(Some(Self::Time(offset)))
            }
        }
    }
}

/// One experiment on one container (or on a whole pod: then `container` is empty).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Target {
    /// Uid.
    pub experiment: String,
    /// Uid.
    pub pod: String,
    pub container: String,
}

type Pods = BTreeMap<(String, String), Arc<Pod>>;

impl Target {
    /// Whom a record means; `None` when nobody is there. A record is text that others can write: a container that the pod
    /// does not have is nobody, and never becomes a part of a path.
    pub fn of(object: &DynamicObject, record: &Value, pods: &Pods) -> Option<(Self, Arc<Pod>)> {
        let (namespace, name, container) = parts(text(record, "id"));
        let pod = pods.get(&(namespace.to_owned(), name.to_owned()))?;
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let container = container.unwrap_or_default();
        let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        if !container.is_empty() && !containers.any(|one| one.name == container) {
            return None;
        }
        let target = Self {
            experiment: object.uid()?,
            pod: pod.uid()?,
            container: container.to_owned(),
        };
        Some((target, pod.clone()))
    }

    /// Whether the container runs, by the pod's status.
    pub fn is_running(&self, pod: &Pod) -> bool {
        pod.uid().as_ref() == Some(&self.pod)
            && statuses(pod).any(|status| status.name == self.container && runs(status))
    }
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| status.container_statuses.iter().flatten())
}

fn runs(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    state.is_some_and(|state| state.running.is_some())
}

/// Whether any container of the pod runs.
pub(super) fn any_runs(pod: &Pod) -> bool {
    statuses(pod).any(runs)
}

/// What all experiments together want.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Uids of pods whose containers must not run.
    pub held: BTreeSet<String>,
    pub stresses: BTreeMap<Target, Load>,
    /// By pod (uid) and container; several experiments add up.
    pub clocks: BTreeMap<(String, String), i64>,
}

impl Wanted {
    pub fn of(experiments: &[(&'static str, Arc<DynamicObject>)], pods: &Pods, now: Timestamp) -> Self {
        let mut wanted = Self::default();
        for (kind, object) in experiments.iter().filter(|(_, object)| should_run(object, now)) {
            let Ok(Some(what)) = What::of(kind, object) else {
                continue;
            };
            for record in records(&object.data["status"]) {
                let Some((target, pod)) = Target::of(object, record, pods) else {
                    continue;
                };
                match &what {
                    What::Failure => drop(wanted.held.insert(target.pod)),
                    What::Kill => {}
                    What::Stress(stressors) => {
                        let load = load(stressors, &pod, &target.container);
                        wanted.stresses.insert(target, load);
                    }
                    What::Time(offset) => {
                        let clock = wanted.clocks.entry((target.pod, target.container)).or_default();
                        *clock = clock.saturating_add(*offset);
                    }
                }
            }
        }
        wanted
    }
}

fn load(stressors: &stress::Stressors, pod: &Pod, container: &str) -> Load {
    let memory = stressors.memory.as_ref();
    let bytes = match memory.and_then(|memory| memory.size().ok()) {
        None => 0,
        Some(Size::Bytes(bytes)) => bytes,
        Some(Size::Share(ppm)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let own = containers.into_iter().find(|one| one.name == container);
            let whole = own
                .and_then(memory_limit)
                .unwrap_or_else(crate::stress::machine_memory);
            (u128::from(whole) * u128::from(ppm) / u128::from(WHOLE)) as u64
        }
    };
    Load {
        cpu_workers: stressors.cpu.as_ref().map_or(0, |cpu| cpu.workers),
        cpu_percent: stressors.cpu.as_ref().map_or(0, |cpu| cpu.load.unwrap_or(100)),
        memory_workers: memory.map_or(0, |memory| memory.workers),
        memory_bytes: bytes,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub fn pods() -> Pods {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "web-0", "uid": "u1"},
            "spec": {"containers": [{"name": "a", "resources": {"limits": {"memory": "100Mi"}}}]},
            "status": {"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {}}}]}}))
        .unwrap();
        [(("ns".to_owned(), "web-0".to_owned()), Arc::new(pod))].into()
    }

    fn experiment(uid: &str, spec: Value, id: &str) -> Arc<DynamicObject> {
        let object = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "X", "metadata": {"name": "x", "uid": uid},
            "spec": spec, "status": {"experiment": {"desiredPhase": "Run", "containerRecords": [{"id": id}]}}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn experiments_become_wishes() {
        let stress = json!({"stressors": {"cpu": {"workers": 2}, "memory": {"workers": 1, "size": "50%"}}});
        let all = [
            (
                "PodChaos",
                experiment("e1", json!({"action": "pod-failure"}), "ns/web-0"),
            ),
            (
                "PodChaos",
                experiment("e2", json!({"action": "pod-failure"}), "ns/gone"),
            ),
            ("StressChaos", experiment("e3", stress, "ns/web-0/a")),
            (
                "TimeChaos",
                experiment("e4", json!({"timeOffset": "-10s"}), "ns/web-0/a"),
            ),
            (
                "TimeChaos",
                experiment("e5", json!({"timeOffset": "30s"}), "ns/web-0/a"),
            ),
            (
                "TimeChaos",
                experiment("e6", json!({"timeOffset": "30s"}), "ns/web-0/../../../other"),
            ),
        ];
        let wanted = Wanted::of(&all, &pods(), Timestamp::UNIX_EPOCH);
        assert_eq!(wanted.held, ["u1".to_owned()].into());
        let load = wanted.stresses.values().next().unwrap();
        assert_eq!((load.cpu_workers, load.cpu_percent), (2, 100));
        assert_eq!(load.memory_bytes, 50 << 20, "of the container's limit");
        assert_eq!(
            wanted.clocks.values().copied().collect::<Vec<_>>(),
            [20_000_000_000],
            "offsets add, and no path is a container"
        );
    }
}
