//! get and list.

use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::page::Page;
use crate::app::App;
use crate::convert::from_stored;
use crate::registry::Resource;
use crate::request::{Call, Form};
use crate::selector::Selector;
use crate::status::{ApiError, ApiResult, json_response};
use crate::tables::{Include, Partial, Table};

pub(super) fn get(app: &App, call: &Call) -> ApiResult<Response> {
    let resource = &call.resource;
    let stored = app
        .store
        .get(&resource.store_key(), call.ns(), call.name())
        .ok_or_else(|| ApiError::not_found(resource, call.name()))?;
    let object = from_stored(resource, &stored);
    Ok(one(call, &object))
}

/// One object in the form asked for.
pub(super) fn one(call: &Call, object: &Value) -> Response {
    respond(call, 200, object)
}

/// One object in the form asked for, with a code.
pub(super) fn respond(call: &Call, code: u16, object: &Value) -> Response {
    match Form::of(&call.headers) {
        Form::Json => json_response(code, object),
        Form::Partial => json_response(code, &Partial(object)),
        Form::Table => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let include = Include::parse(call.params.get("includeObject"));
            let one = std::iter::once(object);
            json_response(code, &Table::of(&call.resource, one, metadata, include, true))
        }
    }
}

pub(super) fn list(app: &App, call: &Call) -> ApiResult<Response> {
    let selector = Selector::parse(call.params.get("labelSelector"), call.params.get("fieldSelector"))?;
    let resource = &call.resource;
    let listed = |object: &Arc<Value>| {
        let shown = call.shows(object).then(|| from_stored(resource, object))?;
        selector.matches(&shown).then_some(shown)
    };
    let (key, namespace) = (resource.store_key(), call.namespace.as_deref());
    let page = Page::of(&call.params)?;
    let piece = page.take(&app.store, &key, namespace, selector.is_empty(), listed)?;
    let objects = piece.objects.iter().map(|object| &**object);
    Ok(match Form::of(&call.headers) {
        Form::Table => {
            let include = Include::parse(call.params.get("includeObject"));
            let table = Table::of_list(resource, &piece.objects, piece.metadata, include, &app.rows);
            json_response(200, &table)
        }
        Form::Partial => {
            let list = List {
                kind: "PartialObjectMetadataList".into(),
                api_version: "meta.k8s.io/v1".into(),
                metadata: piece.metadata,
                items: objects.map(Partial).collect(),
            };
            json_response(200, &list)
        }
        Form::Json => list_response(resource, piece.metadata, objects),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<T> {
    kind: String,
    api_version: String,
    metadata: Value,
    items: Vec<T>,
}

/// A list of whole objects, written without copying them. `metadata`: the list's own.
pub(super) fn list_response<'a>(
    resource: &Resource,
    metadata: Value,
    objects: impl Iterator<Item = &'a Value>,
) -> Response {
    let list = List {
        kind: format!("{}List", resource.kind),
        api_version: resource.api_version(),
        metadata,
        items: objects.collect(),
    };
    json_response(200, &list)
}
