//! When an experiment has done what it was made for.

use hikeshi_chaos::quantity;
use hikeshi_chaos::status::{is_injected, records, text};
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::object::created;

/// A condition of an object's status.
pub(super) fn condition<'a>(object: &'a DynamicObject, kind: &str) -> &'a Value {
    let conditions = object.data["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|one| text(one, "type") == kind));
    found.unwrap_or(&Value::Null)
}

pub(super) fn holds(object: &DynamicObject, kind: &str) -> bool {
    text(condition(object, kind), "status") == "True"
}

/// It does something once and is done, as in Chaos Mesh.
pub(super) fn is_one_shot(kind: &str, spec: &Value) -> bool {
    kind == "PodChaos" && matches!(text(spec, "action"), "pod-kill" | "container-kill")
}

/// Whether a record's pod or container was hit at some time.
pub(super) fn was_hit(record: &Value) -> bool {
    is_injected(record) || record["injectedCount"].as_u64().unwrap_or(0) > 0
}

/// Whether an experiment or a workflow is over: its time is up and nothing of it is left, or it was done at once.
pub(super) fn is_over(kind: &str, object: &DynamicObject, now: Timestamp) -> bool {
    if kind == "Workflow" {
        return holds(object, "Accomplished");
    }
    let spec = &object.data["spec"];
    if is_one_shot(kind, spec) {
        let records = records(&object.data["status"]);
        return holds(object, "AllInjected") || !records.is_empty() && records.iter().all(was_hit);
    }
    let limit = spec["duration"]
        .as_str()
        .and_then(|text| quantity::duration(text).ok());
    let up = limit.is_some_and(|limit| {
        let age = now.duration_since(created(&object.metadata));
        std::time::Duration::try_from(age).is_ok_and(|age| age >= limit)
    });
    up && !records(&object.data["status"]).iter().any(is_injected)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_done_at_once_is_over_whatever_is_said_of_it_later() {
        let object = |count: u64| -> DynamicObject {
            let record = json!({"id": "ns/web/c", "phase": "Not Injected", "injectedCount": count, "recoveredCount": count});
            serde_json::from_value(
                json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "PodChaos",
                "metadata": {"name": "kill"}, "spec": {"action": "container-kill", "duration": "10s"},
                "status": {"conditions": [{"type": "AllInjected", "status": "False"}],
                    "experiment": {"containerRecords": [record]}}}),
            )
            .expect("an object")
        };
        assert!(is_over("PodChaos", &object(1), Timestamp::now()));
        assert!(!is_over("PodChaos", &object(0), Timestamp::now()));
    }
}
