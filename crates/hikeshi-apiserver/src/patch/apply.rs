//! Server-side apply. Each applying manager's fields are recorded in `managedFields`; what a manager applied before and
//! leaves out now is removed, unless another applier holds it, too.
//!
//! Two simplifications against Kubernetes: only appliers are recorded (not updates), and a value that another applier
//! holds is overwritten as with `--force-conflicts` instead of being refused.

use serde_json::{Map, Value, json};

use super::strategic;

/// The object after `manager` applied `applied` to `live` (null when it does not exist yet).
/// `keyed`: lists merge by Kubernetes' keys; otherwise they are replaced (custom resources).
pub(crate) fn apply(live: &Value, applied: &Value, manager: &str, keyed: bool, now: &str) -> Value {
    let api_version = applied["apiVersion"].clone();
    let mut applied = applied.clone();
    if let Some(metadata) = applied["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    let mut fields = fields_of("", "", &applied, keyed);
    for implied in ["f:apiVersion", "f:kind"] {
        fields.as_object_mut().map(|f| f.remove(implied));
    }
    if let Some(metadata) = fields.get_mut("f:metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| {
            !["f:name", "f:namespace", "f:resourceVersion", "f:uid"].contains(&key.as_str())
        });
    }
    let mut out = if keyed {
        strategic::merge(live, &applied)
    } else {
        super::merge(live, &applied)
    };
    let entries = live["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let (mine, others): (Vec<Value>, Vec<Value>) = entries
        .into_iter()
        .partition(|e| e["manager"] == manager && e["operation"] == "Apply");
    let held: Vec<&Value> = others
        .iter()
        .filter(|e| e["operation"] == "Apply")
        .map(|e| &e["fieldsV1"])
        .chain([&fields])
        .collect();
    for entry in &mine {
        prune(&mut out, &entry["fieldsV1"], &held);
    }
    let mut entries = others;
    // An apply that changes nothing must not look like a change: the time stays.
    let same = mine
        .iter()
        .find(|e| e["fieldsV1"] == fields && e["apiVersion"] == api_version);
    let time = same.map_or_else(|| Value::from(now), |e| e["time"].clone());
    entries.push(json!({
        "manager": manager, "operation": "Apply", "apiVersion": api_version,
        "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields,
    }));
    out["metadata"]["managedFields"] = Value::Array(entries);
    out
}

/// The set of fields of a value, in the FieldsV1 form: `f:` for keys, `k:` for list elements by key, `v:` for set members.
fn fields_of(parent: &str, name: &str, value: &Value, keyed: bool) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (format!("f:{key}"), fields_of(name, key, value, keyed)))
                .collect(),
        ),
        Value::Array(items) if keyed && strategic::is_set(name) => Value::Object(
            items
                .iter()
                .map(|item| (format!("v:{item}"), json!({})))
                .collect(),
        ),
        Value::Array(items) if keyed => {
            let refs: Vec<&Value> = items.iter().collect();
            let Some(key) = strategic::merge_key(parent, name, &refs) else {
                return json!({});
            };
            let entries = items.iter().map(|item| {
                let id = json!({ key: item[key] });
                (format!("k:{id}"), fields_of(parent, name, item, keyed))
            });
            Value::Object(entries.collect())
        }
        _ => json!({}),
    }
}

/// Removes from `value` what `before` names and no one in `held` does.
fn prune(value: &mut Value, before: &Value, held: &[&Value]) {
    let Some(before) = before.as_object() else { return };
    for (key, inner) in before {
        let held: Vec<&Value> = held.iter().filter_map(|h| h.get(key)).collect();
        if let Some(field) = key.strip_prefix("f:") {
            let Some(map) = value.as_object_mut() else { return };
            let leaf = inner.as_object().is_none_or(Map::is_empty);
            let Some(child) = map.get_mut(field) else { continue };
            if !leaf {
                prune(child, inner, &held);
            }
            let empty = leaf
                || child.as_object().is_some_and(Map::is_empty)
                || child.as_array().is_some_and(Vec::is_empty);
            if held.is_empty() && empty {
                map.remove(field);
            }
        } else if let Some(id) = key.strip_prefix("k:").or_else(|| key.strip_prefix("v:")) {
            let Some(items) = value.as_array_mut() else { return };
            let Ok(id) = serde_json::from_str::<Value>(id) else {
                continue;
            };
            let is_it = |item: &Value| match &id {
                Value::Object(id) => id.iter().all(|(k, v)| item.get(k) == Some(v)),
                plain => item == plain,
            };
            if held.is_empty() {
                items.retain(|item| !is_it(item));
            } else if let Some(item) = items.iter_mut().find(|item| is_it(item)) {
                prune(item, inner, &held);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(env: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": "1"}},
            "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:1", "env": env}]}}}})
    }

    #[test]
    fn what_a_manager_leaves_out_is_removed() {
        let two = deployment(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]));
        let live = apply(&Value::Null, &two, "me", true, "t1");
        let one = deployment(json!([{"name": "B", "value": "2"}]));
        let out = apply(&live, &one, "me", true, "t2");
        assert_eq!(
            out["spec"]["template"]["spec"]["containers"][0]["env"],
            json!([{"name": "B", "value": "2"}])
        );
        let mut bare = one;
        bare["metadata"] = json!({"name": "web"});
        assert_eq!(
            apply(&out, &bare, "me", true, "t3")["metadata"].get("labels"),
            None
        );
    }

    #[test]
    fn what_others_hold_or_set_stays() {
        let mine = apply(
            &Value::Null,
            &deployment(json!([{"name": "A", "value": "1"}])),
            "me",
            true,
            "t1",
        );
        let both = apply(
            &mine,
            &deployment(json!([{"name": "A", "value": "1"}])),
            "you",
            true,
            "t2",
        );
        let mut scaled = both;
        scaled["spec"]["replicas"] = json!(7);
        let mut less = deployment(json!([]));
        less["spec"]["template"]["spec"]["containers"][0]
            .as_object_mut()
            .unwrap()
            .remove("env");
        let out = apply(&scaled, &less, "me", true, "t3");
        assert_eq!(out["spec"]["replicas"], 7);
        assert_eq!(
            out["spec"]["template"]["spec"]["containers"][0]["env"][0]["name"],
            "A"
        );
    }

    #[test]
    fn applying_the_same_again_changes_nothing() {
        let config = deployment(json!([{"name": "A", "value": "1"}]));
        let once = apply(&Value::Null, &config, "me", true, "t1");
        assert_eq!(apply(&once, &config, "me", true, "t2"), once);
    }

    #[test]
    fn custom_resources_replace_lists() {
        let object = |names: Value| json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"}, "spec": {"containers": names}});
        let live = apply(
            &Value::Null,
            &object(json!([{"name": "a"}, {"name": "b"}])),
            "me",
            false,
            "t",
        );
        let out = apply(&live, &object(json!([{"name": "b"}])), "me", false, "t");
        assert_eq!(out["spec"]["containers"], json!([{"name": "b"}]));
    }
}
