//! Pruning and defaults: what a schema does to an object before its values are looked at.

use serde_json::{Map, Value};

use super::{IMPLIED, flag};

/// Takes out what the schema does not name. The result are the paths of what went (`spec.hoses[0].colour`).
pub(crate) fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut gone = Vec::new();
    prune_at("", schema, object, true, &mut gone);
    gone
}

fn prune_at(at: &str, schema: &Value, value: &mut Value, resource: bool, gone: &mut Vec<String>) {
    let resource = resource || flag(schema, "x-kubernetes-embedded-resource");
    match value {
        Value::Object(map) => {
            let (named, others) = (&schema["properties"], &schema["additionalProperties"]);
            let keep_all = flag(schema, "x-kubernetes-preserve-unknown-fields") || *others == true;
            let names: Vec<String> = map.keys().cloned().collect();
            for name in names {
                if resource && IMPLIED.contains(&name.as_str()) {
                    continue;
                }
                let dot = if at.is_empty() { "" } else { "." };
                let path = format!("{at}{dot}{name}");
                let inner = named.get(&name).or(others.is_object().then_some(others));
                match (inner, map.get_mut(&name)) {
                    (Some(inner), Some(value)) => prune_at(&path, inner, value, false, gone),
                    (None, Some(_)) if !keep_all => {
                        map.remove(&name);
                        gone.push(path);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (index, item) in items.iter_mut().enumerate() {
                prune_at(&format!("{at}[{index}]"), &schema["items"], item, false, gone);
            }
        }
        _ => {}
    }
}

/// Fills in the defaults of fields that are missing, or null where null is not allowed.
pub(crate) fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            fill_named(&schema["properties"], map);
            if schema["additionalProperties"].is_object() {
                let named = &schema["properties"];
                let others = map
                    .iter_mut()
                    .filter(|(name, _)| named.get(name.as_str()).is_none());
                others.for_each(|(_, value)| fill(&schema["additionalProperties"], value));
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            items.iter_mut().for_each(|item| fill(&schema["items"], item));
        }
        _ => {}
    }
}

fn fill_named(properties: &Value, map: &mut Map<String, Value>) {
    for (name, schema) in properties.as_object().into_iter().flatten() {
        if let Some(default) = schema.get("default") {
            let missing = match map.get(name) {
                None => true,
                Some(Value::Null) => !flag(schema, "nullable"),
                Some(_) => false,
            };
            if missing {
                map.insert(name.clone(), default.clone());
            }
        } else if map.get(name).is_some_and(Value::is_null) && !flag(schema, "nullable") {
            // A client that writes out its empty fields means that there is none.
            map.remove(name);
        }
        if let Some(value) = map.get_mut(name) {
            fill(schema, value);
        }
    }
}
