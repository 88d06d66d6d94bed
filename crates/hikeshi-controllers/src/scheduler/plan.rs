//! Which node a pod goes to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::fit::{Amounts, allocatable, attracted, repelled, requests, selects, untolerated};
use super::spread;
use super::wishes::against;
use crate::object::{controller_uid, name_of};
use crate::pods::{is_active, is_finished};

#[derive(Debug)]
pub(super) enum Decision {
    Bind(Arc<Node>),
    /// Nowhere; the message is Kubernetes' own form.
    Unschedulable(String),
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or(&[]);
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .is_some_and(|ready| ready.status == "True")
}

/// What of a node matters to placement: a change of anything else need not wake waiting pods.
pub(super) fn placement_facts(node: &Node) -> impl PartialEq + use<> {
    let spec = node.spec.clone().unwrap_or_default();
    (
        is_ready(node),
        spec.unschedulable,
        spec.taints.map(|t| format!("{t:?}")),
        node.metadata.labels.clone(),
        allocatable(node),
    )
}

fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Why the pod cannot go to the node; `homes` are the nodes where its volumes lie.
fn obstacles(
    pod: &Pod,
    node: &Node,
    nodes: &[Arc<Node>],
    free: &Amounts,
    placed: &[(Arc<Pod>, Arc<Node>)],
    homes: &[String],
) -> Vec<String> {
    if !is_ready(node) {
        return vec!["node(s) were not ready".to_owned()];
    }
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    if let Some(taint) = untolerated(pod, node) {
        if taint.key == "node.kubernetes.io/unschedulable" {
            return vec!["node(s) were unschedulable".to_owned()];
        }
        let value = taint.value.as_deref().unwrap_or_default();
        return vec![format!(
            "node(s) had untolerated taint {{{}: {value}}}",
            taint.key
        )];
    }
    if cordoned {
        return vec!["node(s) were unschedulable".to_owned()];
    }
    if !selects(pod, node) {
        return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
    }
    if homes.iter().any(|home| home != name_of(node)) {
        return vec!["node(s) had volume node affinity conflict".to_owned()];
    }
    let mut lacking: Vec<String> = requests(pod)
        .iter()
        .filter(|(name, amount)| **amount > 0 && **amount > free.get(*name).copied().unwrap_or(0))
        .map(|(name, _)| format!("Insufficient {name}"))
        .collect();
    // Every pod takes one of the node's places.
    if free.get("pods").is_some_and(|places| *places < 1_000) {
        lacking.push("Too many pods".to_owned());
    }
    if !lacking.is_empty() {
        return lacking;
    }
    if let Some(why) = spread::uneven(pod, node, nodes, placed) {
        return vec![why.to_owned()];
    }
    if !attracted(pod, node, placed) {
        return vec!["node(s) didn't match pod affinity rules".to_owned()];
    }
    repelled(pod, node, placed)
        .map(str::to_owned)
        .into_iter()
        .collect()
}

