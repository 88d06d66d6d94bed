//! OpenAPI v3: an index, and a document per group version. They tell kubectl that the server validates fields itself, and
//! `kubectl explain` what the fields are. They do not declare strategic merge patches: without merge keys kubectl would
//! then replace whole lists.

mod schemas;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::registry::Resource;

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
            let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
            (path, url)
        })
        .collect();
    json!({"paths": paths})
}

/// `/openapi/v3/PATH`; `None` when there is no such group version.
pub(crate) fn document(path: &str, resources: &[Arc<Resource>]) -> Option<Value> {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for r in resources.iter().filter(|r| path_of(&r.group, &r.version) == path) {
        let gvk = json!({"group": r.group, "version": r.version, "kind": r.kind});
        let schema = schemas::insert(r, &mut schemas).unwrap_or_else(|| {
            let name = schema_name(r);
            schemas.insert(name.clone(), schema_of(r));
            name
        });
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

fn schema_of(r: &Resource) -> Value {
    let free = |text: &str| json!({"type": "object", "description": text, "x-kubernetes-preserve-unknown-fields": true});
    let mut properties = json!({
        "apiVersion": {"type": "string", "description": "The version of this representation of an object."},
        "kind": {"type": "string", "description": "The kind of the object."},
        "metadata": free("Standard object's metadata: name, namespace, labels, annotations."),
    });
    match &*r.kind {
        "ConfigMap" => {
            let text = json!({"type": "object", "additionalProperties": {"type": "string"}, "description": "Files or settings."});
            properties["data"] = text;
        }
        "Secret" => {
            let text = json!({"type": "object", "additionalProperties": {"type": "string"}, "description": "Base64 values."});
            properties["data"] = text;
            properties["type"] = json!({"type": "string", "description": "What the secret is for."});
        }
        _ => {
            properties["spec"] = free("What is wanted.");
            properties["status"] = free("What is.");
        }
    }
    json!({
        "type": "object", "description": format!("{} ({})", r.kind, r.api_version()), "properties": properties,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}
