//! OpenAPI v3: an index, and a document per group version. They tell kubectl that the server validates fields itself, and
//! `kubectl explain` what the fields are. They do not declare strategic merge patches: without merge keys kubectl would
//! then replace whole lists.

mod schemas;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::registry::Resource;
use schemas::Schemas;

fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// `/openapi/v3`
pub(crate) fn index(resources: &[Arc<Resource>]) -> Value {
    let paths: BTreeSet<String> = resources.iter().map(|r| path_of(&r.group, &r.version)).collect();
    let paths: Map<String, Value> = paths
        .into_iter()
        .map(|path| {
            let hash = hash(&path, resources);
            let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")});
            (path, url)
        })
        .collect();
    json!({"paths": paths})
}

/// What changes when a document does: clients keep a document as long as its address holds the same.
pub(crate) fn hash(path: &str, resources: &[Arc<Resource>]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(concat!(env!("CARGO_PKG_VERSION"), " "));
    hasher.update(crate::app::VERSION);
    for r in resources.iter().filter(|r| path_of(&r.group, &r.version) == path) {
        hasher.update(format!(" {} {} {:?}", r.kind, r.namespaced, r.schema));
    }
    let digest = hasher.finalize();
    digest[..16].iter().map(|byte| format!("{byte:02X}")).collect()
}

/// `/openapi/v3/PATH`; `None` when there is no such group version.
pub(crate) fn document(path: &str, resources: &[Arc<Resource>]) -> Option<Value> {
    let mut known = Schemas::new();
    let mut own: Map<String, Value> = Map::new();
    let mut named: Vec<(&Resource, String)> = Vec::new();
    for r in resources.iter().filter(|r| path_of(&r.group, &r.version) == path) {
        let name = known.add(r).unwrap_or_else(|| {
            let name = schema_name(r);
            own.insert(name.clone(), schema_of(r));
            name
        });
        named.push((r, name));
    }
    let (mut paths, mut schemas) = (Map::new(), known.into_map());
    schemas.extend(own);
    for (r, schema) in named {
        let gvk = json!({"group": r.group, "version": r.version, "kind": r.kind});
        schemas[&schema]["x-kubernetes-group-version-kind"] = json!([gvk]);
        let operation = |action: &str| {
            let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
            let reference = json!({"$ref": format!("#/components/schemas/{schema}")});
            let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
                .map(parameter)
                .into();
            json!({
                "operationId": format!("{action}{}", r.kind), "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": gvk,
                "parameters": parameters,
                "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
            })
        };
        let scope = if r.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let base = format!("/{path}{scope}/{}", r.plural);
        paths.insert(
            base.clone(),
            json!({"get": operation("list"), "post": operation("post")}),
        );
        let one = json!({"get": operation("get"), "put": operation("put"), "patch": operation("patch"),
            "delete": operation("delete")});
        paths.insert(format!("{base}/{{name}}"), one);
    }
    if paths.is_empty() {
        return None;
    }
    Some(
        json!({"openapi": "3.0.0", "info": {"title": "Hikeshi", "version": crate::app::VERSION},
        "paths": paths, "components": {"schemas": schemas}}),
    )
}

fn schema_name(r: &Resource) -> String {
    let group = r
        .group
        .split('.')
        .next()
        .filter(|g| !g.is_empty())
        .unwrap_or("core");
    if r.built_in {
        format!("io.k8s.api.{group}.{}.{}", r.version, r.kind)
    } else {
        format!("{group}.{}.{}", r.version, r.kind)
    }
}

/// The schema of a kind whose Go types are not known: its definition's, else that it has a spec and a status.
fn schema_of(r: &Resource) -> Value {
    let free = |text: &str| json!({"type": "object", "description": text, "x-kubernetes-preserve-unknown-fields": true});
    let mut schema = match &r.schema {
        Some(schema) => (**schema).clone(),
        None => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"spec": free("What is wanted."), "status": free("What is.")}}),
    };
    let text = |text: &str| json!({"type": "string", "description": text});
    let implied = [
        (
            "apiVersion",
            text("The version of this representation of an object."),
        ),
        ("kind", text("The kind of the object.")),
        (
            "metadata",
            free("Standard object's metadata: name, namespace, labels, annotations."),
        ),
    ];
    for (name, field) in implied {
        schema["properties"][name] = field;
    }
    if schema["description"].is_null() {
        schema["description"] = format!("{} ({})", r.kind, r.api_version()).into();
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definitions_schema_is_in_its_document_and_in_its_hash() {
        let crd = |text: &str| {
            json!({"spec": {"group": "f.example", "names": {"plural": "pumps", "kind": "Pump"}, "versions": [{"name": "v1", "served": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "description": text}}}}}]}})
        };
        let (one, two) = (
            crate::registry::from_crd(&crd("one")),
            crate::registry::from_crd(&crd("two")),
        );
        let path = "apis/f.example/v1";
        assert_ne!(hash(path, &one), hash(path, &two));
        let schema = &document(path, &one).unwrap()["components"]["schemas"]["f.v1.Pump"];
        assert_eq!(schema["properties"]["spec"]["description"], "one");
        assert_eq!(schema["properties"]["kind"]["type"], "string");
        assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Pump");
    }
}
