//! A definition itself: schemas that nobody could check are refused by their field; what is not done here is warned of.

use regex::Regex;
use serde_json::Value;

use super::flag;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What is wrong with the spec of a CustomResourceDefinition, as (field, message).
pub(crate) fn causes(spec: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let stored = versions.iter().filter(|version| flag(version, "storage")).count();
    if stored != 1 {
        let message = "Invalid value: must have exactly one version marked as storage version";
        found.push(("spec.versions".to_owned(), message.to_owned()));
    }
    for (at, schema) in schemas(spec) {
        match schema {
            Some(schema) => {
                if schema["type"] != "object" {
                    let message = "Invalid value: must be object at the root".to_owned();
                    found.push((format!("{at}.type"), message));
                }
                check(&at, schema, &mut found);
            }
            None => found.push((at, "Required value: schemas are required".to_owned())),
        }
    }
    found
}

/// What a definition asks for that is not done here.
pub(crate) fn warnings(spec: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (at, schema) in schemas(spec) {
        if let Some(schema) = schema {
            walk(&at, schema, &mut |at, schema| {
                if schema["x-kubernetes-validations"].is_array() {
                    found.push(format!(
                        "{at}.x-kubernetes-validations: rules are not evaluated here"
                    ));
                }
            });
        }
    }
    if spec["conversion"]["strategy"] == "Webhook" {
        let text =
            "spec.conversion.strategy: webhooks are not called here, versions differ in apiVersion only";
        found.push(text.to_owned());
    }
    for (index, version) in spec["versions"].as_array().into_iter().flatten().enumerate() {
        if version["subresources"]["scale"].is_object() {
            found.push(format!(
                "spec.versions[{index}].subresources.scale: not served here"
            ));
        }
    }
    found
}

/// Each version's schema, with its path.
fn schemas(spec: &Value) -> impl Iterator<Item = (String, Option<&Value>)> {
    let versions = spec["versions"].as_array().into_iter().flatten().enumerate();
    versions.map(|(index, version)| {
        let schema = &version["schema"]["openAPIV3Schema"];
        let at = format!("spec.versions[{index}].schema.openAPIV3Schema");
        (at, schema.is_object().then_some(schema))
    })
}

/// A schema and all in it that describe parts of the value.
fn walk(at: &str, schema: &Value, look: &mut impl FnMut(&str, &Value)) {
    look(at, schema);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{at}.properties[{name}]"), inner, look);
    }
    for name in ["items", "additionalProperties"] {
        if schema[name].is_object() {
            walk(&format!("{at}.{name}"), &schema[name], look);
        }
    }
}

fn check(at: &str, schema: &Value, found: &mut Vec<(String, String)>) {
    walk(at, schema, &mut |at, schema| {
        let mut say = |field: &str, message: String| found.push((format!("{at}.{field}"), message));
        let untyped = [
            "x-kubernetes-int-or-string",
            "x-kubernetes-preserve-unknown-fields",
        ];
        match schema["type"].as_str().filter(|name| !name.is_empty()) {
            Some(name) if !TYPES.contains(&name) => {
                let known = TYPES.map(|name| format!("{name:?}")).join(", ");
                say(
                    "type",
                    format!("Unsupported value: {name:?}: supported values: {known}"),
                );
            }
            None if !untyped.iter().any(|name| flag(schema, name)) => {
                say(
                    "type",
                    "Required value: must not be empty for specified object fields".into(),
                );
            }
            _ => {}
        }
        if schema.get("$ref").is_some() {
            say("$ref", "Forbidden: $ref is not supported".into());
        }
        if flag(schema, "uniqueItems") {
            say(
                "uniqueItems",
                "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
                    .into(),
            );
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && let Err(error) = Regex::new(pattern)
        {
            let problem = error.to_string();
            let problem = problem
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            let value = &schema["pattern"];
            let message =
                format!("Invalid value: {value}: must be a valid regular expression, but isn't: {problem}");
            say("pattern", message);
        }
        if schema["x-kubernetes-list-type"] == "map"
            && schema["x-kubernetes-list-map-keys"]
                .as_array()
                .is_none_or(Vec::is_empty)
        {
            let message = "Required value: must not be empty if x-kubernetes-list-type is map";
            say("x-kubernetes-list-map-keys", message.into());
        }
    });
}
