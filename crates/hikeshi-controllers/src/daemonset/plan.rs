//! What a DaemonSet's nodes lack and have too many of.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};

use super::pod::{node_of, pod_for};
use super::rolling::{self, Allowance, Daemon, Seat};
use crate::deployment::resolve;
use crate::object::{count, created, label, name_of};
use crate::pods::{available_at, is_active, is_available, is_finished, is_ready, is_terminating};
use crate::revision::REVISION_LABEL;
use crate::scheduler::fit::{selects, untolerated};

#[derive(Debug)]
pub(super) struct Plan {
    /// When a ready pod becomes available.
    pub recheck: Option<Duration>,
    /// Names of nodes that lack a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    pub status: DaemonSetStatus,
}

/// What a node is to a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It should have a pod.
    Wanted,
    /// It gets none, but the one it has may stay: a taint that only keeps new pods away came later.
    Kept,
    Refused,
}

fn place(set: &DaemonSet, node: &Node, revision: &str) -> Place {
    let pod = pod_for(set, name_of(node), revision);
    if !selects(&pod, node) {
        return Place::Refused;
    }
    let Some(taint) = untolerated(&pod, node) else {
        return Place::Wanted;
    };
    let mut hard = node.clone();
    if let Some(taints) = hard.spec.as_mut().and_then(|spec| spec.taints.as_mut()) {
        taints.retain(|taint| taint.effect == "NoExecute");
    }
    if taint.effect == "NoExecute" || untolerated(&pod, &hard).is_some() {
        Place::Refused
    } else {
        Place::Kept
    }
}

/// `None`: pods of an older template stay until somebody deletes them.
fn allowance(spec: &DaemonSetSpec, wanted: usize) -> Option<Allowance> {
    let strategy = spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return None;
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let of = |value: Option<&_>| match value {
        Some(value) => usize::try_from(resolve(Some(value), count(wanted), true)).ok(),
        None => None,
    };
    let max_surge = of(rolling.and_then(|rolling| rolling.max_surge.as_ref())).unwrap_or(0);
    let max_unavailable = of(rolling.and_then(|rolling| rolling.max_unavailable.as_ref())).unwrap_or(1);
    Some(Allowance {
        max_surge,
        // An older object may say 0 for both, with which nothing would ever move.
        max_unavailable: if max_surge == 0 { max_unavailable.max(1) } else { 0 },
    })
}

