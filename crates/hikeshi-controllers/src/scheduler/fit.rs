//! Whether a pod may run on a node, and if not, why, in the words of Kubernetes.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, Pod, PodAffinityTerm, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::object::name_of;
use crate::quantity::thousandths;
use crate::selector::{holds, matches};

/// Resource name -> thousandths.
pub(crate) type Amounts = BTreeMap<String, i128>;

fn add(amounts: &mut Amounts, more: Option<&BTreeMap<String, Quantity>>) {
    for (name, quantity) in more.into_iter().flatten() {
        *amounts.entry(name.clone()).or_default() += thousandths(quantity).unwrap_or(0);
    }
}

/// What a pod asks for: its containers together, or its largest init container if that is more.
pub(crate) fn requests(pod: &Pod) -> Amounts {
    let mut total = Amounts::new();
    let Some(spec) = pod.spec.as_ref() else {
        return total;
    };
    let mut sidecars = Amounts::new();
    let mut largest = Amounts::new();
    for container in &spec.containers {
        add(
            &mut total,
            container.resources.as_ref().and_then(|r| r.requests.as_ref()),
        );
    }
    for container in spec.init_containers.iter().flatten() {
        let wanted = container.resources.as_ref().and_then(|r| r.requests.as_ref());
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, wanted);
            continue;
        }
        let mut with_sidecars = sidecars.clone();
        add(&mut with_sidecars, wanted);
        for (name, amount) in with_sidecars {
            let most = largest.entry(name).or_default();
            *most = (*most).max(amount);
        }
    }
    for (name, amount) in sidecars {
        *total.entry(name).or_default() += amount;
    }
    for (name, amount) in largest {
        let most = total.entry(name).or_default();
        *most = (*most).max(amount);
    }
    add(&mut total, spec.overhead.as_ref());
    total
}

/// What a node offers.
pub(crate) fn allocatable(node: &Node) -> Amounts {
    let mut amounts = Amounts::new();
    let status = node.status.as_ref();
    add(
        &mut amounts,
        status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref())),
    );
    amounts
}

pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        _ => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
    }
}

/// The first taint that keeps the pod away from the node.
pub(crate) fn untolerated<'a>(pod: &Pod, node: &'a Node) -> Option<&'a Taint> {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or(&[]);
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or(&[]);
    taints
        .iter()
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

pub(super) fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref()?.get(key).map(String::as_str);
    let (labels, fields) = (term.match_expressions.as_deref(), term.match_fields.as_deref());
    if labels.unwrap_or(&[]).is_empty() && fields.unwrap_or(&[]).is_empty() {
        return false;
    }
    let holds_for = |value: Option<&str>, operator: &str, values: Option<&Vec<String>>| {
        holds(value, operator, values.map_or(&[], Vec::as_slice)).unwrap_or(false)
    };
    labels
        .unwrap_or(&[])
        .iter()
        .all(|e| holds_for(label(&e.key), &e.operator, e.values.as_ref()))
        && fields.unwrap_or(&[]).iter().all(|e| {
            let value = (e.key == "metadata.name").then(|| name_of(node));
            holds_for(value, &e.operator, e.values.as_ref())
        })
}

/// nodeSelector and required node affinity.
pub(crate) fn selects(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = pod.spec.as_ref() else {
        return true;
    };
    let labels = node.metadata.labels.as_ref();
    let wanted = spec.node_selector.iter().flatten();
    if !wanted
        .into_iter()
        .all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
    {
        return false;
    }
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    required.is_none_or(|selector| {
        selector
            .node_selector_terms
            .iter()
            .any(|term| term_matches(term, node))
    })
}

fn anti_affinity(pod: &Pod) -> &[PodAffinityTerm] {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    affinity
        .and_then(|affinity| affinity.pod_anti_affinity.as_ref())
        .and_then(|anti| {
            anti.required_during_scheduling_ignored_during_execution
                .as_deref()
        })
        .unwrap_or(&[])
}

pub(super) fn affinity(pod: &Pod) -> &[PodAffinityTerm] {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    affinity
        .and_then(|affinity| affinity.pod_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_deref()
        })
        .unwrap_or(&[])
}

/// Whether `other` is one of the pods that a term of `pod` speaks of.
pub(super) fn speaks_of(term: &PodAffinityTerm, pod: &Pod, other: &Pod) -> bool {
    let namespaces = term.namespaces.as_deref().unwrap_or(&[]);
    let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
    // A namespaceSelector without restriction means every namespace.
    let everywhere = term
        .namespace_selector
        .as_ref()
        .is_some_and(crate::selector::is_empty);
    let there = everywhere
        || if namespaces.is_empty() {
            pod.metadata.namespace.as_deref() == Some(namespace)
        } else {
            namespaces.iter().any(|name| name == namespace)
        };
    there
        && term
            .label_selector
            .as_ref()
            .is_some_and(|selector| matches(selector, other.metadata.labels.as_ref()))
}

pub(super) fn same_domain(a: &Node, b: &Node, key: &str) -> bool {
    let value = |node: &Node| -> Option<String> {
        let label = node
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key).cloned());
        // A node is its own host even when the label is missing.
        label.or_else(|| (key == "kubernetes.io/hostname").then(|| name_of(node).to_owned()))
    };
    value(a).is_some() && value(a) == value(b)
}

/// Whether the pod may not join those already placed: by its own rules or by theirs.
pub(super) fn repelled(pod: &Pod, node: &Node, placed: &[(Arc<Pod>, Arc<Node>)]) -> Option<&'static str> {
    let by_own = placed.iter().any(|(other, at)| {
        anti_affinity(pod)
            .iter()
            .any(|term| speaks_of(term, pod, other) && same_domain(node, at, &term.topology_key))
    });
    if by_own {
        return Some("node(s) didn't match pod anti-affinity rules");
    }
    let by_others = placed.iter().any(|(other, at)| {
        anti_affinity(other)
            .iter()
            .any(|term| speaks_of(term, other, pod) && same_domain(node, at, &term.topology_key))
    });
    by_others.then_some("node(s) didn't satisfy existing pods anti-affinity rules")
}

/// Whether required pod affinity is met: a matching pod in the domain, or the pod is the first of its own kind.
pub(super) fn attracted(pod: &Pod, node: &Node, placed: &[(Arc<Pod>, Arc<Node>)]) -> bool {
    affinity(pod).iter().all(|term| {
        let mut kin = placed
            .iter()
            .filter(|(other, _)| speaks_of(term, pod, other))
            .peekable();
        if kin.peek().is_none() {
            return speaks_of(term, pod, pod);
        }
        kin.any(|(_, at)| same_domain(node, at, &term.topology_key))
    })
}
