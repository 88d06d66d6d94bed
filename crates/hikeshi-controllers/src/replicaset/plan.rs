//! Which pods a ReplicaSet lacks or has too many of.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::object::{controller_reference, controller_uid, count, is_controlled_by};
use crate::pods::{available_at, deletion_order, is_active, is_available, is_ready, is_terminating};
use crate::selector::{contains, matches};

/// What to do for one ReplicaSet.
#[derive(Debug)]
pub(super) struct Plan {
    /// How many pods to create.
    pub create: usize,
    /// Which pods to delete.
    pub delete: Vec<Arc<Pod>>,
    /// Pods to adopt or to let go, with the merge patch that does it.
    pub ownership: Vec<(Arc<Pod>, Value)>,
    pub status: ReplicaSetStatus,
    /// When a ready pod becomes available.
    pub recheck: Option<Duration>,
}

/// `pods` are those of the ReplicaSet's namespace.
pub(super) fn plan(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let spec = set.spec.clone().unwrap_or_default();
    let uid = set.metadata.uid.as_ref();
    let leaving = set.metadata.deletion_timestamp.is_some();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);

    let mut ownership = Vec::new();
    let mut active: Vec<Arc<Pod>> = Vec::new();
    let mut terminating = 0;
    for pod in pods {
        let fits = matches(&spec.selector, pod.metadata.labels.as_ref());
        if is_controlled_by(&pod.metadata, uid) {
            if !fits && !leaving {
                let owners: Vec<_> = pod
                    .metadata
                    .owner_references
                    .iter()
                    .flatten()
                    .filter(|o| Some(&o.uid) != uid)
                    .collect();
                ownership.push((
                    pod.clone(),
                    json!({"metadata": {"uid": pod.metadata.uid, "ownerReferences": owners}}),
                ));
            } else if is_active(pod) {
                active.push(pod.clone());
            } else if is_terminating(pod) {
                terminating += 1;
            }
        } else if fits && !leaving && controller_uid(&pod.metadata).is_none() && is_active(pod) {
            let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
            owners.push(controller_reference(set));
            ownership.push((
                pod.clone(),
                json!({"metadata": {"uid": pod.metadata.uid, "ownerReferences": owners}}),
            ));
            active.push(pod.clone());
        }
    }

    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let create = if leaving {
        0
    } else {
        wanted.saturating_sub(active.len())
    };
    let surplus = if leaving {
        0
    } else {
        active.len().saturating_sub(wanted)
    };
    let delete = surplus_pods(&active, surplus);

    let template_labels = spec
        .template
        .and_then(|template| template.metadata)
        .and_then(|meta| meta.labels)
        .unwrap_or_default();
    let ready = active.iter().filter(|pod| is_ready(pod)).count();
    let status = ReplicaSetStatus {
        replicas: count(active.len()),
        ready_replicas: Some(count(ready)).filter(|n| *n > 0),
        available_replicas: Some(count(
            active
                .iter()
                .filter(|pod| is_available(pod, min_ready, now))
                .count(),
        ))
        .filter(|n| *n > 0),
        fully_labeled_replicas: Some(count(
            active
                .iter()
                .filter(|pod| contains(pod.metadata.labels.as_ref(), &template_labels))
                .count(),
        ))
        .filter(|n| *n > 0),
        observed_generation: set.metadata.generation,
        terminating_replicas: Some(terminating).filter(|n| *n > 0),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
    };
    let recheck = active
        .iter()
        .filter_map(|pod| available_at(pod, min_ready))
        .filter(|at| min_ready > 0 && *at > now)
        .min()
        .and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    Plan {
        create,
        delete,
        ownership,
        status,
        recheck,
    }
}

