//! The status that an experiment should have, and what to do about it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hikeshi_chaos::annotations::{LEASE_UNTIL, PAUSE};
use hikeshi_chaos::quantity;
use hikeshi_chaos::status::{self, is_injected, records, set_condition, settle, text};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::lifecycle::{is_one_shot, was_hit};
use super::selector;
use crate::object::{annotation, created, name_of};
use crate::runtime::EventType;

/// The selector keys of the records.
const SELECTED: &str = ".";
const TARGET: &str = ".Target";
/// Held by every experiment until all that it did is undone.
const FINALIZER: &str = "chaos-mesh/records";

/// Whether a pod of this namespace and name, if missing, will be made again under the same name.
type ComesBack<'a> = Box<dyn Fn(&str, &str) -> bool + Send + Sync + 'a>;

/// What an experiment's plan is made from.
pub(super) struct Observed<'a> {
    pub kind: &'static str,
    pub object: &'a DynamicObject,
    /// Every pod of the cluster.
    pub pods: Vec<Arc<Pod>>,
    pub nodes: HashMap<String, Arc<Node>>,
    pub comes_back: ComesBack<'a>,
    pub now: Timestamp,
}

#[derive(Debug)]
pub(super) struct Plan {
    /// The finalizers to set, when they must change. Nothing else is done before.
    pub finalizers: Option<Vec<String>>,
    /// Pods to kill.
    pub kill: Vec<Victim>,
    pub status: Value,
    pub events: Vec<(EventType, &'static str, String)>,
    /// When the duration is over.
    pub recheck: Option<Duration>,
}

/// A pod that a pod-kill has chosen: this very one, not whoever has its name later.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Victim {
    /// `NS/POD`.
    pub id: String,
    pub uid: String,
}

/// In a record of a pod-kill: the uid of the pod that was chosen.
const UID: &str = "uid";

/// How an experiment is carried out.
#[derive(Debug, Clone, Copy)]
struct Manner {
    /// Here, by deleting pods. The node carries out every other, and tells it in the records.
    here: bool,
    /// Whom it hits is decided once: it does something to them and is done. As in Chaos Mesh it knows neither duration
    /// nor pause: what is done is neither lifted nor done again.
    once: bool,
    /// Its records are of containers.
    containers: bool,
}

impl Manner {
    fn of(kind: &str, spec: &Value) -> Self {
        let action = match kind {
            "PodChaos" => text(spec, "action"),
            _ => "",
        };
        Self {
            here: action == "pod-kill",
            once: is_one_shot(kind, spec),
            containers: action == "container-kill" || matches!(kind, "StressChaos" | "TimeChaos"),
        }
    }
}

