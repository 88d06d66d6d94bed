//! The next steps of a StatefulSet.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::identity;
use crate::object::{controller_reference, controller_uid, count, label, name_of};
use crate::pods::{available_at, is_available, is_finished, is_ready, is_terminating};
use crate::revision::REVISION_LABEL;

/// What a StatefulSet's plan is made from.
pub(super) struct Observed {
    pub set: Arc<StatefulSet>,
    /// Its pods, and orphans that fit it.
    pub pods: Vec<Arc<Pod>>,
    /// Names of the claims that exist in its namespace.
    pub claims: HashSet<String>,
    /// The revision that the last finished rollout brought.
    pub current: Arc<ControllerRevision>,
    /// The revision of the present template.
    pub update: Arc<ControllerRevision>,
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Debug)]
pub(super) enum Action {
    CreateClaim(Box<PersistentVolumeClaim>),
    CreatePod(Box<Pod>),
    DeletePod(Arc<Pod>),
    /// Take over an orphan, by this merge patch.
    Adopt(Arc<Pod>, Value),
}

#[derive(Debug)]
pub(super) struct Plan {
    /// In order; each only after the one before succeeded.
    pub actions: Vec<Action>,
    pub status: StatefulSetStatus,
    /// When a ready pod becomes available.
    pub recheck: Option<Duration>,
}

/// Fields that ask for what there is not here.
pub(super) fn unsupported(set: &StatefulSet) -> Vec<&'static str> {
    let Some(spec) = set.spec.as_ref() else {
        return Vec::new();
    };
    let retention = spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |policy: Option<&String>| policy.is_some_and(|policy| policy != "Retain");
    let rolling = spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.rolling_update.as_ref());
    [
        (
            "spec.persistentVolumeClaimRetentionPolicy.whenDeleted",
            deletes(retention.and_then(|policy| policy.when_deleted.as_ref())),
        ),
        (
            "spec.persistentVolumeClaimRetentionPolicy.whenScaled",
            deletes(retention.and_then(|policy| policy.when_scaled.as_ref())),
        ),
        (
            "spec.updateStrategy.rollingUpdate.maxUnavailable",
            rolling.is_some_and(|rolling| rolling.max_unavailable.is_some()),
        ),
    ]
    .into_iter()
    .filter_map(|(name, present)| present.then_some(name))
    .collect()
}

struct Rules {
    first: i32,
    /// One past the last.
    end: i32,
    one_by_one: bool,
    partition: i32,
    on_delete: bool,
    min_ready: i32,
}

fn rules(set: &StatefulSet) -> Rules {
    let spec = set.spec.clone().unwrap_or_default();
    let first = spec.ordinals.and_then(|ordinals| ordinals.start).unwrap_or(0);
    let strategy = spec.update_strategy.unwrap_or_default();
    Rules {
        first,
        end: first.saturating_add(spec.replicas.unwrap_or(1).max(0)),
        one_by_one: spec.pod_management_policy.as_deref() != Some("Parallel"),
        partition: strategy
            .rolling_update
            .and_then(|rolling| rolling.partition)
            .unwrap_or(0),
        on_delete: strategy.type_.as_deref() == Some("OnDelete"),
        min_ready: spec.min_ready_seconds.unwrap_or(0),
    }
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let rules = rules(&observed.set);
    let mut actions = Vec::new();
    for pod in observed
        .pods
        .iter()
        .filter(|pod| controller_uid(&pod.metadata).is_none())
    {
        let owners = [controller_reference(observed.set.as_ref())];
        let patch = json!({"metadata": {"uid": pod.metadata.uid, "ownerReferences": owners}});
        actions.push(Action::Adopt(pod.clone(), patch));
    }
    let by_ordinal: BTreeMap<i32, &Arc<Pod>> = observed
        .pods
        .iter()
        .filter_map(|pod| identity::ordinal(&observed.set, pod).map(|ordinal| (ordinal, pod)))
        .collect();
    next_steps(observed, &rules, &by_ordinal, &mut actions);
    let recheck = by_ordinal
        .values()
        .filter_map(|pod| available_at(pod, rules.min_ready))
        .filter(|at| rules.min_ready > 0 && *at > observed.now)
        .min()
        .and_then(|at| Duration::try_from(at.duration_since(observed.now)).ok());
    Plan {
        actions,
        status: status(observed, &rules, &by_ordinal),
        recheck,
    }
}

