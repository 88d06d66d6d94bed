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

/// Whether an experiment or a workflow is over: its time is up and nothing of it is left, or it was done at once.
pub(super) fn is_over(kind: &str, object: &DynamicObject, now: Timestamp) -> bool {
    if kind == "Workflow" {
        return holds(object, "Accomplished");
    }
    let spec = &object.data["spec"];
    if is_one_shot(kind, spec) {
        return holds(object, "AllInjected");
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
