//! `topologySpreadConstraints`: how evenly pods must be spread over the domains of a label of their nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, TopologySpreadConstraint};

use super::fit::{selects, untolerated};
use crate::pods::is_terminating;
use crate::selector::matches;

/// The two ways in which a node can be wrong, as Kubernetes words them.
const UNEVEN: &str = "node(s) didn't match pod topology spread constraints";
const UNLABELLED: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// The constraints that forbid (`DoNotSchedule`). The others only wish, and pods of one owner are spread anyway.
fn hard(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let constraints = pod
        .spec
        .iter()
        .flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
    constraints.filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
}

fn domain<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Whether a node's pods count: by default if the pod may go there by its selectors, whatever the taints.
fn counts(constraint: &TopologySpreadConstraint, pod: &Pod, node: &Node) -> bool {
    let affinity = constraint.node_affinity_policy.as_deref() == Some("Ignore") || selects(pod, node);
    let taints =
        constraint.node_taints_policy.as_deref() != Some("Honor") || untolerated(pod, node).is_none();
    affinity && taints
}

/// Whether another pod (or the pod itself) is one of those to be spread.
fn is_meant(constraint: &TopologySpreadConstraint, pod: &Pod, other: &Pod) -> bool {
    let labels = other.metadata.labels.as_ref();
    let selected = constraint
        .label_selector
        .as_ref()
        .is_some_and(|selector| matches(selector, labels));
    let value = |of: &Pod, key: &String| of.metadata.labels.as_ref().and_then(|all| all.get(key).cloned());
    // Keys that the pod itself lacks are left out, as in Kubernetes.
    selected
        && constraint
            .match_label_keys
            .iter()
            .flatten()
            .all(|key| value(pod, key).is_none_or(|wanted| value(other, key) == Some(wanted)))
}

/// Why the pod cannot go to `node`. `nodes` are all of the cluster, `placed` all pods that are bound, with their nodes.
pub(super) fn uneven(
    pod: &Pod,
    node: &Node,
    nodes: &[Arc<Node>],
    placed: &[(Arc<Pod>, Arc<Node>)],
) -> Option<&'static str> {
    for constraint in hard(pod) {
        let key = &constraint.topology_key;
        let Some(here) = domain(node, key) else {
            return Some(UNLABELLED);
        };
        let mut domains: BTreeMap<&str, i32> = nodes
            .iter()
            .filter(|one| counts(constraint, pod, one))
            .filter_map(|one| Some((domain(one, key)?, 0)))
            .collect();
        for (other, at) in placed {
            if other.metadata.namespace == pod.metadata.namespace
                && !is_terminating(other)
                && is_meant(constraint, pod, other)
                && counts(constraint, pod, at)
                && let Some(count) = domain(at, key).and_then(|at| domains.get_mut(at))
            {
                *count += 1;
            }
        }
        // Fewer domains than there should be: the missing ones are empty.
        let wanted = constraint.min_domains.unwrap_or(1);
        let least = match domains.values().min() {
            Some(least) if crate::object::count(domains.len()) >= wanted => *least,
            _ => 0,
        };
        let itself = i32::from(is_meant(constraint, pod, pod));
        let there = domains.get(here).copied().unwrap_or(0);
        if there + itself - least > constraint.max_skew {
            return Some(UNEVEN);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::testing::{merge, pod};

    fn node(name: &str, zone: Option<&str>) -> Arc<Node> {
        let labels = zone.map_or(json!({}), |zone| json!({"zone": zone}));
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).expect("a node"),
        )
    }

    fn spread(extra: &Value) -> Pod {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        merge(&mut constraint, extra);
        pod(
            "new",
            "rs",
            &json!({"spec": {"topologySpreadConstraints": [constraint]}}),
        )
    }

    /// Pods of the same app on these nodes.
    fn on(nodes: &[&Arc<Node>]) -> Vec<(Arc<Pod>, Arc<Node>)> {
        let one = |(n, node): (usize, &&Arc<Node>)| {
            (
                Arc::new(pod(&format!("web-{n}"), "rs", &json!({}))),
                Arc::clone(node),
            )
        };
        nodes.iter().enumerate().map(one).collect()
    }

    #[test]
    fn a_domain_is_never_ahead_by_more_than_the_skew() {
        let (a, b, c) = (node("a", Some("1")), node("b", Some("1")), node("c", Some("2")));
        let nodes = [a.clone(), b.clone(), c.clone()];
        let strict = spread(&json!({}));
        assert_eq!(uneven(&strict, &a, &nodes, &[]), None);
        let one = on(&[&a]);
        assert_eq!(
            uneven(&strict, &b, &nodes, &one),
            Some(UNEVEN),
            "the zone counts, not the node"
        );
        assert_eq!(uneven(&strict, &c, &nodes, &one), None);
        assert_eq!(uneven(&spread(&json!({"maxSkew": 2})), &b, &nodes, &one), None);
        let wish = spread(&json!({"whenUnsatisfiable": "ScheduleAnyway"}));
        assert_eq!(uneven(&wish, &b, &nodes, &one), None);
        let others = spread(&json!({"labelSelector": {"matchLabels": {"app": "other"}}}));
        assert_eq!(uneven(&others, &b, &nodes, &one), None);
    }

    #[test]
    fn pods_on_their_way_out_and_nodes_out_of_reach_do_not_count() {
        let (a, c) = (node("a", Some("1")), node("c", Some("2")));
        let nodes = [a.clone(), c];
        let strict = spread(&json!({}));
        let leaving = pod(
            "x",
            "rs",
            &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        );
        assert_eq!(
            uneven(&strict, &a, &nodes, &[(Arc::new(leaving), a.clone())]),
            None
        );
        // Zone 2 is not for this pod: its emptiness holds nothing back.
        let mut bound = spread(&json!({}));
        bound.spec.get_or_insert_default().node_selector = Some([("zone".to_owned(), "1".to_owned())].into());
        assert_eq!(uneven(&bound, &a, &nodes, &on(&[&a, &a])), None);
        let all = {
            let mut all = spread(&json!({"nodeAffinityPolicy": "Ignore"}));
            all.spec.get_or_insert_default().node_selector =
                Some([("zone".to_owned(), "1".to_owned())].into());
            all
        };
        assert_eq!(uneven(&all, &a, &nodes, &on(&[&a, &a])), Some(UNEVEN));
    }

    #[test]
    fn a_node_without_the_label_and_too_few_domains() {
        let (a, bare) = (node("a", Some("1")), node("bare", None));
        let nodes = [a.clone(), bare.clone()];
        assert_eq!(uneven(&spread(&json!({})), &bare, &nodes, &[]), Some(UNLABELLED));
        let two = spread(&json!({"minDomains": 2}));
        assert_eq!(uneven(&two, &a, &nodes, &[]), None);
        assert_eq!(uneven(&two, &a, &nodes, &on(&[&a])), Some(UNEVEN));
        assert_eq!(uneven(&spread(&json!({})), &a, &nodes, &on(&[&a])), None);
    }
}
