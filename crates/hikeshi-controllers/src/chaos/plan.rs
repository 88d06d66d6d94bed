//! The status that an experiment should have, and what to do about it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{duration, selector, spec};
use crate::object::{annotation, created, name_of};
use crate::runtime::EventType;

/// Held by every experiment until all that it did is undone.
const FINALIZER: &str = "chaos-mesh/records";
const PAUSE: &str = "experiment.chaos-mesh.org/pause";
const NOT_INJECTED: &str = "Not Injected";
const INJECTED: &str = "Injected";

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
    /// Ids of pods to kill.
    pub kill: Vec<String>,
    pub status: Value,
    pub events: Vec<(EventType, &'static str, String)>,
    /// When the duration is over.
    pub recheck: Option<Duration>,
}

fn records(status: &Value) -> &[Value] {
    status
        .pointer("/experiment/containerRecords")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn is_injected(record: &Value) -> bool {
    text(record, "phase") == INJECTED
}

fn split_id(id: &str) -> (&str, &str) {
    id.split_once('/').unwrap_or(("", id))
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

    let problems = spec::problems(observed.kind, spec);
    let paused = annotation(&object.metadata, PAUSE) == Some("true");
    let limit = spec
        .get("duration")
        .and_then(Value::as_str)
        .and_then(duration::parse);
    let age = Duration::try_from(observed.now.duration_since(created(&object.metadata))).unwrap_or_default();
    let expired = limit.is_some_and(|limit| age >= limit);
    let run = problems.is_empty() && !paused && !expired && !leaving;
    let once = observed.kind == "PodChaos";

    let mut kept: Vec<Value> = records(&before).to_vec();
    if run && (!once || kept.is_empty()) {
        kept = resolve(observed, spec, &kept);
    }
    if !run {
        undo_vanished(observed, &mut kept);
    }
    if once {
        if run {
            plan.kill = kept
                .iter()
                .filter(|record| !is_injected(record))
                .map(|r| text(r, "id").to_owned())
                .collect();
        }
        kept.iter_mut()
            .for_each(|record| move_to(record, if run { INJECTED } else { NOT_INJECTED }));
    }
    if leaving && held && kept.iter().all(|record| text(record, "phase") == NOT_INJECTED) {
        plan.finalizers = Some(finalizers.into_iter().filter(|name| name != FINALIZER).collect());
        return plan;
    }

    let mut conditions = before
        .get("conditions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let selected = !kept.is_empty();
    set(
        &mut conditions,
        "Selected",
        selected,
        if selected { "" } else { "no pod is selected" },
    );
    set(&mut conditions, "Paused", paused, "");
    let refusal = problems.join("; ");
    let refused_before = conditions
        .iter()
        .any(|c| text(c, "type") == "Supported" && text(c, "reason") == refusal);
    if problems.is_empty() {
        conditions.retain(|condition| text(condition, "type") != "Supported");
    } else {
        set(&mut conditions, "Supported", false, &refusal);
        if !refused_before {
            plan.events.push((EventType::Warning, "Unsupported", refusal));
        }
    }
    if once {
        set(
            &mut conditions,
            "AllInjected",
            selected && kept.iter().all(is_injected),
            "",
        );
        set(
            &mut conditions,
            "AllRecovered",
            selected && !kept.iter().any(is_injected),
            "",
        );
    }
    let desired = if run { "Run" } else { "Stop" };
    let was = before.pointer("/experiment/desiredPhase").and_then(Value::as_str);
    if run && was != Some(desired) && selected {
        plan.events.push((
            EventType::Normal,
            "Started",
            format!("{} pod(s) selected", kept.len()),
        ));
    }
    if run && !selected && was != Some(desired) {
        plan.events
            .push((EventType::Warning, "Failed", "no pod is selected".to_owned()));
    }
    if expired && was == Some("Run") {
        plan.events.push((
            EventType::Normal,
            "TimeUp",
            "Time up according to the duration".to_owned(),
        ));
    }
    plan.status = merged(before, desired, kept, conditions);
    if run && let Some(limit) = limit {
        plan.recheck = Some(limit.saturating_sub(age));
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
fn resolve(observed: &Observed<'_>, spec: &Value, known: &[Value]) -> Vec<Value> {
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
    for (key, part) in [(".", Some(spec)), (".Target", target)] {
        let Some(part) = part else { continue };
        let kept: Vec<String> = known
            .iter()
            .filter(|r| text(r, "selectorKey") == key)
            .map(|r| text(r, "id").to_owned())
            .collect();
        let mut candidates = selector::candidates(part, own_namespace, &live, &observed.nodes);
        // A pod of a StatefulSet that is being made again stays selected while it is away.
        for id in &kept {
            let (namespace, name) = split_id(id);
            let away = !live.iter().any(|pod| is(pod, id));
            if away && !candidates.contains(id) && (observed.comes_back)(namespace, name) {
                candidates.push(id.clone());
            }
        }
        candidates.sort();
        for id in selector::choose(part, candidates, &kept, &format!("{seed}{key}")) {
            let same = known
                .iter()
                .find(|r| text(r, "selectorKey") == key && text(r, "id") == id);
            found.push(same.cloned().unwrap_or_else(|| {
                json!({"id": id, "selectorKey": key, "phase": NOT_INJECTED, "injectedCount": 0, "recoveredCount": 0})
            }));
        }
    }
    found
}

fn is(pod: &Pod, id: &str) -> bool {
    let (namespace, name) = split_id(id);
    pod.metadata.namespace.as_deref() == Some(namespace) && name_of(pod) == name
}

/// Nothing is left to undo on a pod that is gone: without this a deleted experiment could wait for it forever.
fn undo_vanished(observed: &Observed<'_>, records: &mut [Value]) {
    for record in records {
        let gone = !observed.pods.iter().any(|pod| is(pod, text(record, "id")));
        if gone {
            move_to(record, NOT_INJECTED);
        }
    }
}

fn move_to(record: &mut Value, phase: &str) {
    if text(record, "phase") == phase {
        return;
    }
    record["phase"] = json!(phase);
    let counter = if phase == INJECTED {
        "injectedCount"
    } else {
        "recoveredCount"
    };
    let count = record.get(counter).and_then(Value::as_i64).unwrap_or(0);
    record[counter] = json!(count + 1);
}

fn set(conditions: &mut Vec<Value>, type_: &str, status: bool, reason: &str) {
    let mut next = json!({"type": type_, "status": if status { "True" } else { "False" }});
    if !reason.is_empty() {
        next["reason"] = json!(reason);
    }
    match conditions
        .iter_mut()
        .find(|condition| text(condition, "type") == type_)
    {
        Some(condition) => *condition = next,
        None => conditions.push(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::testing::{merge, pod};

    fn experiment(extra: Value) -> DynamicObject {
        let mut base = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "NetworkChaos", "metadata": {
            "namespace": "ns", "name": "slow", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": [FINALIZER]},
            "spec": {"action": "delay", "mode": "all", "selector": {"labelSelectors": {"app": "web"}}, "duration": "40s"}});
        merge(&mut base, &extra);
        serde_json::from_value(base).expect("an object")
    }

    fn at(object: &DynamicObject, pods: &[&str], seconds: i64) -> Plan {
        kind_at("NetworkChaos", object, pods, seconds)
    }

    fn kind_at(kind: &'static str, object: &DynamicObject, pods: &[&str], seconds: i64) -> Plan {
        plan(&Observed {
            kind,
            object,
            pods: pods
                .iter()
                .map(|name| Arc::new(pod(name, "o", &json!({}))))
                .collect(),
            nodes: HashMap::new(),
            comes_back: Box::new(|_, name| name == "web-0"),
            now: created(&object.metadata) + jiff::SignedDuration::from_secs(seconds),
        })
    }

    fn ids(plan: &Plan) -> Vec<&str> {
        records(&plan.status).iter().map(|r| text(r, "id")).collect()
    }

    fn phase(plan: &Plan) -> &Value {
        &plan.status["experiment"]["desiredPhase"]
    }

    fn with_status(object: &DynamicObject, status: &Value) -> DynamicObject {
        let mut object = object.clone();
        object.data["status"] = status.clone();
        object
    }

    #[test]
    fn the_finalizer_comes_first() {
        let mut bare = experiment(json!({}));
        bare.metadata.finalizers = None;
        assert_eq!(
            at(&bare, &["web-0"], 1).finalizers,
            Some(vec![FINALIZER.to_owned()])
        );
    }

    #[test]
    fn runs_until_its_duration_is_over() {
        let object = experiment(json!({}));
        let running = at(&object, &["web-0", "web-1"], 10);
        assert_eq!(
            (phase(&running), ids(&running)),
            (&json!("Run"), vec!["ns/web-0", "ns/web-1"])
        );
        assert_eq!(running.recheck, Some(Duration::from_secs(30)));
        assert_eq!(
            records(&running.status)[0],
            json!({"id": "ns/web-0", "selectorKey": ".", "phase": "Not Injected",
            "injectedCount": 0, "recoveredCount": 0})
        );
        let over = at(&with_status(&object, &running.status), &["web-0", "web-1"], 40);
        assert_eq!((phase(&over), over.recheck), (&json!("Stop"), None));
        let again = at(&with_status(&object, &over.status), &["web-0", "web-1"], 41);
        assert_eq!(again.status, over.status, "settled: nothing to write");
        assert!(again.events.is_empty());
    }

    #[test]
    fn a_replaced_pod_joins_and_a_known_one_keeps_its_record() {
        let object = experiment(json!({}));
        let mut status = at(&object, &["web-0", "web-x"], 1).status;
        status["experiment"]["containerRecords"][0]["phase"] = json!(INJECTED);
        let next = at(&with_status(&object, &status), &["web-y"], 2);
        assert_eq!(
            ids(&next),
            ["ns/web-0", "ns/web-y"],
            "web-0 will be back, web-x will not"
        );
        assert!(is_injected(&records(&next.status)[0]));
    }

    #[test]
    fn deletion_waits_for_recovery() {
        let object = experiment(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:05Z"}}));
        let injected = |phase: &str| {
            json!({"experiment": {"desiredPhase": "Run", "containerRecords":
                [{"id": "ns/web-0", "selectorKey": ".", "phase": phase, "injectedCount": 1, "recoveredCount": 0}]}})
        };
        let waiting = at(&with_status(&object, &injected(INJECTED)), &["web-0"], 6);
        assert_eq!(
            (waiting.finalizers.is_none(), phase(&waiting)),
            (true, &json!("Stop"))
        );
        let recovered = at(&with_status(&object, &injected(NOT_INJECTED)), &["web-0"], 6);
        assert_eq!(recovered.finalizers, Some(vec![]));
        let vanished = at(&with_status(&object, &injected(INJECTED)), &[], 6);
        assert_eq!(
            vanished.finalizers,
            Some(vec![]),
            "nothing to undo on a pod that is gone"
        );
    }

    #[test]
    fn pause_stops_and_unpausing_goes_on() {
        let paused = experiment(json!({"metadata": {"annotations": {PAUSE: "true"}}}));
        let plan = at(&paused, &["web-0"], 1);
        assert_eq!(phase(&plan), "Stop");
        let conditions = plan.status["conditions"].as_array().expect("conditions");
        assert!(conditions.contains(&json!({"type": "Paused", "status": "True"})));
        assert_eq!(
            phase(&at(
                &with_status(&experiment(json!({})), &plan.status),
                &["web-0"],
                2
            )),
            "Run"
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_said_and_not_run() {
        let object = experiment(json!({"spec": {"device": "eth0"}}));
        let refused = at(&object, &["web-0"], 1);
        assert_eq!(phase(&refused), "Stop");
        assert_eq!(
            refused.events,
            [(
                EventType::Warning,
                "Unsupported",
                "spec.device is not supported".to_owned()
            )]
        );
        assert!(
            at(&with_status(&object, &refused.status), &["web-0"], 2)
                .events
                .is_empty(),
            "said once"
        );
    }

    #[test]
    fn a_partition_has_records_of_both_sides() {
        let object = experiment(json!({"spec": {"action": "partition", "mode": "one",
            "target": {"mode": "all", "selector": {"labelSelectors": {"app": "web"}}}}}));
        let plan = at(&object, &["web-0", "web-1"], 1);
        let keys: Vec<_> = records(&plan.status)
            .iter()
            .map(|r| text(r, "selectorKey"))
            .collect();
        assert_eq!(keys, [".", ".Target", ".Target"]);
    }

    #[test]
    fn a_pod_is_killed_once() {
        let mut object = experiment(json!({}));
        object.data["spec"] = json!({"action": "pod-kill", "mode": "all", "selector": {}});
        let first = kind_at("PodChaos", &object, &["web-0"], 1);
        assert_eq!(first.kill, ["ns/web-0"]);
        let after = kind_at(
            "PodChaos",
            &with_status(&object, &first.status),
            &["web-0", "web-9"],
            2,
        );
        assert!(after.kill.is_empty(), "neither again nor another");
        assert_eq!(after.status, first.status);
    }
}
