//! Chaos Mesh's pod selectors and modes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hikeshi_chaos::selector::Selector;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::object::name_of;
use crate::pods::phase;
use crate::selector::{contains, holds};

type Labels = BTreeMap<String, String>;

/// The fields of a pod that a field selector may name.
fn field<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    Some(match name {
        "metadata.name" => name_of(pod),
        "metadata.namespace" => pod.metadata.namespace.as_deref().unwrap_or_default(),
        "spec.nodeName" => spec
            .and_then(|spec| spec.node_name.as_deref())
            .unwrap_or_default(),
        "spec.restartPolicy" => spec
            .and_then(|spec| spec.restart_policy.as_deref())
            .unwrap_or("Always"),
        "spec.serviceAccountName" => spec
            .and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or("default"),
        "status.phase" => phase(pod),
        "status.podIP" => status
            .and_then(|status| status.pod_ip.as_deref())
            .unwrap_or_default(),
        _ => return None,
    })
}

fn selects(selector: &Selector, own_namespace: &str, pod: &Pod, nodes: &HashMap<String, Arc<Node>>) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(pods) = selector.pods.as_ref().filter(|pods| !pods.is_empty()) {
        // As in Chaos Mesh: a list of pods overrides everything else.
        return pods
            .get(namespace)
            .is_some_and(|names| names.iter().any(|name| name == name_of(pod)));
    }
    let namespaces = selector.namespaces.as_deref().unwrap_or(&[]);
    if namespaces.is_empty() && namespace != own_namespace
        || !namespaces.is_empty() && !namespaces.iter().any(|name| name == namespace)
    {
        return false;
    }
    let none = Labels::new();
    let wanted = |labels: &Option<Labels>| labels.clone().unwrap_or_default();
    if !contains(labels, &wanted(&selector.label_selectors))
        || !contains(
            pod.metadata.annotations.as_ref(),
            &wanted(&selector.annotation_selectors),
        )
    {
        return false;
    }
    let expressions = selector.expression_selectors.iter().flatten();
    let label = |key: &str| labels.unwrap_or(&none).get(key).map(String::as_str);
    if !expressions
        .into_iter()
        .all(|e| holds(label(&e.key), &e.operator, e.values.as_deref().unwrap_or(&[])).unwrap_or(false))
    {
        return false;
    }
    if !selector
        .field_selectors
        .iter()
        .flatten()
        .all(|(name, value)| field(pod, name) == Some(value.as_str()))
    {
        return false;
    }
    let node = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default();
    let on_nodes = selector.nodes.as_deref().unwrap_or(&[]);
    if !on_nodes.is_empty() && !on_nodes.iter().any(|name| name == node) {
        return false;
    }
    let node_labels = wanted(&selector.node_selectors);
    if !node_labels.is_empty()
        && !nodes
            .get(node)
            .is_some_and(|node| contains(node.metadata.labels.as_ref(), &node_labels))
    {
        return false;
    }
    let phases = selector.pod_phase_selectors.as_deref().unwrap_or(&[]);
    phases.is_empty() || phases.iter().any(|wanted| wanted == phase(pod))
}

/// The ids (`NS/POD`) of the pods that `spec.selector` matches, sorted. A selector that cannot be read matches none.
pub(super) fn candidates(
    spec: &Value,
    own_namespace: &str,
    pods: &[Arc<Pod>],
    nodes: &HashMap<String, Arc<Node>>,
) -> Vec<String> {
    let Ok(selector) = serde_json::from_value::<Selector>(spec.get("selector").cloned().unwrap_or_default())
    else {
        return Vec::new();
    };
    let mut ids: Vec<String> = pods
        .iter()
        .filter(|pod| selects(&selector, own_namespace, pod, nodes))
        .map(|pod| {
            format!(
                "{}/{}",
                pod.metadata.namespace.as_deref().unwrap_or_default(),
                name_of(pod.as_ref())
            )
        })
        .collect();
    ids.sort();
    ids
}

