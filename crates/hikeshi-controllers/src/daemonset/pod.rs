//! The pod of a node.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use serde_json::json;

use crate::object::{controller_reference, name_of, random_suffix};
use crate::pods::from_template;
use crate::revision::REVISION_LABEL;

/// What every daemon tolerates, as in Kubernetes.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The pod for a node, pinned to it by node affinity: the scheduler binds it.
pub(super) fn pod_for(set: &DaemonSet, node: &str, revision: &str) -> Pod {
    let template = set
        .spec
        .as_ref()
        .map(|spec| spec.template.clone())
        .unwrap_or_default();
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let name = format!("{}-{}", name_of(set), random_suffix());
    let mut pod = from_template(&template, namespace, name, controller_reference(set));
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(REVISION_LABEL.to_owned(), revision.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations
        .get_or_insert_default()
        .extend(TOLERATED.map(|(key, effect)| Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        }));
    let affinity = spec
        .affinity
        .get_or_insert_default()
        .node_affinity
        .get_or_insert_default();
    let terms = &mut affinity
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_default()
        .node_selector_terms;
    if terms.is_empty() {
        terms.push(Default::default());
    }
    for term in terms {
        term.match_fields =
            serde_json::from_value(json!([{"key": "metadata.name", "operator": "In", "values": [node]}]))
                .ok();
    }
    pod
}

/// The node a daemon's pod is on or is meant for.
pub(super) fn node_of(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    spec.node_name.clone().or_else(|| {
        let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let selector = affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()?;
        let field = selector
            .node_selector_terms
            .first()?
            .match_fields
            .as_ref()?
            .first()?;
        field.values.as_ref()?.first().cloned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_meant_for_its_node_before_it_is_bound() {
        let pinned = pod_for(&DaemonSet::default(), "b", "new");
        assert_eq!(node_of(&pinned).as_deref(), Some("b"));
    }
}