fn next_steps(
    observed: &Observed,
    rules: &Rules,
    pods: &BTreeMap<i32, &Arc<Pod>>,
    actions: &mut Vec<Action>,
) {
    let healthy =
        |pod: &Pod| !is_terminating(pod) && is_ready(pod) && is_available(pod, rules.min_ready, observed.now);
    for ordinal in rules.first..rules.end {
        match pods.get(&ordinal) {
            None => {
                let held_back = !rules.on_delete && ordinal < rules.first.saturating_add(rules.partition);
                let revision = if held_back {
                    &observed.current
                } else {
                    &observed.update
                };
                let missing = identity::claims(&observed.set, ordinal)
                    .into_iter()
                    .filter(|claim| !observed.claims.contains(name_of(claim)));
                actions.extend(missing.map(|claim| Action::CreateClaim(Box::new(claim))));
                actions.push(Action::CreatePod(Box::new(identity::pod(
                    &observed.set,
                    ordinal,
                    revision,
                ))));
            }
            Some(pod) if is_finished(pod) && !is_terminating(pod) => {
                actions.push(Action::DeletePod((*pod).clone()))
            }
            Some(pod) if healthy(pod) => continue,
            Some(_) => {}
        }
        if rules.one_by_one {
            return;
        }
    }
    // Scaling down: from the highest, and one by one only when the one before is gone.
    for (_, pod) in pods
        .iter()
        .rev()
        .filter(|(ordinal, _)| !(rules.first..rules.end).contains(*ordinal))
    {
        if !is_terminating(pod) {
            actions.push(Action::DeletePod((*pod).clone()));
        }
        if rules.one_by_one {
            return;
        }
    }
    if rules.on_delete {
        return;
    }
    // Rolling update: from the highest; the next only when the last is healthy again, whatever the policy.
    let update = name_of(observed.update.as_ref());
    for ordinal in (rules.first.saturating_add(rules.partition)..rules.end).rev() {
        let Some(pod) = pods.get(&ordinal) else { return };
        if label(&pod.metadata, REVISION_LABEL) != Some(update) && !is_terminating(pod) {
            if !is_finished(pod) {
                actions.push(Action::DeletePod((*pod).clone()));
            }
            return;
        }
        if !healthy(pod) {
            return;
        }
    }
}