/// Places one pod. `nodes` are in a fixed order (by name), `pods` are all pods of the cluster, `homes` are the nodes
/// where its volumes lie.
pub(super) fn decide(pod: &Pod, nodes: &[Arc<Node>], pods: &[Arc<Pod>], homes: &[String]) -> Decision {
    if nodes.is_empty() {
        return Decision::Unschedulable("no nodes available to schedule pods".to_owned());
    }
    let by_name: HashMap<&str, &Arc<Node>> =
        nodes.iter().map(|node| (name_of(node.as_ref()), node)).collect();
    // A pod that is being stopped still holds its resources.
    let placed: Vec<(Arc<Pod>, Arc<Node>)> = pods
        .iter()
        .filter(|other| !is_finished(other) && other.metadata.uid != pod.metadata.uid)
        .filter_map(|other| Some((other.clone(), (*by_name.get(node_name(other)?)?).clone())))
        .collect();
    let mut free: HashMap<&str, Amounts> = nodes
        .iter()
        .map(|node| (name_of(node.as_ref()), allocatable(node)))
        .collect();
    for (other, at) in &placed {
        if let Some(free) = free.get_mut(name_of(at.as_ref())) {
            for (name, amount) in requests(other) {
                *free.entry(name).or_default() -= amount;
            }
            if let Some(places) = free.get_mut("pods") {
                *places -= 1_000;
            }
        }
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut candidates = Vec::new();
    for node in nodes {
        let free = free.get(name_of(node.as_ref())).cloned().unwrap_or_default();
        let obstacles = obstacles(pod, node, nodes, &free, &placed, homes);
        if obstacles.is_empty() {
            candidates.push((score(pod, node, &free, &placed), node));
        }
        for reason in obstacles {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    // The first of equals: the outcome depends on nothing but the input.
    let best = candidates
        .into_iter()
        .reduce(|best, next| if next.0 < best.0 { next } else { best });
    best.map_or_else(
        || Decision::Unschedulable(message(nodes.len(), &reasons)),
        |(_, node)| Decision::Bind(node.clone()),
    )
}

/// Lower is better: what the pod wishes for, then fewest pods of the same owner on the node, then in its zone, then the least requested share of
/// the node (in thousandths), then fewest pods.
fn score(
    pod: &Pod,
    node: &Node,
    free: &Amounts,
    placed: &[(Arc<Pod>, Arc<Node>)],
) -> (i64, usize, usize, i128, usize) {
    const ZONE: &str = "topology.kubernetes.io/zone";
    let owner = controller_uid(&pod.metadata);
    let kin: Vec<_> = placed
        .iter()
        .filter(|(other, _)| is_active(other) && owner.is_some() && controller_uid(&other.metadata) == owner)
        .collect();
    let here = |at: &Arc<Node>| at.metadata.name == node.metadata.name;
    let all = allocatable(node);
    let wanted = requests(pod);
    let share: i128 = ["cpu", "memory"]
        .iter()
        .map(|name| {
            let total = all.get(*name).copied().unwrap_or(0);
            let used =
                total - free.get(*name).copied().unwrap_or(0) + wanted.get(*name).copied().unwrap_or(0);
            if total > 0 { used * 1_000 / total } else { 0 }
        })
        .sum();
    (
        against(pod, node, placed),
        kin.iter().filter(|(_, at)| here(at)).count(),
        kin.iter()
            .filter(|(_, at)| super::fit::same_domain(node, at, ZONE))
            .count(),
        share,
        placed.iter().filter(|(_, at)| here(at)).count(),
    )
}

fn message(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    let mut parts: Vec<String> = reasons
        .iter()
        .map(|(reason, nodes)| format!("{nodes} {reason}"))
        .collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::testing::{merge, pod};

    fn node(name: &str, extra: Value) -> Arc<Node> {
        let mut base = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name,
            "topology.kubernetes.io/zone": format!("zone-{name}")}}, "spec": {},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}]}});
        merge(&mut base, &extra);
        Arc::new(serde_json::from_value(base).expect("a node"))
    }

    /// A pod without volumes.
    fn decide(pod: &Pod, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Decision {
        super::decide(pod, nodes, pods, &[])
    }

    fn three() -> Vec<Arc<Node>> {
        vec![node("a", json!({})), node("b", json!({})), node("c", json!({}))]
    }

    fn wanting(cpu: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    fn placed(name: &str, at: &str) -> Arc<Pod> {
        Arc::new(pod(
            name,
            "rs",
            &json!({"spec": {"nodeName": at}, "status": {"phase": "Running"}}),
        ))
    }

    fn chosen(decision: Decision) -> String {
        match decision {
            Decision::Bind(node) => name_of(node.as_ref()).to_owned(),
            Decision::Unschedulable(message) => message,
        }
    }

    #[test]
    fn pods_of_one_owner_spread_over_nodes() {
        let new = pod("x", "rs", &json!({}));
        assert_eq!(chosen(decide(&new, &three(), &[])), "a");
        assert_eq!(chosen(decide(&new, &three(), &[placed("1", "a")])), "b");
        assert_eq!(
            chosen(decide(&new, &three(), &[placed("1", "a"), placed("2", "b")])),
            "c"
        );
    }

    #[test]
    fn the_message_names_every_reason_as_kubernetes_does() {
        let nodes = vec![
            node("a", json!({"spec": {"unschedulable": true}})),
            node(
                "b",
                json!({"spec": {"taints": [{"key": "disk", "value": "slow", "effect": "NoSchedule"}]}}),
            ),
            node("c", json!({})),
        ];
        assert_eq!(
            chosen(decide(&pod("x", "rs", &wanting("3")), &nodes, &[])),
            "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {disk: slow}, \
             1 node(s) were unschedulable."
        );
        assert_eq!(
            chosen(decide(&pod("x", "rs", &wanting("3")), &three(), &[])),
            "0/3 nodes are available: 3 Insufficient cpu."
        );
        assert_eq!(
            chosen(decide(&pod("x", "rs", &json!({})), &[], &[])),
            "no nodes available to schedule pods"
        );
    }

    #[test]
    fn tolerations_selectors_and_affinity_are_obeyed() {
        let tainted = vec![node(
            "a",
            json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}}),
        )];
        let tolerating = |toleration: Value| pod("x", "rs", &json!({"spec": {"tolerations": [toleration]}}));
        assert_eq!(
            chosen(decide(&tolerating(json!({"operator": "Exists"})), &tainted, &[])),
            "a"
        );
        assert_eq!(
            chosen(decide(
                &tolerating(json!({"key": "k", "value": "v"})),
                &tainted,
                &[]
            )),
            "a"
        );
        assert!(
            chosen(decide(
                &tolerating(json!({"key": "k", "value": "w"})),
                &tainted,
                &[]
            ))
            .starts_with("0/1")
        );
        let selecting = pod(
            "x",
            "rs",
            &json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "b"}}}),
        );
        assert_eq!(chosen(decide(&selecting, &three(), &[])), "b");
        let by_field = pod(
            "x",
            "rs",
            &json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["c"]}]}]}}}}}),
        );
        assert_eq!(chosen(decide(&by_field, &three(), &[])), "c");
    }

    #[test]
    fn anti_affinity_keeps_pods_apart_from_both_sides() {
        let rule = json!({"spec": {"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app": "web"}}}]}}}});
        let all: Vec<_> = ["a", "b", "c"].iter().map(|n| placed(n, n)).collect();
        assert_eq!(chosen(decide(&pod("x", "rs", &rule), &three(), &all[..2])), "c");
        assert_eq!(
            chosen(decide(&pod("x", "rs", &rule), &three(), &all)),
            "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
        );
        let mut strict = rule;
        merge(
            &mut strict,
            &json!({"spec": {"nodeName": "a"}, "status": {"phase": "Running"}}),
        );
        let shy = vec![Arc::new(pod("shy", "other", &strict))];
        assert_eq!(
            chosen(decide(&pod("x", "rs", &json!({})), &three()[..1], &shy)),
            "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
        );
    }

    #[test]
    fn wishes_weigh_and_forbid_nothing() {
        let term = |key: &str| json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}});
        let apart =
            |weight: i32| json!([{"weight": weight, "podAffinityTerm": term("kubernetes.io/hostname")}]);
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        let rule = json!({"spec": {"affinity": {"podAntiAffinity": {preferred: apart(100)}}}});
        let all: Vec<_> = ["a", "b", "c", "c"]
            .iter()
            .enumerate()
            .map(|(n, at)| placed(&n.to_string(), at))
            .collect();
        // Of another owner: only the wish keeps them apart.
        assert_eq!(
            chosen(decide(&pod("x", "other", &rule), &three(), &all[..1])),
            "b"
        );
        assert_eq!(chosen(decide(&pod("x", "other", &rule), &three(), &all)), "a");
        let near = json!({"spec": {"affinity": {"podAffinity": {preferred: apart(1)}}}});
        assert_eq!(chosen(decide(&pod("x", "other", &near), &three(), &all)), "c");
        let there = json!({"spec": {"affinity": {"nodeAffinity": {preferred: [{"weight": 50, "preference":
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}}]}}}});
        assert_eq!(chosen(decide(&pod("x", "other", &there), &three(), &all)), "b");
    }

    #[test]
    fn a_node_that_is_not_ready_or_is_full_is_passed_over() {
        let nodes = vec![
            node(
                "a",
                json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
            ),
            node("b", json!({"status": {"allocatable": {"pods": "1"}}})),
        ];
        assert_eq!(
            chosen(decide(&pod("x", "rs", &json!({})), &nodes, &[placed("1", "b")])),
            "0/2 nodes are available: 1 Too many pods, 1 node(s) were not ready."
        );
    }

    #[test]
    fn a_pod_goes_where_its_volumes_lie() {
        let one = pod("x", "rs", &json!({}));
        let home = |name: &str| [name.to_owned()];
        assert_eq!(chosen(super::decide(&one, &three(), &[], &home("c"))), "c");
        assert_eq!(
            chosen(super::decide(&one, &three(), &[], &home("lost"))),
            "0/3 nodes are available: 3 node(s) had volume node affinity conflict."
        );
    }
}
