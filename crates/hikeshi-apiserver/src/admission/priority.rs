//! Priority classes: a pod's class becomes its number, and a class nobody knows is refused.

use serde_json::{Value, json};

use super::forbidden;
use crate::registry::Resource;
use crate::status::ApiResult;
use crate::store::View;

const CLASSES: &str = "priorityclasses.scheduling.k8s.io";

/// Fills in the number and the preemption policy of a new pod's class: the one it names, else the default one, else none.
pub(crate) fn fill(view: &View, resource: &Resource, pod: &mut Value) -> ApiResult<()> {
    let named = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let class = if named.is_empty() {
        view.list(CLASSES, None)
            .find(|class| class["globalDefault"] == true)
    } else {
        let found = view.get(CLASSES, "", named);
        if found.is_none() {
            let message = format!("no PriorityClass with name {named} was found");
            return Err(forbidden(resource, pod, &message));
        }
        found
    };
    let (name, value, policy) = match class {
        Some(class) => (
            Some(class["metadata"]["name"].clone()),
            class["value"].as_i64().unwrap_or_default(),
            class["preemptionPolicy"]
                .as_str()
                .unwrap_or("PreemptLowerPriority")
                .to_owned(),
        ),
        None => (None, 0, "PreemptLowerPriority".to_owned()),
    };
    if pod["spec"]["priority"]
        .as_i64()
        .is_some_and(|given| given != value)
    {
        let message = format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name",
            pod["spec"]["priority"]
        );
        return Err(forbidden(resource, pod, &message));
    }
    if let Some(spec) = pod["spec"].as_object_mut() {
        if let Some(name) = name {
            spec.insert("priorityClassName".into(), name);
        }
        spec.insert("priority".into(), value.into());
        spec.entry("preemptionPolicy").or_insert_with(|| json!(policy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;
    use crate::store::Store;

    /// The spec of a pod that is let in, or why it is not.
    fn admitted(default: bool, spec: Value) -> Result<Value, String> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut pod = json!({"metadata": {"name": "web"}, "spec": spec});
        store
            .write(|view| -> ApiResult<()> {
                for (name, value, global) in [("high", 1000, false), ("usual", 10, default)] {
                    let class = json!({"metadata": {"name": name}, "value": value, "globalDefault": global,
                        "preemptionPolicy": "Never"});
                    view.put(CLASSES, "", name, class)?;
                }
                fill(view, &find("", "v1", "pods").unwrap(), &mut pod)
            })
            .map_err(|error| error.message)?;
        Ok(pod["spec"].take())
    }

    #[test]
    fn a_class_becomes_its_number() {
        let high = admitted(true, json!({"priorityClassName": "high"})).unwrap();
        assert_eq!(
            (&high["priority"], &high["preemptionPolicy"]),
            (&json!(1000), &json!("Never"))
        );
        let usual = admitted(true, json!({})).unwrap();
        assert_eq!(
            (&usual["priority"], &usual["priorityClassName"]),
            (&json!(10), &json!("usual"))
        );
        let none = admitted(false, json!({})).unwrap();
        assert_eq!(
            (&none["priority"], none.get("priorityClassName")),
            (&json!(0), None)
        );
    }

    #[test]
    fn an_unknown_class_and_a_number_of_ones_own_are_refused() {
        assert_eq!(
            admitted(false, json!({"priorityClassName": "low"})).unwrap_err(),
            "pods \"web\" is forbidden: no PriorityClass with name low was found"
        );
        let own = admitted(false, json!({"priorityClassName": "high", "priority": 5})).unwrap_err();
        assert!(
            own.contains("the integer value of priority (5) must not be provided"),
            "{own}"
        );
        assert!(admitted(false, json!({"priority": 0})).is_ok());
    }
}
