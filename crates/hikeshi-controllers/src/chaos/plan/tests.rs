use hikeshi_chaos::status::{INJECTED, NOT_INJECTED};

use super::*;
use crate::pods::testing::{merge, pod};

fn experiment(extra: Value) -> DynamicObject {
    let mut base = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "NetworkChaos", "metadata": {
        "namespace": "ns", "name": "slow", "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": [FINALIZER]},
        "spec": {"action": "delay", "delay": {"latency": "1s"}, "mode": "all", "selector": {"labelSelectors": {"app": "web"}}, "duration": "40s"}});
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
fn a_target_that_selects_nobody_is_told() {
    let target = |app: &str| {
        let target = json!({"mode": "all", "selector": {"labelSelectors": {"app": app}}});
        let plan = at(&experiment(json!({"spec": {"target": target}})), &["web-0"], 1);
        let conditions = plan.status["conditions"].as_array().expect("a list").clone();
        let found = conditions.into_iter().find(|one| text(one, "type") == "Selected");
        found.expect("a condition")
    };
    let nobody = target("redis");
    assert_eq!(
        (text(&nobody, "status"), text(&nobody, "reason")),
        ("False", "spec.target selects no pod")
    );
    assert_eq!(text(&target("web"), "status"), "True");
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
            "spec.device: cannot be honoured: a pod's connections are relayed; it has no network card to choose".to_owned()
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
    let object = experiment(
        json!({"spec": {"action": "partition", "delay": null, "mode": "one",
        "target": {"mode": "all", "selector": {"labelSelectors": {"app": "web"}}}}}),
    );
    let plan = at(&object, &["web-0", "web-1"], 1);
    let keys: Vec<_> = records(&plan.status)
        .iter()
        .map(|r| text(r, "selectorKey"))
        .collect();
    assert_eq!(keys, [".", ".Target", ".Target"]);
}

fn kills(extra: Value) -> DynamicObject {
    let mut object = experiment(json!({"metadata": extra}));
    object.data["spec"] = json!({"action": "pod-kill", "mode": "all", "selector": {}});
    object
}

#[test]
fn a_pod_is_killed_once_when_its_choice_is_written() {
    let object = kills(json!({}));
    let first = kind_at("PodChaos", &object, &["web-0"], 1);
    assert!(first.kill.is_empty(), "chosen first");
    let uid = pod("web-0", "o", &json!({})).metadata.uid.expect("a uid");
    assert_eq!(records(&first.status)[0][UID], uid.as_str());
    let chosen = with_status(&object, &first.status);
    let second = kind_at("PodChaos", &chosen, &["web-0", "web-9"], 2);
    let id = "ns/web-0".to_owned();
    assert_eq!(second.kill, [Victim { id, uid }]);
    let after = kind_at(
        "PodChaos",
        &with_status(&object, &second.status),
        &["web-0", "web-9"],
        3,
    );
    assert!(after.kill.is_empty(), "neither again nor another");
    assert_eq!(after.status, second.status);
    assert!(super::super::lifecycle::holds(
        &with_status(&object, &after.status),
        "AllInjected"
    ));
}

#[test]
fn who_comes_late_is_killed_too() {
    let object = kills(json!({}));
    let nobody = kind_at("PodChaos", &object, &[], 1);
    assert!(records(&nobody.status).is_empty());
    let chosen = kind_at("PodChaos", &with_status(&object, &nobody.status), &["web-0"], 60);
    let killed = kind_at("PodChaos", &with_status(&object, &chosen.status), &["web-0"], 61);
    assert_eq!(killed.kill.len(), 1);
}

#[test]
fn what_is_done_once_knows_neither_duration_nor_pause() {
    for action in ["pod-kill", "container-kill"] {
        let mut object = kills(json!({"annotations": {PAUSE: "true"}}));
        object.data["spec"]["action"] = json!(action);
        object.data["spec"]["duration"] = json!("10s");
        if action == "container-kill" {
            object.data["spec"]["containerNames"] = json!(["a"]);
        }
        let id = if action == "pod-kill" {
            "ns/web-0"
        } else {
            "ns/web-0/a"
        };
        let hit = json!({"experiment": {"desiredPhase": "Run", "containerRecords": [
            {"id": id, "selectorKey": ".", "phase": INJECTED, "injectedCount": 1, "recoveredCount": 0, "uid": "x"}]}});
        let later = kind_at("PodChaos", &with_status(&object, &hit), &[], 60);
        assert_eq!((phase(&later), later.recheck), (&json!("Run"), None), "{action}");
        assert!(is_injected(&records(&later.status)[0]), "{action}");
        object.metadata.deletion_timestamp = Some(crate::object::time(created(&object.metadata)));
        let leaving = kind_at("PodChaos", &with_status(&object, &hit), &[], 61);
        assert_eq!(leaving.finalizers, Some(vec![]), "{action}");
    }
}

#[test]
fn a_container_that_went_before_it_was_killed_is_chosen_anew() {
    let mut object = kills(json!({}));
    object.data["spec"] =
        json!({"action": "container-kill", "mode": "all", "selector": {}, "containerNames": ["a"]});
    let gone = json!({"experiment": {"desiredPhase": "Run", "containerRecords": [status::record("ns/gone/a", ".")]}});
    let two = json!({"spec": {"containers": [{"name": "a"}]}});
    let anew = plan(&Observed {
        kind: "PodChaos",
        object: &with_status(&object, &gone),
        pods: vec![Arc::new(pod("web-1", "o", &two))],
        nodes: HashMap::new(),
        comes_back: Box::new(|_, _| false),
        now: created(&object.metadata),
    });
    assert_eq!(ids(&anew), ["ns/web-1/a"]);
}

#[test]
fn a_fault_of_containers_has_a_record_of_each() {
    let mut object = experiment(json!({}));
    let stress = |names: Value| json!({"mode": "all", "selector": {}, "containerNames": names, "stressors": {"cpu": {"workers": 1}}});
    let two = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    let observed = |object: &DynamicObject| {
        plan(&Observed {
            kind: "StressChaos",
            object,
            pods: vec![Arc::new(pod("web-0", "o", &two))],
            nodes: HashMap::new(),
            comes_back: Box::new(|_, _| false),
            now: created(&object.metadata),
        })
    };
    object.data["spec"] = stress(json!(["b", "c"]));
    assert_eq!(ids(&observed(&object)), ["ns/web-0/b"]);
    object.data["spec"] = stress(Value::Null);
    let first = observed(&object);
    assert_eq!(ids(&first), ["ns/web-0/a"], "the first, as in Chaos Mesh");
    assert_eq!(
        first.status["experiment"]["containerRecords"][0]["phase"], NOT_INJECTED,
        "the node does it"
    );
    let mut status = first.status;
    status["experiment"]["containerRecords"][0]["phase"] = json!(INJECTED);
    let again = observed(&with_status(&object, &status));
    assert!(is_injected(&records(&again.status)[0]), "a known record stays");
}

#[test]
fn a_lease_that_nobody_renews_ends_a_fault_before_its_duration() {
    let until = json!({"metadata": {"annotations": {LEASE_UNTIL: "2026-01-01T00:00:15Z"}}});
    let object = experiment(until);
    let running = at(&object, &["web-0"], 10);
    assert_eq!(
        (phase(&running), running.recheck),
        (&json!("Run"), Some(Duration::from_secs(5)))
    );
    assert_eq!(
        phase(&at(&with_status(&object, &running.status), &["web-0"], 15)),
        "Stop"
    );
}