fn number(seed: &str, what: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(seed)
        .chain_update([0])
        .chain_update(what)
        .finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Chooses among candidates by `spec.mode` and `spec.value`. `kept` (already chosen) come first, then an order that
/// depends on `seed` only, so that the same experiment always makes the same choice.
pub(super) fn choose(spec: &Value, candidates: Vec<String>, kept: &[String], seed: &str) -> Vec<String> {
    let value = spec
        .get("value")
        .and_then(Value::as_str)
        .and_then(|value| value.parse::<usize>().ok())
        .unwrap_or(0);
    let size = match spec.get("mode").and_then(Value::as_str) {
        Some("all") => candidates.len(),
        Some("one") => 1,
        Some("fixed") => value,
        Some("fixed-percent") => candidates.len() * value.min(100) / 100,
        Some("random-max-percent") => {
            let most = u64::try_from(value.min(100)).unwrap_or(100);
            let percent = usize::try_from(number(seed, "percent") % (most + 1)).unwrap_or(0);
            candidates.len() * percent / 100
        }
        _ => 0,
    };
    let mut chosen = candidates;
    chosen.sort_by_cached_key(|id| (!kept.contains(id), number(seed, id)));
    chosen.truncate(size);
    chosen.sort();
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::pods::testing::pod;

    fn pods() -> Vec<Arc<Pod>> {
        [
            pod("web-0", "o", &json!({"metadata": {"annotations": {"note": "x"}}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}})),
            pod("web-1", "o", &json!({"spec": {"nodeName": "n2"}})),
            pod("db-0", "o", &json!({"metadata": {"labels": {"app": "db"}}, "spec": {"nodeName": "n2"}})),
            pod("far", "o", &json!({"metadata": {"namespace": "other"}})),
        ]
        .map(Arc::new)
        .into()
    }

    fn selected(selector: Value) -> Vec<String> {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n2", "labels": {"zone": "b"}}}))
            .expect("a node");
        let nodes = HashMap::from([("n2".to_owned(), Arc::new(node))]);
        candidates(&json!({"selector": selector}), "ns", &pods(), &nodes)
    }

    #[test]
    fn every_kind_of_selector_restricts() {
        assert_eq!(
            selected(json!({})),
            ["ns/db-0", "ns/web-0", "ns/web-1"],
            "own namespace only"
        );
        assert_eq!(selected(json!({"namespaces": ["other"]})), ["other/far"]);
        assert_eq!(
            selected(json!({"labelSelectors": {"app": "web"}})),
            ["ns/web-0", "ns/web-1"]
        );
        assert_eq!(
            selected(
                json!({"expressionSelectors": [{"key": "app", "operator": "NotIn", "values": ["web"]}]})
            ),
            ["ns/db-0"]
        );
        assert_eq!(
            selected(json!({"fieldSelectors": {"metadata.name": "web-1"}})),
            ["ns/web-1"]
        );
        assert_eq!(
            selected(json!({"annotationSelectors": {"note": "x"}})),
            ["ns/web-0"]
        );
        assert_eq!(selected(json!({"nodes": ["n1"]})), ["ns/web-0"]);
        assert_eq!(
            selected(json!({"nodeSelectors": {"zone": "b"}})),
            ["ns/db-0", "ns/web-1"]
        );
        assert_eq!(selected(json!({"podPhaseSelectors": ["Running"]})), ["ns/web-0"]);
        assert_eq!(
            selected(json!({"pods": {"ns": ["db-0"], "other": ["far", "away"]}})),
            ["ns/db-0", "other/far"]
        );
    }

    fn ids(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("ns/pod-{n}")).collect()
    }

    #[test]
    fn modes_choose_as_many_as_they_say() {
        let size = |mode: &str, value: &str| {
            choose(&json!({"mode": mode, "value": value}), ids(7), &[], "seed").len()
        };
        assert_eq!(
            (
                size("all", ""),
                size("one", ""),
                size("fixed", "3"),
                size("fixed", "30")
            ),
            (7, 1, 3, 7)
        );
        assert_eq!(
            (size("fixed-percent", "50"), size("fixed-percent", "100")),
            (3, 7)
        );
        assert!(size("random-max-percent", "50") <= 3);
    }

    proptest! {
        #[test]
        fn a_choice_is_stable_and_keeps_who_was_chosen(seed in "[a-f0-9]{8}", count in 1..20_usize, lost in 0..20_usize) {
            let spec = json!({"mode": "fixed", "value": "3"});
            let first = choose(&spec, ids(count), &[], &seed);
            prop_assert_eq!(&first, &choose(&spec, ids(count), &first, &seed));
            let mut fewer = ids(count);
            fewer.retain(|id| *id != format!("ns/pod-{lost}"));
            let second = choose(&spec, fewer, &first, &seed);
            let stayed = first.iter().filter(|id| **id != format!("ns/pod-{lost}")).all(|id| second.contains(id));
            prop_assert!(stayed);
        }
    }
}
