//! Experiments: what nobody could carry out is refused at the door, naming the field.

use serde_json::Value;

use crate::registry::Resource;
use crate::status::{ApiError, ApiResult};

/// Checks a new or changed experiment. One that was stored before a rule was made keeps its spec: only then can its
/// finalizer be taken away.
pub(crate) fn experiments(resource: &Resource, old: Option<&Value>, new: &Value) -> ApiResult<()> {
    if resource.group != "chaos-mesh.org" {
        return Ok(());
    }
    let same = |pointer: &str| old.is_some_and(|old| old.pointer(pointer) == new.pointer(pointer));
    if same("/spec") && same("/metadata/annotations") {
        return Ok(());
    }
    let found = hikeshi_chaos::problems(&resource.kind, new);
    if found.is_empty() {
        return Ok(());
    }
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let causes: Vec<(String, String)> = found
        .into_iter()
        .map(|problem| (problem.field.clone(), problem.message()))
        .collect();
    Err(ApiError::invalid(resource, name, &causes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::find;

    #[test]
    fn what_cannot_be_honoured_is_refused_unless_it_was_there_before() {
        let resource = find("chaos-mesh.org", "v1alpha1", "httpchaos").unwrap();
        let mut object = json!({"metadata": {"name": "slow"}, "spec": {"selector": {}, "mode": "all",
            "target": "Request", "port": 80, "delay": "1s"}});
        experiments(&resource, None, &object).unwrap();
        object["spec"]["tls"] = json!({"secretName": "x"});
        let error = experiments(&resource, None, &object).unwrap_err();
        assert_eq!((error.code, error.reason.as_str()), (422, "Invalid"));
        let words = "HTTPChaos.chaos-mesh.org \"slow\" is invalid: spec.tls: cannot be honoured";
        assert!(error.message.starts_with(words), "{}", error.message);
        let mut released = object.clone();
        released["metadata"]["finalizers"] = json!([]);
        experiments(&resource, Some(&object), &released).unwrap();
    }
}
