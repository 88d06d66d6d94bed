//! What controllers ask about pods: alive, ready, available; and in which order to delete them.

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::object::created;

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither ended nor on its way out.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminating(pod) && !is_finished(pod)
}

pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

fn ready_condition(pod: &Pod) -> Option<&PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == "Ready")
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some_and(|condition| condition.status == "True")
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    ready_condition(pod)
        .filter(|condition| condition.status == "True")
        .map(|condition| {
            condition
                .last_transition_time
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
        })
}

/// When a ready pod counts as available; `None` when it is not ready.
pub(crate) fn available_at(pod: &Pod, min_ready_seconds: i32) -> Option<Timestamp> {
    let since = ready_since(pod)?;
    since
        .checked_add(SignedDuration::from_secs(min_ready_seconds.max(0).into()))
        .ok()
}

/// Ready for at least `min_ready_seconds`.
pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    available_at(pod, min_ready_seconds).is_some_and(|at| min_ready_seconds <= 0 || at <= now)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or(&[]);
    statuses
        .iter()
        .map(|status| status.restart_count)
        .max()
        .unwrap_or(0)
}

/// Orders pods so that the ones to delete first come first: unassigned, then Pending, not ready, on the most crowded
/// node (`crowd`), ready for the shortest time, most restarts, youngest; the name settles ties.
pub(crate) fn deletion_order(a: &Pod, b: &Pod, crowd: impl Fn(&Pod) -> usize) -> Ordering {
    let assigned = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let rank = |pod: &Pod| match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let deletion_cost = |pod: &Pod| -> i64 {
        crate::object::annotation(&pod.metadata, "controller.kubernetes.io/pod-deletion-cost")
            .and_then(|cost| cost.parse().ok())
            .unwrap_or(0)
    };
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| rank(a).cmp(&rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| ready_since(b).cmp(&ready_since(a)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| created(&b.metadata).cmp(&created(&a.metadata)))
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// A pod made from a template.
pub(crate) fn from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    name: String,
    owner: OwnerReference,
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Pods for tests.

    use serde_json::{Value, json};

    use super::*;

    /// A pod of namespace `ns` owned by uid `owner`, with `extra` merged over it.
    pub(crate) fn pod(name: &str, owner: &str, extra: &Value) -> Pod {
        let mut base = json!({
            "metadata": {"namespace": "ns", "name": name, "uid": format!("uid-{name}"), "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Owner", "name": "o", "uid": owner, "controller": true}]},
            "spec": {"containers": []}, "status": {"phase": "Pending"}});
        merge(&mut base, extra);
        serde_json::from_value(base).expect("a pod")
    }

    pub(crate) fn merge(base: &mut Value, extra: &Value) {
        match (base, extra) {
            (Value::Object(base), Value::Object(extra)) => {
                for (key, value) in extra {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (base, extra) => *base = extra.clone(),
        }
    }

    /// What a running, ready pod adds: ready since `since` (RFC 3339).
    pub(crate) fn ready(since: &str) -> Value {
        json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Running", "conditions":
            [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}})
    }
}
