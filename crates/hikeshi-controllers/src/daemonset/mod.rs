//! DaemonSets: one pod on every node that admits it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod, Toleration};
use serde_json::json;

use crate::object::{controller_reference, count, is_controlled_by, label, name_of, random_suffix};
use crate::pods::{
    available_at, from_template, is_active, is_available, is_finished, is_ready, is_terminating,
};
use crate::revision::{REVISION_LABEL, sync, truncate};
use crate::runtime::{Context, EventType, Key, Outcome, Reconciler, Wiring};
use crate::scheduler::fit::{selects, untolerated};

pub(crate) struct DaemonSets;

/// What every daemon tolerates, as in Kubernetes.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

#[derive(Debug)]
struct Plan {
    /// When a ready pod becomes available.
    recheck: Option<Duration>,
    /// Names of nodes that lack their pod.
    create: Vec<String>,
    delete: Vec<Arc<Pod>>,
    status: DaemonSetStatus,
}

/// The pod for a node, pinned to it by node affinity: the scheduler binds it.
fn pod_for(set: &DaemonSet, node: &str, revision: &str) -> Pod {
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
fn node_of(pod: &Pod) -> Option<String> {
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

/// The field that asks for what there is not here.
fn unsupported(set: &DaemonSet) -> Option<&'static str> {
    let strategy = set.spec.as_ref()?.update_strategy.as_ref()?;
    let surge = strategy.rolling_update.as_ref()?.max_surge.as_ref()?;
    (crate::deployment::resolve(Some(surge), 100, true) > 0)
        .then_some("spec.updateStrategy.rollingUpdate.maxSurge: use maxUnavailable")
}

/// `pods` are those the DaemonSet controls; `revision` is the name of its present template's.
fn plan(set: &DaemonSet, nodes: &[Arc<Node>], pods: &[Arc<Pod>], revision: &str, now: Timestamp) -> Plan {
    let spec = set.spec.clone().unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let wanted: HashSet<&str> = nodes
        .iter()
        .filter(|node| {
            let pod = pod_for(set, name_of(node.as_ref()), revision);
            selects(&pod, node) && untolerated(&pod, node).is_none()
        })
        .map(|node| name_of(node.as_ref()))
        .collect();
    let mut by_node: BTreeMap<String, Vec<&Arc<Pod>>> = BTreeMap::new();
    let mut delete: Vec<Arc<Pod>> = Vec::new();
    for pod in pods {
        if is_finished(pod) && !is_terminating(pod) {
            delete.push(pod.clone());
        }
        by_node
            .entry(node_of(pod).unwrap_or_default())
            .or_default()
            .push(pod);
    }
    let mut misscheduled = 0;
    for (node, pods) in &mut by_node {
        pods.sort_by_key(|pod| (is_terminating(pod), pod.metadata.creation_timestamp.clone()));
        let keep = usize::from(wanted.contains(node.as_str()));
        misscheduled += pods
            .iter()
            .skip(keep)
            .filter(|pod| keep == 0 && is_active(pod))
            .count();
        delete.extend(
            pods.iter()
                .filter(|pod| is_active(pod))
                .skip(keep)
                .map(|pod| (*pod).clone()),
        );
    }
    let mut create: Vec<String> = wanted
        .iter()
        .filter(|node| !by_node.contains_key(**node))
        .map(|node| (*node).to_owned())
        .collect();
    create.sort();

    let current: Vec<&Arc<Pod>> = pods
        .iter()
        .filter(|pod| is_active(pod) && node_of(pod).is_some_and(|n| wanted.contains(n.as_str())))
        .collect();
    let available = current
        .iter()
        .filter(|pod| is_available(pod, min_ready, now))
        .count();
    let is_new = |pod: &Pod| label(&pod.metadata, REVISION_LABEL) == Some(revision);
    let strategy = spec.update_strategy.unwrap_or_default();
    if strategy.type_.as_deref() != Some("OnDelete") {
        let most = strategy
            .rolling_update
            .and_then(|rolling| rolling.max_unavailable);
        let one = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(1);
        let most = crate::deployment::resolve(Some(most.as_ref().unwrap_or(&one)), count(wanted.len()), true);
        let mut room = usize::try_from(most)
            .unwrap_or(0)
            .saturating_sub(wanted.len().saturating_sub(available));
        for pod in current.iter().filter(|pod| !is_new(pod)) {
            let up = is_available(pod, min_ready, now);
            if !up || room > 0 {
                room -= usize::from(up);
                delete.push((*pod).clone());
            }
        }
    }
    let status = DaemonSetStatus {
        current_number_scheduled: count(current.len()),
        desired_number_scheduled: count(wanted.len()),
        number_available: Some(count(available)).filter(|n| *n > 0),
        number_misscheduled: count(misscheduled),
        number_ready: count(current.iter().filter(|pod| is_ready(pod)).count()),
        number_unavailable: Some(count(wanted.len().saturating_sub(available))).filter(|n| *n > 0),
        observed_generation: set.metadata.generation,
        updated_number_scheduled: Some(count(current.iter().filter(|pod| is_new(pod)).count()))
            .filter(|n| *n > 0),
        collision_count: set.status.as_ref().and_then(|status| status.collision_count),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
    };
    let recheck = current
        .iter()
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

impl Reconciler for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<DaemonSet>();
        wiring.owned::<Pod>("DaemonSet");
        wiring.owned::<ControllerRevision>("DaemonSet");
        wiring.mapped::<Node>(|tables, _| {
            tables
                .daemon_sets
                .all()
                .iter()
                .map(|set| Key::of(set.as_ref()))
                .collect()
        });
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some(set) = context.tables.daemon_sets.get(key) else {
            return Ok(None);
        };
        let Some(spec) = set
            .spec
            .as_ref()
            .filter(|_| set.metadata.deletion_timestamp.is_none())
        else {
            return Ok(None);
        };
        if let Some(field) = unsupported(&set) {
            let message = format!("not supported here, no pod will be changed: {field}");
            context
                .event(set.as_ref(), EventType::Warning, "UnsupportedField", &message)
                .await;
            return Ok(None);
        }
        let revision = sync(context, set.as_ref(), &spec.template, 0).await?;
        let revision = name_of(revision.as_ref()).to_owned();
        let look = || {
            let mut pods = context.tables.pods.in_namespace(&key.namespace);
            pods.retain(|pod| is_controlled_by(&pod.metadata, set.metadata.uid.as_ref()));
            plan(
                &set,
                &context.tables.nodes.all(),
                &pods,
                &revision,
                Timestamp::now(),
            )
        };
        let plan = look();
        let create = plan.create.iter().map(|node| async {
            let created = context.create(&pod_for(&set, node, &revision)).await?;
            let message = format!("Created pod: {}", name_of(&created));
            context
                .event(set.as_ref(), EventType::Normal, "SuccessfulCreate", &message)
                .await;
            Ok::<(), crate::runtime::Error>(())
        });
        let mut outcome = Ok(());
        for result in join_all(create).await {
            outcome = outcome.and(result);
        }
        for pod in &plan.delete {
            context.delete(pod.as_ref(), None).await?;
            let message = format!("Deleted pod: {}", name_of(pod.as_ref()));
            context
                .event(set.as_ref(), EventType::Normal, "SuccessfulDelete", &message)
                .await;
        }
        let Plan { status, recheck, .. } = look();
        if set.status.as_ref() != Some(&status) {
            let mut changed = set.as_ref().clone();
            changed.status = Some(status);
            context.replace_status(&changed).await?;
        }
        outcome?;
        truncate(context, set.as_ref(), &[revision], spec.revision_history_limit).await?;
        Ok(recheck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::testing::{merge, pod, ready};

    fn node(name: &str, cordoned: bool) -> Arc<Node> {
        let taints = if cordoned {
            json!([{"key": "k", "effect": "NoSchedule"}])
        } else {
            json!([])
        };
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints}}))
                .expect("a node"),
        )
    }

    fn on(node: &str, revision: &str) -> Arc<Pod> {
        let mut extra = ready("2026-01-01T00:00:00Z");
        merge(
            &mut extra,
            &json!({"spec": {"nodeName": node}, "metadata": {"labels": {REVISION_LABEL: revision}}}),
        );
        Arc::new(pod(&format!("d-{node}"), "ds", &extra))
    }

    fn look(pods: &[Arc<Pod>]) -> Plan {
        let set: DaemonSet =
            serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "d", "uid": "ds"},
            "spec": {"selector": {}, "template": {}}}))
            .expect("a DaemonSet");
        let nodes = [node("a", false), node("b", false), node("c", true)];
        plan(
            &set,
            &nodes,
            pods,
            "new",
            "2026-01-01T00:10:00Z".parse().expect("a time"),
        )
    }

    #[test]
    fn one_pod_on_each_node_that_admits_it() {
        assert_eq!(look(&[]).create, ["a", "b"]);
        let plan = look(&[on("a", "new"), on("c", "new")]);
        assert_eq!(plan.create, ["b"]);
        assert_eq!(
            plan.delete
                .iter()
                .map(|p| name_of(p.as_ref()))
                .collect::<Vec<_>>(),
            ["d-c"]
        );
        assert_eq!(
            (
                plan.status.desired_number_scheduled,
                plan.status.number_misscheduled
            ),
            (2, 1)
        );
    }

    #[test]
    fn an_update_takes_one_node_at_a_time() {
        assert_eq!(look(&[on("a", "old"), on("b", "old")]).delete.len(), 1);
        assert!(look(&[on("a", "old")]).delete.is_empty(), "b is missing already");
        let pinned = pod_for(&DaemonSet::default(), "b", "new");
        assert_eq!(node_of(&pinned).as_deref(), Some("b"));
    }
}