fn problems(observed: &Observed<'_>, spec: &Value) -> Vec<String> {
    let annotations = &observed.object.metadata.annotations;
    let object = json!({"metadata": {"annotations": annotations}, "spec": spec});
    let found = hikeshi_chaos::problems(observed.kind, &object);
    found.iter().map(ToString::to_string).collect()
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let object = observed.object;
    let before = object.data.get("status").cloned().unwrap_or_else(|| json!({}));
    let none = Value::Null;
    let spec = object.data.get("spec").unwrap_or(&none);
    let finalizers = object.metadata.finalizers.clone().unwrap_or_default();
    let held = finalizers.iter().any(|name| name == FINALIZER);
    let leaving = object.metadata.deletion_timestamp.is_some();
    let mut plan = Plan {
        finalizers: None,
        kill: Vec::new(),
        status: before.clone(),
        events: Vec::new(),
        recheck: None,
    };
    if !leaving && !held {
        plan.finalizers = Some(finalizers.into_iter().chain([FINALIZER.to_owned()]).collect());
        return plan;
    }

    let problems = problems(observed, spec);
    let manner = Manner::of(observed.kind, spec);
    let done = manner.once && records(&before).iter().any(was_hit);
    let paused = annotation(&object.metadata, PAUSE) == Some("true");
    let limit = spec
        .get("duration")
        .and_then(Value::as_str)
        .and_then(|text| quantity::duration(text).ok())
        .filter(|_| !manner.once);
    let age = Duration::try_from(observed.now.duration_since(created(&object.metadata))).unwrap_or_default();
    let lease = annotation(&object.metadata, LEASE_UNTIL).and_then(|text| text.parse::<Timestamp>().ok());
    let lease = lease.map(|until| Duration::try_from(until.duration_since(observed.now)).unwrap_or_default());
    let left = limit
        .map(|limit| limit.saturating_sub(age))
        .into_iter()
        .chain(lease.filter(|_| !done))
        .min();
    let expired = left.is_some_and(|left| left.is_zero());
    let halted = paused && !manner.once;
    let run = problems.is_empty() && !halted && !expired && !leaving;
    let now = format!("{:.0}", observed.now);

    let mut kept: Vec<Value> = records(&before).to_vec();
    if run && manner.once {
        kept.retain(|record| was_hit(record) || can_be_hit(observed, manner, record));
    }
    let fresh = kept.is_empty();
    if run && (!manner.once || fresh) {
        kept = resolve(observed, spec, manner, &kept);
    }
    if !run {
        undo_vanished(observed, &mut kept, &now);
    }
    // Whom a pod-kill has chosen is written before the first of them is killed.
    if manner.here && !(run && fresh) {
        if run {
            let alive = kept.iter().filter(|record| !is_injected(record));
            plan.kill = alive
                .map(|record| Victim {
                    id: text(record, "id").to_owned(),
                    uid: text(record, UID).to_owned(),
                })
                .collect();
        }
        kept.iter_mut().for_each(|record| settle(record, run, &now));
    }
    if leaving && held && !kept.iter().any(is_injected) {
        plan.finalizers = Some(finalizers.into_iter().filter(|name| name != FINALIZER).collect());
        return plan;
    }

    let mut conditions = before
        .get("conditions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let has = |key: &str| kept.iter().any(|record| text(record, "selectorKey") == key);
    let nobody = if !has(SELECTED) {
        "no pod is selected"
    } else if spec.get("target").is_some_and(Value::is_object) && !has(TARGET) {
        "spec.target selects no pod"
    } else {
        ""
    };
    let selected = nobody.is_empty();
    set_condition(&mut conditions, "Selected", selected, nobody);
    set_condition(&mut conditions, "Paused", paused, "");
    let refusal = problems.join("; ");
    let refused_before = conditions
        .iter()
        .any(|c| text(c, "type") == "Supported" && text(c, "reason") == refusal);
    if problems.is_empty() {
        conditions.retain(|condition| text(condition, "type") != "Supported");
    } else {
        set_condition(&mut conditions, "Supported", false, &refusal);
        if !refused_before {
            plan.events.push((EventType::Warning, "Unsupported", refusal));
        }
    }
    if manner.here {
        let all = selected && kept.iter().all(is_injected);
        set_condition(&mut conditions, "AllInjected", all, "");
        let none = selected && !kept.iter().any(is_injected);
        set_condition(&mut conditions, "AllRecovered", none, "");
    }
    let desired = if run { "Run" } else { "Stop" };
    let was = before.pointer("/experiment/desiredPhase").and_then(Value::as_str);
    if run && was != Some(desired) && selected {
        let what = if manner.containers {
            "container(s)"
        } else {
            "pod(s)"
        };
        plan.events.push((
            EventType::Normal,
            "Started",
            format!("{} {what} selected", kept.len()),
        ));
    }
    if run && !selected && was != Some(desired) {
        plan.events
            .push((EventType::Warning, "Failed", nobody.to_owned()));
    }
    if expired && was == Some("Run") {
        plan.events.push((
            EventType::Normal,
            "TimeUp",
            "Time up according to the duration".to_owned(),
        ));
    }
    plan.status = merged(before, desired, kept, conditions);
    if run {
        plan.recheck = left;
    }
    plan
}

fn merged(mut status: Value, desired: &str, records: Vec<Value>, conditions: Vec<Value>) -> Value {
    if !status.is_object() {
        status = json!({});
    }
    if !status["experiment"].is_object() {
        status["experiment"] = json!({});
    }
    status["experiment"]["desiredPhase"] = json!(desired);
    status["experiment"]["containerRecords"] = Value::Array(records);
    status["conditions"] = Value::Array(conditions);
    status
}

/// The records of whom the experiment hits now; whoever is still hit keeps its record as it is.
fn resolve(observed: &Observed<'_>, spec: &Value, manner: Manner, known: &[Value]) -> Vec<Value> {
    let seed = observed.object.metadata.uid.as_deref().unwrap_or_default();
    let own_namespace = observed.object.metadata.namespace.as_deref().unwrap_or_default();
    let live: Vec<Arc<Pod>> = observed
        .pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .cloned()
        .collect();
    let mut found = Vec::new();
    let target = spec.get("target").filter(|target| target.is_object());
    for (key, part) in [(SELECTED, Some(spec)), (TARGET, target)] {
        let Some(part) = part else { continue };
        let mine: Vec<&Value> = known.iter().filter(|r| text(r, "selectorKey") == key).collect();
        let mut kept: Vec<String> = mine.iter().map(|r| pod_id(text(r, "id"))).collect();
        kept.dedup();
        let mut candidates = selector::candidates(part, own_namespace, &live, &observed.nodes);
        // A pod of a StatefulSet that is being made again stays selected while it is away.
        for id in &kept {
            let (namespace, name, _) = status::parts(id);
            let away = !live.iter().any(|pod| is(pod, id));
            if away && !candidates.contains(id) && (observed.comes_back)(namespace, name) {
                candidates.push(id.clone());
            }
        }
        candidates.sort();
        for pod in selector::choose(part, candidates, &kept, &format!("{seed}{key}")) {
            let ids = match live.iter().find(|one| is(one, &pod)) {
                Some(one) if manner.containers => containers(one, spec, &pod),
                None if manner.containers => {
                    let ids = mine.iter().map(|r| text(r, "id"));
                    ids.filter(|id| pod_id(id) == pod).map(str::to_owned).collect()
                }
                _ => vec![pod],
            };
            for id in ids {
                let same = mine.iter().find(|r| text(r, "id") == id);
                let mut record = same.map_or_else(|| status::record(&id, key), |r| (*r).clone());
                if manner.here {
                    let uid = live.iter().find(|one| is(one, &id)).and_then(|one| one.uid());
                    record[UID] = json!(uid);
                }
                found.push(record);
            }
        }
    }
    found
}

/// The pod of a record's id, which may be a container's.
fn pod_id(id: &str) -> String {
    let (namespace, pod, _) = status::parts(id);
    format!("{namespace}/{pod}")
}

/// The ids of a pod's containers that `spec.containerNames` names; without names, of the first, as in Chaos Mesh.
fn containers(pod: &Pod, spec: &Value, id: &str) -> Vec<String> {
    let of_pod = pod.spec.iter().flat_map(|spec| &spec.containers);
    let names = spec.get("containerNames").and_then(Value::as_array);
    match names.filter(|names| !names.is_empty()) {
        Some(names) => of_pod
            .filter(|container| names.iter().any(|name| *name == container.name.as_str()))
            .map(|container| format!("{id}/{}", container.name))
            .collect(),
        None => of_pod
            .take(1)
            .map(|container| format!("{id}/{}", container.name))
            .collect(),
    }
}

fn is(pod: &Pod, id: &str) -> bool {
    let (namespace, name, _) = status::parts(id);
    pod.metadata.namespace.as_deref() == Some(namespace) && name_of(pod) == name
}

/// Whether there is still somebody to hit, or will be: a record of somebody else's would stay open forever.
fn can_be_hit(observed: &Observed<'_>, manner: Manner, record: &Value) -> bool {
    let id = text(record, "id");
    let (namespace, name, _) = status::parts(id);
    if manner.here {
        // If the chosen pod is gone, it was killed by a run whose word was not written.
        !text(record, UID).is_empty()
    } else {
        observed.pods.iter().any(|pod| is(pod, id)) || (observed.comes_back)(namespace, name)
    }
}

/// Nothing is left to undo on a pod that is gone: without this a deleted experiment could wait for it forever.
fn undo_vanished(observed: &Observed<'_>, records: &mut [Value], now: &str) {
    for record in records {
        let gone = !observed.pods.iter().any(|pod| is(pod, text(record, "id")));
        if gone {
            settle(record, false, now);
        }
    }
}

#[cfg(test)]
mod tests;
