//! create, update and patch.

use std::sync::Arc;

use axum::response::Response;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::immutable;
use super::read::one;
use crate::admission::{limits, quota};
use crate::app::App;
use crate::convert::{from_stored, to_stored};
use crate::defaults;
use crate::patch::{self, PatchKind};
use crate::rbac;
use crate::registry::{Resource, Status};
use crate::request::Call;
use crate::status::{ApiError, ApiResult, json_response};
use crate::store::View;
use crate::validate::{self, FieldValidation};

/// Now, as Kubernetes writes it: whole seconds, UTC.
pub(super) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(super) fn create(app: &App, call: &Call) -> ApiResult<Response> {
    let mode = FieldValidation::parse(call.params.get("fieldValidation"))?;
    let (object, warnings) = accept(&call.resource, call.ns(), call.object()?, mode)?;
    admit_host_paths(call, None, &object)?;
    let dry_run = call.dry_run()?;
    let stored = app.store.write(|view| {
        rbac::admit::admit(view, &call.user, &call.resource, None, &object)?;
        create_object(view, &call.resource, call.ns(), object, dry_run)
    })?;
    answer(call, 201, &stored, &warnings)
}

/// Checks a whole object sent by a client and brings it to its stored form.
fn accept(
    resource: &Resource,
    namespace: &str,
    mut object: Value,
    mode: FieldValidation,
) -> ApiResult<(Value, Vec<String>)> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the body is not an object"));
    }
    let expected = [
        ("apiVersion", resource.api_version()),
        ("kind", resource.kind.to_string()),
    ];
    for (field, expected) in expected {
        match object[field].as_str() {
            Some(given) if given == expected => {}
            None | Some("") => object[field] = expected.into(),
            Some(given) => {
                let what = if field == "kind" { "kind" } else { "API version" };
                return Err(ApiError::bad_request(format!(
                    "the {what} in the data ({given}) does not match the expected {what} ({expected})"
                )));
            }
        }
    }
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    if !object["metadata"].is_object() {
        return Err(ApiError::bad_request("metadata is not an object"));
    }
    let warnings = validate::fields(resource, &mut object, mode)?;
    let metadata = object["metadata"]
        .as_object_mut()
        .ok_or_else(|| ApiError::bad_request("metadata is not an object"))?;
    if resource.namespaced {
        let given = metadata
            .get("namespace")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !given.is_empty() && given != namespace {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        metadata.insert("namespace".into(), namespace.into());
    } else {
        metadata.remove("namespace");
    }
    Ok((to_stored(resource, object), warnings))
}

/// At the write of whoever wants the pods: the controllers, who make them from a template, are trusted.
fn admit_host_paths(call: &Call, old: Option<&Value>, new: &Value) -> ApiResult<()> {
    if call.trusted {
        return Ok(());
    }
    validate::host_paths(&call.resource, old, new)
}

/// What a caller's own write of an object must satisfy, beyond being valid.
fn admit_change(view: &View, call: &Call, old: Option<&Value>, new: &Value) -> ApiResult<()> {
    admit_host_paths(call, old, new)?;
    if let (Some(old), Some("status"), false) = (old, call.sub.as_deref(), call.trusted) {
        validate::addresses(&call.resource, old, new)?;
    }
    rbac::admit::admit(view, &call.user, &call.resource, old, new)
}

/// Stores a new object, already in its stored form.
pub(crate) fn create_object(
    view: &mut View,
    resource: &Resource,
    namespace: &str,
    mut object: Value,
    dry_run: bool,
) -> ApiResult<Arc<Value>> {
    let key = resource.store_key();
    let metadata = object["metadata"]
        .as_object_mut()
        .ok_or_else(|| ApiError::bad_request("metadata is not an object"))?;
    let text =
        |m: &Map<String, Value>, k: &str| m.get(k).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut name = text(metadata, "name");
    if name.is_empty() {
        let prefix = text(metadata, "generateName");
        if !prefix.is_empty() {
            name = unused_name(view, &key, namespace, &prefix);
            metadata.insert("name".into(), name.clone().into());
        }
    }
    if resource.namespaced {
        admit_into_namespace(view, resource, namespace, &name)?;
    }
    if view.get(&key, namespace, &name).is_some() {
        return Err(ApiError::already_exists(resource, &name));
    }
    for field in [
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), stamp(Timestamp::now()).into());
    if object.get("spec").is_some() {
        object["metadata"]["generation"] = 1.into();
    }
    // A node arrives with its status: its kubelet measured it. An experiment does not: what an exported one has done is not
    // what its copy has done.
    if resource.status != Status::None
        && &*resource.kind != "Node"
        && let Some(object) = object.as_object_mut()
    {
        object.remove("status");
    }
    defaults::fill(resource, &mut object, view);
    if &*resource.kind == "Pod" {
        limits::fill_pod(view, namespace, &mut object);
    }
    validate::values(resource, &object)?;
    validate::cluster_ip(view, resource, None, &object)?;
    validate::experiments(resource, None, &object)?;
    limits::admit(view, resource, namespace, &object)?;
    quota::admit(view, resource, namespace, None, &object)?;
    if dry_run {
        return Ok(Arc::new(object));
    }
    let stored = view.put(&key, namespace, &name, object)?;
    match &*resource.kind {
        "Namespace" => {
            default_service_account(view, &name)?;
            rbac::bootstrap::bind_in(view, &name)?;
        }
        "CustomResourceDefinition" => rbac::bootstrap::seat_rules(view)?,
        _ => {}
    }
    Ok(stored)
}