fn status(observed: &Observed, rules: &Rules, pods: &BTreeMap<i32, &Arc<Pod>>) -> StatefulSetStatus {
    let (current, update) = (
        name_of(observed.current.as_ref()),
        name_of(observed.update.as_ref()),
    );
    let at = |revision: &str| {
        count(
            pods.values()
                .filter(|pod| !is_terminating(pod) && label(&pod.metadata, REVISION_LABEL) == Some(revision))
                .count(),
        )
    };
    let ready = count(pods.values().filter(|pod| is_ready(pod)).count());
    let available = count(
        pods.values()
            .filter(|pod| is_ready(pod) && is_available(pod, rules.min_ready, observed.now))
            .count(),
    );
    let some = |n: i32| Some(n).filter(|n| *n > 0);
    let wanted = rules.end - rules.first;
    let before = observed.set.status.as_ref();
    let mut status = StatefulSetStatus {
        replicas: count(pods.len()),
        ready_replicas: some(ready),
        // No `omitempty` in Kubernetes: always there.
        available_replicas: Some(available),
        current_replicas: some(at(current)),
        updated_replicas: some(at(update)),
        current_revision: Some(current.to_owned()),
        update_revision: Some(update.to_owned()),
        observed_generation: observed.set.metadata.generation,
        collision_count: Some(before.and_then(|status| status.collision_count).unwrap_or(0)),
        conditions: before.and_then(|status| status.conditions.clone()),
    };
    if !rules.on_delete && at(update) == wanted && ready == wanted && status.replicas == wanted {
        status.current_revision = status.update_revision.clone();
        status.current_replicas = status.updated_replicas;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::testing::{merge, pod, ready};

    fn revision(name: &str, image: &str) -> Arc<ControllerRevision> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "revision": 1, "data": {"spec": {"template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}}}))
            .expect("a revision"),
        )
    }

    fn observed(spec: Value, pods: Vec<Pod>) -> Observed {
        let mut set = json!({"metadata": {"namespace": "ns", "name": "db", "uid": "sts"}, "spec": {
            "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}}}});
        merge(&mut set["spec"], &spec);
        Observed {
            set: Arc::new(serde_json::from_value(set).expect("a StatefulSet")),
            pods: pods.into_iter().map(Arc::new).collect(),
            claims: HashSet::new(),
            current: revision("db-old", "a:1"),
            update: revision("db-new", "a:2"),
            now: "2026-01-01T00:10:00Z".parse().expect("a time"),
        }
    }

    fn at(name: &str, revision: &str, up: bool) -> Pod {
        let mut extra = if up {
            ready("2026-01-01T00:00:00Z")
        } else {
            json!({})
        };
        merge(
            &mut extra,
            &json!({"metadata": {"labels": {REVISION_LABEL: revision}}}),
        );
        pod(name, "sts", &extra)
    }

    fn words(observed: &Observed) -> Vec<String> {
        plan(observed)
            .actions
            .iter()
            .map(|action| match action {
                Action::CreateClaim(claim) => format!("claim {}", name_of(claim.as_ref())),
                Action::CreatePod(pod) => format!("create {}", name_of(pod.as_ref())),
                Action::DeletePod(pod) => format!("delete {}", name_of(pod.as_ref())),
                Action::Adopt(pod, _) => format!("adopt {}", name_of(pod.as_ref())),
            })
            .collect()
    }

    #[test]
    fn ordered_starts_one_at_a_time_and_waits_for_ready() {
        assert_eq!(words(&observed(json!({}), vec![])), ["create db-0"]);
        assert!(words(&observed(json!({}), vec![at("db-0", "db-new", false)])).is_empty());
        assert_eq!(
            words(&observed(json!({}), vec![at("db-0", "db-new", true)])),
            ["create db-1"]
        );
    }

    #[test]
    fn parallel_starts_all_with_claims_first() {
        let spec = json!({"podManagementPolicy": "Parallel", "volumeClaimTemplates": [{"metadata": {"name": "data"}}]});
        let mut seen = observed(spec, vec![]);
        seen.claims.insert("data-db-1".to_owned());
        assert_eq!(
            words(&seen),
            [
                "claim data-db-0",
                "create db-0",
                "create db-1",
                "claim data-db-2",
                "create db-2"
            ]
        );
        match &plan(&seen).actions[1] {
            Action::CreatePod(pod) => {
                let spec = pod.spec.as_ref().expect("a spec");
                assert_eq!(
                    (spec.hostname.as_deref(), spec.subdomain.as_deref()),
                    (Some("db-0"), Some("db"))
                );
                let claim = spec
                    .volumes
                    .as_ref()
                    .and_then(|v| v[0].persistent_volume_claim.as_ref());
                assert_eq!(claim.map(|c| c.claim_name.as_str()), Some("data-db-0"));
                assert_eq!(label(&pod.metadata, "apps.kubernetes.io/pod-index"), Some("0"));
                assert_eq!(
                    label(&pod.metadata, "statefulset.kubernetes.io/pod-name"),
                    Some("db-0")
                );
            }
            other => panic!("expected a pod: {other:?}"),
        }
    }

    #[test]
    fn a_terminating_pod_keeps_its_name_until_it_is_gone() {
        let mut going = at("db-1", "db-new", true);
        going.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
        for policy in ["OrderedReady", "Parallel"] {
            let pods = vec![
                at("db-0", "db-new", true),
                going.clone(),
                at("db-2", "db-new", true),
            ];
            assert!(words(&observed(json!({"podManagementPolicy": policy}), pods)).is_empty());
            let pods = vec![at("db-0", "db-new", true), at("db-2", "db-new", true)];
            assert_eq!(
                words(&observed(json!({"podManagementPolicy": policy}), pods)),
                ["create db-1"]
            );
        }
    }

    #[test]
    fn scaling_down_takes_the_highest() {
        let pods: Vec<Pod> = (0..5).map(|n| at(&format!("db-{n}"), "db-new", true)).collect();
        assert_eq!(
            words(&observed(json!({"replicas": 2}), pods.clone())),
            ["delete db-4"]
        );
        let parallel = json!({"replicas": 2, "podManagementPolicy": "Parallel"});
        assert_eq!(
            words(&observed(parallel, pods)),
            ["delete db-4", "delete db-3", "delete db-2"]
        );
    }

    #[test]
    fn rolling_update_goes_from_the_highest_down_to_the_partition() {
        let old: Vec<Pod> = (0..3).map(|n| at(&format!("db-{n}"), "db-old", true)).collect();
        let partition =
            |n: i32| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": n}}});
        assert_eq!(words(&observed(partition(0), old.clone())), ["delete db-2"]);
        let mut pods = old.clone();
        pods[2] = at("db-2", "db-new", false);
        assert!(
            words(&observed(
                json!({"podManagementPolicy": "Parallel"}),
                pods.clone()
            ))
            .is_empty()
        );
        pods[2] = at("db-2", "db-new", true);
        assert_eq!(words(&observed(partition(1), pods.clone())), ["delete db-1"]);
        assert!(words(&observed(partition(2), pods)).is_empty());
        assert!(words(&observed(json!({"updateStrategy": {"type": "OnDelete"}}), old)).is_empty());
        // Below the partition, a lost pod comes back as it was.
        match &plan(&observed(partition(3), vec![])).actions[0] {
            Action::CreatePod(pod) => assert_eq!(label(&pod.metadata, REVISION_LABEL), Some("db-old")),
            other => panic!("expected a pod: {other:?}"),
        }
    }

    #[test]
    fn a_finished_rollout_makes_the_update_current() {
        let pods: Vec<Pod> = (0..3).map(|n| at(&format!("db-{n}"), "db-new", true)).collect();
        let status = plan(&observed(json!({}), pods)).status;
        assert_eq!(status.current_revision.as_deref(), Some("db-new"));
        assert_eq!(
            (status.replicas, status.ready_replicas, status.current_replicas),
            (3, Some(3), Some(3))
        );
    }

    #[test]
    fn names_of_others_are_not_ours() {
        let mut foreign = at("db-00", "db-new", true);
        foreign.metadata.name = Some("db-00".to_owned());
        let seen = observed(json!({}), vec![foreign]);
        assert_eq!(words(&seen), ["create db-0"]);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let of = |spec: Value| unsupported(&observed(spec, Vec::new()).set);
        assert!(of(json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}})).is_empty());
        assert_eq!(
            of(
                json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"},
                "updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}})
            ),
            [
                "spec.persistentVolumeClaimRetentionPolicy.whenScaled",
                "spec.updateStrategy.rollingUpdate.maxUnavailable"
            ]
        );
    }
}