fn surplus_pods(active: &[Arc<Pod>], surplus: usize) -> Vec<Arc<Pod>> {
    let node = |pod: &Pod| {
        pod.spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default()
    };
    let mut crowd: HashMap<String, usize> = HashMap::new();
    for pod in active {
        *crowd.entry(node(pod)).or_default() += 1;
    }
    let mut ordered = active.to_vec();
    ordered.sort_by(|a, b| deletion_order(a, b, |pod| crowd.get(&node(pod)).copied().unwrap_or(0)));
    ordered.truncate(surplus);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::name_of;
    use crate::pods::testing::{pod, ready};

    fn set(replicas: i32, extra: Value) -> ReplicaSet {
        let mut base = json!({"metadata": {"namespace": "ns", "name": "web", "uid": "rs", "generation": 3},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}});
        crate::pods::testing::merge(&mut base, &extra);
        serde_json::from_value(base).expect("a ReplicaSet")
    }

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().expect("a time")
    }

    #[test]
    fn missing_pods_are_created_and_ended_ones_replaced() {
        let pods = vec![
            Arc::new(pod("a", "rs", &ready("2026-01-01T00:00:00Z"))),
            Arc::new(pod("b", "rs", &json!({"status": {"phase": "Failed"}}))),
            Arc::new(pod(
                "c",
                "rs",
                &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            )),
            Arc::new(pod("d", "other", &json!({}))),
        ];
        let plan = plan(&set(3, json!({})), &pods, now());
        assert_eq!((plan.create, plan.delete.len()), (2, 0));
        assert_eq!(plan.status.replicas, 1);
        assert_eq!(plan.status.ready_replicas, Some(1));
        assert_eq!(plan.status.terminating_replicas, Some(1));
        assert_eq!(plan.status.observed_generation, Some(3));
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let young = json!({"metadata": {"creationTimestamp": "2026-01-01T00:05:00Z"}});
        let mut young_ready = ready("2026-01-01T00:06:00Z");
        crate::pods::testing::merge(&mut young_ready, &young);
        let pods = vec![
            Arc::new(pod("old", "rs", &ready("2026-01-01T00:00:00Z"))),
            Arc::new(pod("young", "rs", &young_ready)),
            Arc::new(pod(
                "unready",
                "rs",
                &json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}),
            )),
            Arc::new(pod("pending", "rs", &json!({}))),
        ];
        let order = |keep| -> Vec<String> {
            plan(&set(keep, json!({})), &pods, now())
                .delete
                .iter()
                .map(|p| name_of(p.as_ref()).to_owned())
                .collect()
        };
        assert_eq!(order(3), ["pending"]);
        assert_eq!(order(0), ["pending", "unready", "young", "old"]);
    }

    #[test]
    fn a_relabelled_pod_is_let_go_and_an_orphan_adopted() {
        let mut orphan = pod("orphan", "x", &json!({}));
        orphan.metadata.owner_references = None;
        let pods = vec![
            Arc::new(pod(
                "quarantined",
                "rs",
                &json!({"metadata": {"labels": {"app": "debug"}}}),
            )),
            Arc::new(orphan),
        ];
        let plan = plan(&set(2, json!({})), &pods, now());
        assert_eq!(plan.ownership.len(), 2);
        assert_eq!(plan.ownership[0].1["metadata"]["ownerReferences"], json!([]));
        assert_eq!(plan.ownership[1].1["metadata"]["ownerReferences"][0]["uid"], "rs");
        assert_eq!(plan.create, 1);
    }

    #[test]
    fn a_set_being_deleted_creates_nothing() {
        let leaving = set(
            3,
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        );
        assert_eq!(plan(&leaving, &[], now()).create, 0);
    }

    #[test]
    fn availability_is_looked_at_again_when_it_is_due() {
        let pods = vec![Arc::new(pod("a", "rs", &ready("2026-01-01T00:09:55Z")))];
        let plan = plan(&set(1, json!({"spec": {"minReadySeconds": 15}})), &pods, now());
        assert_eq!(plan.status.available_replicas, None);
        assert_eq!(plan.recheck, Some(Duration::from_secs(10)));
    }
}