fn unused_name(view: &View, key: &str, namespace: &str, prefix: &str) -> String {
    // Kubernetes' alphabet: no vowels, so no words; no digits that look like letters.
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    loop {
        let suffix: String = (0..5)
            .map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())]))
            .collect();
        let name = format!("{prefix}{suffix}");
        if view.get(key, namespace, &name).is_none() {
            return name;
        }
    }
}

fn admit_into_namespace(view: &View, resource: &Resource, namespace: &str, name: &str) -> ApiResult<()> {
    let Some(found) = view.get("namespaces", "", namespace) else {
        return Err(ApiError::new(
            404,
            "NotFound",
            format!("namespaces \"{namespace}\" not found"),
        ));
    };
    if found["metadata"]["deletionTimestamp"].is_string() {
        return Err(ApiError::forbidden(format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
            resource.key()
        )));
    }
    Ok(())
}

/// Every namespace has the account its pods run under.
fn default_service_account(view: &mut View, namespace: &str) -> ApiResult<()> {
    if let Some(resource) = crate::registry::find("", "v1", "serviceaccounts") {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace}});
        create_object(view, &resource, namespace, account, false)?;
    }
    Ok(())
}

pub(super) fn update(app: &App, call: &Call, status: bool) -> ApiResult<Response> {
    let resource = &call.resource;
    let mode = FieldValidation::parse(call.params.get("fieldValidation"))?;
    let (new, warnings) = accept(resource, call.ns(), call.object()?, mode)?;
    let dry_run = call.dry_run()?;
    let stored = app.store.write(|view| {
        let old = current(view, call)?;
        admit_change(view, call, Some(&*old), &new)?;
        replace_object(view, resource, &old, new, status, dry_run)
    })?;
    answer(call, 200, &stored, &warnings)
}

fn current(view: &View, call: &Call) -> ApiResult<Arc<Value>> {
    let found = view.get(&call.resource.store_key(), call.ns(), call.name());
    found
        .cloned()
        .ok_or_else(|| ApiError::not_found(&call.resource, call.name()))
}

/// Replaces a stored object (both in stored form). `status`: through the status subresource.
pub(super) fn replace_object(
    view: &mut View,
    resource: &Resource,
    old: &Arc<Value>,
    mut new: Value,
    status: bool,
    dry_run: bool,
) -> ApiResult<Arc<Value>> {
    let before = &old["metadata"];
    let name = before["name"].as_str().unwrap_or_default();
    let namespace = before["namespace"].as_str().unwrap_or_default();
    if new["metadata"]["name"].as_str().is_some_and(|n| n != name) {
        let given = &new["metadata"]["name"];
        let message =
            format!("the name of the object ({given}) does not match the name on the URL (\"{name}\")");
        return Err(ApiError::bad_request(message));
    }
    let conflicts = |field: &str| {
        new["metadata"][field]
            .as_str()
            .is_some_and(|given| !given.is_empty() && before[field] != given)
    };
    if conflicts("resourceVersion") || conflicts("uid") {
        return Err(ApiError::conflict(resource, name));
    }
    if status {
        let given = new["status"].take();
        new = (**old).clone();
        new["status"] = given;
    } else if resource.status == Status::Split {
        let keep = old.get("status").cloned();
        match (new.as_object_mut(), keep) {
            (Some(new), Some(keep)) => drop(new.insert("status".into(), keep)),
            (Some(new), None) => drop(new.remove("status")),
            (None, _) => {}
        }
    }
    let Some(metadata) = new["metadata"].as_object_mut() else {
        return Err(ApiError::bad_request("metadata is not an object"));
    };
    let server_owned = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
    ];
    for field in server_owned {
        match before.get(field) {
            Some(value) => drop(metadata.insert(field.into(), value.clone())),
            None => drop(metadata.remove(field)),
        }
    }
    if let (Some(fields), None) = (before.get("managedFields"), metadata.get("managedFields")) {
        metadata.insert("managedFields".into(), fields.clone());
    }
    if &*resource.kind == "Service"
        && let Some(spec) = new["spec"].as_object_mut()
    {
        keep_address(&old["spec"], spec);
    }
    defaults::fill(resource, &mut new, view);
    if !status {
        quota::admit(view, resource, namespace, Some(&**old), &new)?;
        validate::values(resource, &new)?;
        validate::cluster_ip(view, resource, Some(&**old), &new)?;
        validate::experiments(resource, Some(old), &new)?;
        let causes = immutable::causes(resource, old, &new);
        if !causes.is_empty() {
            return Err(ApiError::invalid(resource, name, &causes));
        }
        if new.get("spec") != old.get("spec") {
            let generation = before["generation"].as_i64().unwrap_or(0) + 1;
            new["metadata"]["generation"] = generation.into();
        }
    }
    if new == **old {
        return Ok(Arc::clone(old));
    }
    if dry_run {
        return Ok(Arc::new(new));
    }
    let key = resource.store_key();
    let stored = view.put(&key, namespace, name, new)?;
    if super::delete::is_released(old, &stored) {
        super::delete::remove(view, &key, &stored)?;
    }
    Ok(stored)
}

