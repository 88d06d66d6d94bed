//! create, update and patch.

use std::sync::Arc;

use axum::response::Response;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::immutable;
use super::read::respond;
use crate::admission::{limits, priority, quota};
use crate::app::App;
use crate::convert::{from_stored, to_stored};
use crate::defaults;
use crate::managed::{self, Shape, Writer};
use crate::rbac;
use crate::registry::{Resource, Status};
use crate::request::Call;
use crate::schema;
use crate::status::{ApiError, ApiResult};
use crate::store::View;
use crate::validate::{self, FieldValidation};

/// Now, as Kubernetes writes it: whole seconds, UTC.
pub(super) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// How an object is written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Saving<'a> {
    /// Through the status subresource.
    pub status: bool,
    /// Everything but the writing itself.
    pub dry_run: bool,
    /// Whoever owns now what this write changes; `None`: the object tells already, or nobody does.
    pub writer: Option<Writer<'a>>,
}

/// Who a call's changes are told of in `managedFields`.
pub(super) struct Author<'a> {
    manager: String,
    api_version: String,
    subresource: Option<&'a str>,
    now: String,
}

impl<'a> Author<'a> {
    pub fn of(call: &'a Call) -> Self {
        Self::named(call, manager(call))
    }

    pub fn named(call: &'a Call, manager: String) -> Self {
        Author {
            manager,
            api_version: call.resource.api_version(),
            subresource: call.sub.as_deref(),
            now: stamp(Timestamp::now()),
        }
    }

    pub fn writer(&self) -> Writer<'_> {
        Writer {
            manager: &self.manager,
            api_version: &self.api_version,
            subresource: self.subresource,
            now: &self.now,
        }
    }
}

/// Whose the fields are that a call changes: the manager it names, else the program it comes from, else its user.
fn manager(call: &Call) -> String {
    let agent = call.headers.get(http::header::USER_AGENT);
    let agent = agent.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let program = agent.split('/').next().unwrap_or_default();
    let known = [call.params.get("fieldManager"), program, &call.user.name];
    let manager = known
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("unknown");
    // Kubernetes' own limit.
    manager.chars().take(128).collect()
}

pub(super) fn create(app: &App, call: &Call) -> ApiResult<Response> {
    let mode = FieldValidation::parse(call.params.get("fieldValidation"))?;
    let author = Author::of(call);
    let saving = Saving {
        status: false,
        dry_run: call.dry_run()?,
        writer: Some(author.writer()),
    };
    let (object, warnings) = accept(&call.resource, call.ns(), call.object()?, mode)?;
    admit_host_paths(call, None, &object)?;
    let stored = app.store.write(|view| {
        rbac::admit::admit(view, &call.user, &call.resource, None, &object)?;
        create_object(view, &call.resource, call.ns(), object, saving)
    })?;
    answer(call, 201, &stored, &warnings)
}

