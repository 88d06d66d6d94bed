//! What a pod would rather have: `preferredDuringSchedulingIgnoredDuringExecution` of node affinity, pod affinity and pod
//! anti-affinity.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, WeightedPodAffinityTerm};

use super::fit::{same_domain, speaks_of, term_matches};

/// How much a node goes against a pod's wishes: the sum of the weights, counted once for each pod that a term speaks of.
/// Lower is better; below 0 it is wished for.
pub(super) fn against(pod: &Pod, node: &Node, placed: &[(Arc<Pod>, Arc<Node>)]) -> i64 {
    let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else {
        return 0;
    };
    let met = |terms: Option<&Vec<WeightedPodAffinityTerm>>| -> i64 {
        let weighted = terms.into_iter().flatten().map(|wish| {
            let term = &wish.pod_affinity_term;
            let there = |(other, at): &&(Arc<Pod>, Arc<Node>)| {
                speaks_of(term, pod, other) && same_domain(node, at, &term.topology_key)
            };
            let pods = i64::try_from(placed.iter().filter(there).count()).unwrap_or(i64::MAX);
            pods.saturating_mul(wish.weight.into())
        });
        weighted.sum()
    };
    let nodes = affinity
        .node_affinity
        .iter()
        .flat_map(|nodes| {
            nodes
                .preferred_during_scheduling_ignored_during_execution
                .iter()
                .flatten()
        })
        .filter(|wish| term_matches(&wish.preference, node))
        .map(|wish| i64::from(wish.weight));
    let near = affinity.pod_affinity.as_ref();
    let apart = affinity.pod_anti_affinity.as_ref();
    met(apart.and_then(|pods| pods.preferred_during_scheduling_ignored_during_execution.as_ref()))
        - met(near.and_then(|pods| pods.preferred_during_scheduling_ignored_during_execution.as_ref()))
        - nodes.sum::<i64>()
}