/// A Service keeps the address it has where the new spec names none; one that turns into a name gives it back.
fn keep_address(old: &Value, new: &mut Map<String, Value>) {
    let given = |ip: Option<&Value>| ip.and_then(Value::as_str).is_some_and(|ip| !ip.is_empty());
    let external = new.get("type").is_some_and(|kind| kind == "ExternalName");
    if external && new.get("clusterIP") == old.get("clusterIP") {
        new.remove("clusterIP");
        new.remove("clusterIPs");
    } else if !external && !given(new.get("clusterIP")) {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old.get(field) {
                new.insert(field.into(), value.clone());
            }
        }
    }
}

pub(super) fn patch(app: &App, call: &Call, status: bool) -> ApiResult<Response> {
    let resource = &call.resource;
    let accepted = if resource.built_in {
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, \
         application/strategic-merge-patch+json"
    } else {
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    };
    let kind = PatchKind::of(call.content_type())
        .filter(|kind| resource.built_in || *kind != PatchKind::Strategic)
        .ok_or_else(|| ApiError::unsupported_media(accepted))?;
    let mode = FieldValidation::parse(call.params.get("fieldValidation"))?;
    let dry_run = call.dry_run()?;
    let body: Value = if kind == PatchKind::Apply {
        serde_saphyr::from_slice(&call.body)
            .map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))?
    } else {
        serde_json::from_slice(&call.body)
            .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?
    };
    if kind != PatchKind::Json && !body.is_object() {
        return Err(ApiError::bad_request("the patch is not an object"));
    }
    if kind == PatchKind::Apply {
        return apply(app, call, &body, mode, status, dry_run);
    }
    let (stored, warnings) = app.store.write(|view| -> ApiResult<_> {
        let old = current(view, call)?;
        let shown = from_stored(resource, &old);
        let new = match kind {
            PatchKind::Json => patch::json(&shown, body)?,
            PatchKind::Strategic => patch::strategic::merge(&shown, &body),
            PatchKind::Merge | PatchKind::Apply => patch::merge(&shown, &body),
        };
        let (new, warnings) = accept(resource, call.ns(), new, mode)?;
        admit_change(view, call, Some(&*old), &new)?;
        Ok((
            replace_object(view, resource, &old, new, status, dry_run)?,
            warnings,
        ))
    })?;
    answer(call, 200, &stored, &warnings)
}

fn apply(
    app: &App,
    call: &Call,
    body: &Value,
    mode: FieldValidation,
    status: bool,
    dry_run: bool,
) -> ApiResult<Response> {
    let resource = &call.resource;
    let manager = call.params.get("fieldManager");
    if manager.is_empty() {
        return Err(ApiError::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    if !(body["metadata"].is_object() || body["metadata"].is_null()) {
        return Err(ApiError::bad_request("metadata is not an object"));
    }
    if body["metadata"]["managedFields"]
        .as_array()
        .is_some_and(|m| !m.is_empty())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    // The configuration alone must be well-formed, before what lives there is mixed in.
    let mut checked = body.clone();
    checked["metadata"]["name"] = call.name().into();
    accept(resource, call.ns(), checked, mode)?;
    let now = stamp(Timestamp::now());
    let (code, stored, warnings) = app.store.write(|view| -> ApiResult<_> {
        let old = view.get(&resource.store_key(), call.ns(), call.name()).cloned();
        let shown = old.as_ref().map(|old| from_stored(resource, old));
        let live = shown.as_deref().unwrap_or(&Value::Null);
        let mut new = patch::apply::apply(live, body, manager, resource.built_in, &now);
        new["metadata"]["name"] = call.name().into();
        let (new, warnings) = accept(resource, call.ns(), new, mode)?;
        admit_change(view, call, old.as_deref(), &new)?;
        Ok(match &old {
            Some(old) => (
                200,
                replace_object(view, resource, old, new, status, dry_run)?,
                warnings,
            ),
            None => (
                201,
                create_object(view, resource, call.ns(), new, dry_run)?,
                warnings,
            ),
        })
    })?;
    answer(call, code, &stored, &warnings)
}

/// The stored object in the version and form asked for, with a warning header per warning.
pub(super) fn answer(
    call: &Call,
    code: u16,
    stored: &Arc<Value>,
    warnings: &[String],
) -> ApiResult<Response> {
    let object = from_stored(&call.resource, stored);
    let mut response = json_response(code, &one(call, &object));
    for warning in warnings {
        let text = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append("warning", value);
        }
    }
    Ok(response)
}