/// Checks a whole object sent by a client and brings it to its stored form.
pub(super) fn accept(
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
    let mut warnings = validate::fields(resource, &mut object, mode)?;
    warnings.extend(validate::warnings(resource, &object));
    match &*resource.kind {
        "CustomResourceDefinition" => warnings.extend(schema::definition::warnings(&object["spec"])),
        // A cluster whose network does not know policies says nothing: people believe themselves protected.
        "NetworkPolicy" => {
            warnings.push("it is stored, but nothing here enforces it: every connection stays allowed".into())
        }
        _ => {}
    }
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
pub(super) fn admit_change(view: &View, call: &Call, old: Option<&Value>, new: &Value) -> ApiResult<()> {
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
    saving: Saving<'_>,
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
    if &*resource.kind == "Pod" {
        priority::fill(view, resource, &mut object)?;
    }
    defaults::fill(resource, &mut object, view);
    if &*resource.kind == "Pod" {
        limits::fill_pod(view, namespace, &mut object);
    }
    validate::values(resource, &object)?;
    validate::cluster_ip(view, resource, None, &object)?;
    validate::experiments(resource, None, &object)?;
    validate::custom(resource, None, &object)?;
    limits::admit(view, resource, namespace, &object)?;
    quota::admit(view, resource, namespace, None, &object)?;
    if let Some(writer) = &saving.writer {
        managed::record(None, &mut object, Shape::of(resource), writer);
    }
    if saving.dry_run {
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
        create_object(view, &resource, namespace, account, Saving::default())?;
    }
    Ok(())
}

pub(super) fn update(app: &App, call: &Call, status: bool) -> ApiResult<Response> {
    let resource = &call.resource;
    let mode = FieldValidation::parse(call.params.get("fieldValidation"))?;
    let (new, warnings) = accept(resource, call.ns(), call.object()?, mode)?;
    let author = Author::of(call);
    let saving = Saving {
        status,
        dry_run: call.dry_run()?,
        writer: Some(author.writer()),
    };
    let stored = app.store.write(|view| {
        let old = current(view, call)?;
        admit_change(view, call, Some(&*old), &new)?;
        replace_object(view, resource, &old, new, saving)
    })?;
    answer(call, 200, &stored, &warnings)
}

pub(super) fn current(view: &View, call: &Call) -> ApiResult<Arc<Value>> {
    let found = view.get(&call.resource.store_key(), call.ns(), call.name());
    found
        .cloned()
        .ok_or_else(|| ApiError::not_found(&call.resource, call.name()))
}

/// Refuses an object that calls itself otherwise than its URL does.
pub(super) fn named_as(object: &Value, name: &str) -> ApiResult<()> {
    match object["metadata"]["name"].as_str() {
        Some(given) if given != name => Err(ApiError::bad_request(format!(
            "the name of the object ({given:?}) does not match the name on the URL ({name:?})"
        ))),
        _ => Ok(()),
    }
}

/// Replaces a stored object (both in stored form).
pub(super) fn replace_object(
    view: &mut View,
    resource: &Resource,
    old: &Arc<Value>,
    mut new: Value,
    saving: Saving<'_>,
) -> ApiResult<Arc<Value>> {
    let status = saving.status;
    let before = &old["metadata"];
    let name = before["name"].as_str().unwrap_or_default();
    let namespace = before["namespace"].as_str().unwrap_or_default();
    named_as(&new, name)?;
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
        let owners = new["metadata"].get("managedFields").cloned();
        new = (**old).clone();
        new["status"] = given;
        if let Some(owners) = owners {
            new["metadata"]["managedFields"] = owners;
        }
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
        keep_node_ports(&old["spec"], spec);
    }
    defaults::fill(resource, &mut new, view);
    validate::custom(resource, Some(&**old), &new)?;
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
    if let Some(writer) = &saving.writer {
        managed::record(Some(old), &mut new, Shape::of(resource), writer);
    }
    if new == **old {
        return Ok(Arc::clone(old));
    }
    if saving.dry_run {
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

/// A Service's ports keep the node ports they have where the new spec names none, as long as it has node ports at all.
fn keep_node_ports(old: &Value, new: &mut Map<String, Value>) {
    let kind = new.get("type").and_then(Value::as_str).unwrap_or_default();
    let has_any = kind == "NodePort" || kind == "LoadBalancer";
    let before = old["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ports = new.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        let same =
            |other: &&Value| other.get("port") == port.get("port") && other.get("name") == port.get("name");
        let had = before.iter().find(same).and_then(|port| port.get("nodePort"));
        match (has_any, had) {
            (true, Some(had)) => drop(port.entry("nodePort").or_insert_with(|| had.clone())),
            (false, Some(had)) if port.get("nodePort") == Some(had) => drop(port.remove("nodePort")),
            _ => {}
        }
    }
}

/// The stored object in the version and form asked for, with a warning header per warning.
pub(super) fn answer(
    call: &Call,
    code: u16,
    stored: &Arc<Value>,
    warnings: &[String],
) -> ApiResult<Response> {
    let object = from_stored(&call.resource, stored);
    let mut response = respond(call, code, &object);
    for warning in warnings {
        let text = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append("warning", value);
        }
    }
    Ok(response)
}
