//! Kubernetes' strategic merge patch on untyped values: lists of objects merge by a key that their name tells.

use serde_json::{Map, Value};

/// The key by which a list's elements are one another's versions; `None` for lists that are replaced.
pub(crate) fn merge_key(parent: &str, list: &str, items: &[&Value]) -> Option<&'static str> {
    Some(match list {
        "ports" if items.iter().any(|i| i.get("containerPort").is_some()) => "containerPort",
        // Of a Service; a NetworkPolicy's and an EndpointSlice's ports are replaced.
        "ports" if parent == "spec" => "port",
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets"
        | "resourceClaims"
        | "schedulingGates" => "name",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" | "podIPs" => "ip",
        "conditions" | "addresses" => "type",
        "ownerReferences" => "uid",
        "topologySpreadConstraints" => "topologyKey",
        _ => return None,
    })
}

/// Lists of plain values that are sets.
pub(crate) fn is_set(list: &str) -> bool {
    list == "finalizers"
}

/// Applies a strategic merge patch.
pub(crate) fn merge(original: &Value, patch: &Value) -> Value {
    merge_at("", original, patch)
}

fn merge_at(name: &str, original: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => return Value::Object(without_directives(patch)),
        Some("delete") => return Value::Object(Map::new()),
        _ => {}
    }
    let mut out = original.as_object().cloned().unwrap_or_default();
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        out.retain(|key, _| keep.iter().any(|k| k == key));
    }
    for (key, gone) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/")
            && let (Some(Value::Array(have)), Some(gone)) = (out.get_mut(list), gone.as_array())
        {
            have.retain(|item| !gone.contains(item));
        }
    }
    for (key, value) in patch {
        if key.starts_with('$') {
            continue;
        }
        match value {
            Value::Null => drop(out.remove(key)),
            Value::Object(_) => {
                let merged = merge_at(key, out.get(key).unwrap_or(&Value::Null), value);
                out.insert(key.clone(), merged);
            }
            Value::Array(items) => {
                let have = out
                    .get(key)
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default();
                out.insert(key.clone(), Value::Array(merge_lists(name, key, have, items)));
            }
            plain => drop(out.insert(key.clone(), plain.clone())),
        }
    }
    for (key, order) in patch {
        if let Some(list) = key.strip_prefix("$setElementOrder/")
            && let (Some(Value::Array(have)), Some(order)) = (out.get_mut(list), order.as_array())
        {
            sort_like(have, order);
        }
    }
    Value::Object(out)
}

fn merge_lists(parent: &str, name: &str, mut have: Vec<Value>, items: &[Value]) -> Vec<Value> {
    if is_set(name) {
        let new = items
            .iter()
            .filter(|i| !have.contains(i))
            .cloned()
            .collect::<Vec<_>>();
        have.extend(new);
        return have;
    }
    let all: Vec<&Value> = have.iter().chain(items).collect();
    let keyed = |key: &&str| {
        items
            .iter()
            .all(|i| i.is_object() && (i.get(*key).is_some() || i.get("$patch").is_some()))
    };
    let key = merge_key(parent, name, &all).filter(keyed);
    let Some(key) = key else {
        return items.iter().map(stripped).collect();
    };
    let directive = |item: &Value, word: &str| item["$patch"] == word;
    if items.iter().any(|i| directive(i, "replace")) {
        return items
            .iter()
            .filter(|i| !directive(i, "replace"))
            .map(stripped)
            .collect();
    }
    for item in items {
        let at = have
            .iter()
            .position(|h| h.get(key).is_some() && h.get(key) == item.get(key));
        match (at, directive(item, "delete")) {
            (Some(at), true) => drop(have.remove(at)),
            (None, true) => {}
            (Some(at), false) => have[at] = merge_at(name, &have[at], item),
            (None, false) => have.push(merge_at(name, &Value::Null, item)),
        }
    }
    have
}

/// Orders elements as `$setElementOrder` says; elements it does not name stay behind in their order.
fn sort_like(have: &mut [Value], order: &[Value]) {
    let place = |item: &Value| {
        order.iter().position(|o| match o {
            Value::Object(key) => key.iter().all(|(k, v)| item.get(k) == Some(v)),
            plain => plain == item,
        })
    };
    have.sort_by_key(|item| place(item).unwrap_or(usize::MAX));
}

fn stripped(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        other => other.clone(),
    }
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(k, v)| !k.starts_with('$') && !v.is_null())
        .map(|(k, v)| (k.clone(), stripped(v)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({"metadata": {"finalizers": ["a"]}, "spec": {
            "containers": [
                {"name": "web", "image": "web:1", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}]},
                {"name": "side", "image": "side:1"}],
            "tolerations": [{"key": "x"}]}})
    }

    #[test]
    fn an_image_changes_in_its_container_only() {
        let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "web"}],
            "containers": [{"name": "web", "image": "web:2"}]}});
        let out = merge(&pod(), &patch);
        assert_eq!(out["spec"]["containers"][0]["image"], "web:2");
        assert_eq!(
            out["spec"]["containers"][0]["env"],
            pod()["spec"]["containers"][0]["env"]
        );
        assert_eq!(out["spec"]["containers"][1], pod()["spec"]["containers"][1]);
    }

    #[test]
    fn elements_are_deleted_added_and_ordered() {
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "new"}, {"name": "web"}],
            "containers": [{"name": "side", "$patch": "delete"}, {"name": "new", "image": "n"}]}});
        let out = merge(&pod(), &patch);
        let names: Vec<_> = out["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| &c["name"])
            .collect();
        assert_eq!(names, ["new", "web"]);
    }

    #[test]
    fn lists_without_a_key_are_replaced_and_null_removes() {
        let out = merge(
            &pod(),
            &json!({"spec": {"tolerations": [{"key": "y"}], "containers": null}}),
        );
        assert_eq!(out["spec"], json!({"tolerations": [{"key": "y"}]}));
    }

    #[test]
    fn retain_keys_and_replace() {
        let old = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}});
        let patch = json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}});
        assert_eq!(merge(&old, &patch), json!({"strategy": {"type": "Recreate"}}));
        let patch = json!({"strategy": {"$patch": "replace", "type": "X"}});
        assert_eq!(merge(&old, &patch), json!({"strategy": {"type": "X"}}));
    }

    #[test]
    fn finalizers_are_a_set() {
        let out = merge(&pod(), &json!({"metadata": {"finalizers": ["b", "a"]}}));
        assert_eq!(out["metadata"]["finalizers"], json!(["a", "b"]));
        let out = merge(
            &out,
            &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
        );
        assert_eq!(out["metadata"]["finalizers"], json!(["b"]));
    }

    #[test]
    fn service_ports_merge_on_port() {
        let service = json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
        let out = merge(
            &service,
            &json!({"spec": {"ports": [{"port": 80, "targetPort": 9090}]}}),
        );
        assert_eq!(
            out["spec"]["ports"],
            json!([{"name": "http", "port": 80, "targetPort": 9090}])
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0u8..4).prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 3, |inner| {
            let key = prop_oneof!["spec", "containers", "name", "env", "x"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_applied_twice_changes_nothing_more(object in value(), patch in value()) {
            // A key that repeats inside one list is not a list Kubernetes allows.
            let once = merge(&object, &patch);
            let twice = merge(&once, &patch);
            prop_assert_eq!(merge(&twice, &patch), twice);
        }

        #[test]
        fn an_empty_patch_changes_nothing(object in value()) {
            prop_assume!(object.is_object());
            prop_assert_eq!(merge(&object, &json!({})), object);
        }
    }
}
