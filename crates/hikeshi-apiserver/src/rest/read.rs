//! get and list.

use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::convert::from_stored;
use crate::registry::Resource;
use crate::request::{Call, Form};
use crate::selector::Selector;
use crate::status::{ApiError, ApiResult, json_response};
use crate::tables::{self, Include};

pub(super) fn get(app: &App, call: &Call) -> ApiResult<Response> {
    let resource = &call.resource;
    let stored = app
        .store
        .get(&resource.store_key(), call.ns(), call.name())
        .ok_or_else(|| ApiError::not_found(resource, call.name()))?;
    let object = from_stored(resource, &stored);
    Ok(json_response(200, &one(call, &object)))
}

/// One object in the form asked for.
pub(super) fn one(call: &Call, object: &Value) -> Value {
    match Form::of(&call.headers) {
        Form::Json => object.clone(),
        Form::Partial => tables::partial(object),
        Form::Table => {
            let revision = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            let include = Include::parse(call.params.get("includeObject"));
            tables::table(&call.resource, std::iter::once(object), revision, include, true)
        }
    }
}

pub(super) fn list(app: &App, call: &Call) -> ApiResult<Response> {
    let selector = Selector::parse(call.params.get("labelSelector"), call.params.get("fieldSelector"))?;
    let resource = &call.resource;
    let (revision, stored) = app.store.list(&resource.store_key(), call.namespace.as_deref());
    let objects: Vec<Arc<Value>> = stored
        .iter()
        .filter(|object| call.shows(object))
        .map(|object| from_stored(resource, object))
        .filter(|object| selector.matches(object))
        .collect();
    let revision = revision.to_string();
    let answer = match Form::of(&call.headers) {
        Form::Table => {
            let include = Include::parse(call.params.get("includeObject"));
            tables::table(resource, objects.iter().map(|o| &**o), &revision, include, true)
        }
        Form::Partial => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": revision},
            "items": objects.iter().map(|o| tables::partial(o)).collect::<Vec<_>>(),
        }),
        Form::Json => return Ok(list_response(resource, &revision, &objects)),
    };
    Ok(json_response(200, &answer))
}

/// A list of whole objects, written without copying them.
pub(super) fn list_response(resource: &Resource, revision: &str, objects: &[Arc<Value>]) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        kind: String,
        api_version: String,
        metadata: Value,
        items: Vec<&'a Value>,
    }
    let list = List {
        kind: format!("{}List", resource.kind),
        api_version: resource.api_version(),
        metadata: json!({"resourceVersion": revision}),
        items: objects.iter().map(|o| &**o).collect(),
    };
    json_response(200, &list)
}