/// `pods` are those the DaemonSet controls; `revision` is the name of its present template's.
pub(super) fn plan(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    revision: &str,
    now: Timestamp,
) -> Plan {
    let spec = set.spec.clone().unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let is_new = |pod: &Pod| label(&pod.metadata, REVISION_LABEL) == Some(revision);
    let is_up = |pod: &Pod| is_available(pod, min_ready, now);
    let places: BTreeMap<&str, Place> = nodes
        .iter()
        .map(|node| (name_of(node.as_ref()), place(set, node, revision)))
        .collect();
    let wanted: Vec<&str> = places
        .iter()
        .filter(|(_, place)| **place == Place::Wanted)
        .map(|(name, _)| *name)
        .collect();
    let mut delete: Vec<Arc<Pod>> = pods
        .iter()
        .filter(|pod| is_finished(pod) && !is_terminating(pod))
        .cloned()
        .collect();
    let mut by_node: HashMap<String, Vec<&Arc<Pod>>> = HashMap::new();
    for pod in pods {
        let node = node_of(pod).unwrap_or_default();
        by_node.entry(node).or_default().push(pod);
    }
    // Those that run (or will), the oldest first; of the same second the one of the older template.
    let active = |node: &str| {
        let mut found: Vec<&Arc<Pod>> = by_node.get(node).cloned().unwrap_or_default();
        found.retain(|pod| is_active(pod));
        found.sort_by_key(|pod| (created(&pod.metadata), is_new(pod), pod.metadata.name.clone()));
        found
    };

    let allowance = allowance(&spec, wanted.len());
    let surges = allowance.is_some_and(|allowance| allowance.max_surge > 0);
    let mut seats: Vec<Seat<&str, &Arc<Pod>>> = Vec::new();
    let mut misscheduled = 0;
    for node in by_node.keys() {
        let running = active(node);
        let place = places.get(node.as_str()).copied().unwrap_or(Place::Refused);
        if place != Place::Wanted {
            misscheduled += usize::from(!running.is_empty());
        }
        match place {
            Place::Refused => delete.extend(running.into_iter().cloned()),
            Place::Kept => delete.extend(running.into_iter().skip(1).cloned()),
            Place::Wanted => {}
        }
    }
    for &node in &wanted {
        let running = active(node);
        let mut seat = Seat {
            node,
            new: None,
            old: None,
        };
        for pod in running {
            let place = if is_new(pod) { &mut seat.new } else { &mut seat.old };
            if place.is_some() {
                delete.push(pod.clone());
            } else {
                let available = is_up(pod);
                *place = Some(Daemon { pod, available });
            }
        }
        // Without surge nobody put two there on purpose: the newer one is the surplus.
        if let (false, Some(new), Some(old)) = (surges, seat.new, seat.old) {
            let new_is_older = created(&new.pod.metadata) <= created(&old.pod.metadata);
            let surplus = if new_is_older {
                &mut seat.old
            } else {
                &mut seat.new
            };
            delete.extend(surplus.take().map(|daemon| daemon.pod.clone()));
        }
        seats.push(seat);
    }
    let mut create: Vec<String> = wanted
        .iter()
        .filter(|node| !by_node.contains_key(**node))
        .map(|node| (*node).to_owned())
        .collect();
    if let Some(allowance) = allowance {
        let step = rolling::step(&seats, allowance);
        delete.extend(step.delete.into_iter().cloned());
        create.extend(step.surge.into_iter().map(str::to_owned));
    }

    // As Kubernetes counts: nodes, by the oldest of their pods.
    let shown: Vec<&Arc<Pod>> = wanted
        .iter()
        .filter_map(|node| active(node).first().copied())
        .collect();
    let available = shown.iter().filter(|pod| is_up(pod)).count();
    let status = DaemonSetStatus {
        current_number_scheduled: count(shown.len()),
        desired_number_scheduled: count(wanted.len()),
        number_available: Some(count(available)).filter(|n| *n > 0),
        number_misscheduled: count(misscheduled),
        number_ready: count(shown.iter().filter(|pod| is_ready(pod)).count()),
        number_unavailable: Some(count(wanted.len().saturating_sub(available))).filter(|n| *n > 0),
        observed_generation: set.metadata.generation,
        updated_number_scheduled: Some(count(shown.iter().filter(|pod| is_new(pod)).count()))
            .filter(|n| *n > 0),
        collision_count: set.status.as_ref().and_then(|status| status.collision_count),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
    };
    let recheck = pods
        .iter()
        .filter(|pod| is_active(pod))
        .filter_map(|pod| available_at(pod, min_ready))
        .filter(|at| min_ready > 0 && *at > now)
        .min()
        .and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    Plan {
        recheck,
        create,
        delete,
        status,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::testing::{merge, pod, ready};

    fn node(name: &str, taint: Option<&str>) -> Arc<Node> {
        let taints: Vec<Value> = taint
            .iter()
            .map(|effect| json!({"key": "k", "effect": effect}))
            .collect();
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints}}))
                .expect("a node"),
        )
    }

    fn on(node: &str, revision: &str) -> Arc<Pod> {
        let mut extra = ready("2026-01-01T00:00:00Z");
        merge(
            &mut extra,
            &json!({"spec": {"nodeName": node},
                "metadata": {"labels": {REVISION_LABEL: revision}, "creationTimestamp": "2026-01-01T00:00:00Z"}}),
        );
        Arc::new(pod(&format!("d-{node}"), "ds", &extra))
    }

    /// A second pod of a node: of the new revision, younger, and not ready.
    fn beside(node: &str) -> Arc<Pod> {
        let extra = json!({"spec": {"nodeName": node},
            "metadata": {"labels": {REVISION_LABEL: "new"}, "creationTimestamp": "2026-01-01T00:09:00Z"}});
        Arc::new(pod(&format!("d-{node}-2"), "ds", &extra))
    }

    fn look_with(rolling: &Value, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Plan {
        let set: DaemonSet =
            serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "d", "uid": "ds"},
            "spec": {"selector": {}, "template": {}, "updateStrategy": {"rollingUpdate": rolling}}}))
            .expect("a DaemonSet");
        plan(
            &set,
            nodes,
            pods,
            "new",
            "2026-01-01T00:10:00Z".parse().expect("a time"),
        )
    }

    fn look(pods: &[Arc<Pod>]) -> Plan {
        let nodes = [node("a", None), node("b", None), node("c", Some("NoExecute"))];
        look_with(&Value::Null, &nodes, pods)
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|pod| name_of(pod.as_ref())).collect()
    }

    #[test]
    fn one_pod_on_each_node_that_admits_it() {
        assert_eq!(look(&[]).create, ["a", "b"]);
        let plan = look(&[on("a", "new"), on("c", "new"), on("gone", "new")]);
        assert_eq!(plan.create, ["b"]);
        let mut deleted = names(&plan.delete);
        deleted.sort_unstable();
        assert_eq!(deleted, ["d-c", "d-gone"]);
        let status = &plan.status;
        assert_eq!(
            (status.desired_number_scheduled, status.number_misscheduled),
            (2, 2)
        );
    }

    #[test]
    fn a_taint_that_keeps_new_pods_away_leaves_the_one_that_runs() {
        let nodes = [node("a", None), node("c", Some("NoSchedule"))];
        let empty = look_with(&Value::Null, &nodes, &[]);
        assert_eq!(empty.create, ["a"]);
        let kept = look_with(&Value::Null, &nodes, &[on("a", "new"), on("c", "old")]);
        assert_eq!(names(&kept.delete), [""; 0]);
        let status = &kept.status;
        assert_eq!(
            (status.desired_number_scheduled, status.number_misscheduled),
            (1, 1)
        );
    }

    #[test]
    fn an_update_takes_one_node_at_a_time() {
        assert_eq!(names(&look(&[on("a", "old"), on("b", "old")]).delete), ["d-a"]);
        assert!(look(&[on("a", "old")]).delete.is_empty(), "b is missing already");
        // Somebody made a second pod: it goes, and counts for nothing.
        assert_eq!(
            names(&look(&[on("a", "new"), on("b", "new"), beside("a")]).delete),
            ["d-a-2"]
        );
    }

    #[test]
    fn an_update_that_surges_starts_the_new_pod_beside_the_old() {
        let nodes = ["a", "b", "c"].map(|name| node(name, None));
        let (a, b, c) = (on("a", "old"), on("b", "old"), on("c", "old"));
        // Two of three: 34 % of them, rounded up.
        let surge = json!({"maxSurge": "34%", "maxUnavailable": 0});
        let first = look_with(&surge, &nodes, &[a.clone(), b.clone(), c.clone()]);
        assert_eq!(
            (first.create, names(&first.delete)),
            (vec!["a".into(), "b".into()], vec![])
        );
        let later = look_with(&surge, &nodes, &[a.clone(), beside("a"), b, beside("b"), c]);
        assert_eq!((later.create, names(&later.delete)), (vec![], vec![]));
        let status = later.status;
        assert_eq!(
            (
                status.current_number_scheduled,
                status.number_ready,
                status.updated_number_scheduled
            ),
            (3, 3, None),
            "nodes are counted, by their oldest pod"
        );
        let same_second = Arc::new({
            let mut pod = beside("a").as_ref().clone();
            pod.metadata.name = Some("d-0".into());
            pod.metadata.creation_timestamp = a.metadata.creation_timestamp.clone();
            pod
        });
        let tied = look_with(&surge, &nodes[..1], &[same_second, a.clone()]);
        assert_eq!(
            (tied.status.number_ready, tied.status.updated_number_scheduled),
            (1, None)
        );
        let up = Arc::new({
            let mut pod = beside("a").as_ref().clone();
            pod.status = on("a", "new").status.clone();
            pod
        });
        let done = look_with(&surge, &nodes, &[a, up, on("b", "new"), on("c", "new")]);
        assert_eq!((done.create, names(&done.delete)), (vec![], vec!["d-a"]));
    }

    #[test]
    fn both_allowances_at_nothing_still_move() {
        let spec = |rolling: Value| -> DaemonSetSpec {
            serde_json::from_value(
                json!({"selector": {}, "template": {}, "updateStrategy": {"rollingUpdate": rolling}}),
            )
            .expect("a spec")
        };
        let of = |rolling| allowance(&spec(rolling), 10).map(|one| (one.max_unavailable, one.max_surge));
        assert_eq!(of(json!({"maxSurge": 0, "maxUnavailable": 0})), Some((1, 0)));
        assert_eq!(of(json!(null)), Some((1, 0)));
        assert_eq!(of(json!({"maxUnavailable": "25%"})), Some((3, 0)));
        assert_eq!(of(json!({"maxSurge": "11%", "maxUnavailable": 0})), Some((0, 2)));
    }
}
