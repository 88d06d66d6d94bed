//! The subresources that write: scale, binding.

use axum::response::Response;
use http::Method;
use k8s_openapi::api::autoscaling::v1::Scale;
use serde_json::{Value, json};

use super::write::{Author, Saving, current, replace_object, stamp};
use crate::app::App;
use crate::patch::{self, PatchKind};
use crate::request::Call;
use crate::status::{ApiError, ApiResult, json_response};
use crate::tables::selector_text;
use crate::validate::{self, FieldValidation};

/// `autoscaling/v1` Scale of a Deployment, ReplicaSet or StatefulSet.
pub(super) fn scale(app: &App, call: &Call) -> ApiResult<Response> {
    if call.method == Method::GET {
        let object = app.store.read(|view| current(view, call))?;
        return Ok(json_response(200, &scale_of(&object)));
    }
    let author = Author::of(call);
    let saving = Saving {
        status: false,
        dry_run: call.dry_run()?,
        writer: Some(author.writer()),
    };
    let stored = app.store.write(|view| {
        let old = current(view, call)?;
        let shown = scale_of(&old);
        let scale = match call.method {
            Method::PUT => call.object()?,
            Method::PATCH => {
                let body: Value = serde_saphyr::from_slice(&call.body)
                    .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
                match PatchKind::of(call.content_type()) {
                    Some(PatchKind::Json) => patch::json(&shown, body)?,
                    Some(PatchKind::Merge | PatchKind::Strategic) if body.is_object() => {
                        patch::merge(&shown, &body)
                    }
                    _ => {
                        return Err(ApiError::unsupported_media(
                            "application/json-patch+json, application/merge-patch+json",
                        ));
                    }
                }
            }
            _ => return Err(ApiError::method_not_allowed()),
        };
        validate::typed::<Scale>("Scale", "v1", &scale)?;
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let cause = format!("Invalid value: {replicas}: must be greater than or equal to 0");
            return Err(ApiError::invalid(
                &call.resource,
                call.name(),
                &[("spec.replicas".into(), cause)],
            ));
        }
        let mut new = (*old).clone();
        new["spec"]["replicas"] = replicas.into();
        if let Some(revision) = scale["metadata"].get("resourceVersion") {
            new["metadata"]["resourceVersion"] = revision.clone();
        }
        validate::fields(&call.resource, &mut new, FieldValidation::Ignore)?;
        replace_object(view, &call.resource, &old, new, saving)
    })?;
    Ok(json_response(200, &scale_of(&stored)))
}

fn scale_of(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata[field] = object["metadata"][field].clone();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(1)},
        "status": {
            "replicas": object["status"]["replicas"].as_i64().unwrap_or(0),
            "selector": selector_text(&object["spec"]["selector"]),
        },
    })
}

/// The scheduler's decision: writes `spec.nodeName` once.
pub(super) fn binding(app: &App, call: &Call) -> ApiResult<Response> {
    if call.method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    let binding = call.object()?;
    let node = binding["target"]["name"].as_str().filter(|n| !n.is_empty());
    let node = node.ok_or_else(|| ApiError::bad_request("target.name: Required value"))?;
    app.store.write(|view| {
        let old = current(view, call)?;
        if let Some(bound) = old["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
            let message = format!(
                "Operation cannot be fulfilled on pods/binding \"{}\": pod {} is already assigned to node \"{bound}\"",
                call.name(),
                call.name()
            );
            return Err(ApiError::new(409, "Conflict", message));
        }
        if old["metadata"]["deletionTimestamp"].is_string() {
            return Err(ApiError::conflict(&call.resource, call.name()));
        }
        let mut new = (*old).clone();
        new["spec"]["nodeName"] = node.into();
        let now = stamp(jiff::Timestamp::now());
        let condition = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now});
        new["status"] = patch::strategic::merge(&new["status"], &json!({"conditions": [condition]}));
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        new["metadata"]["generation"] = generation.into();
        view.put(&call.resource.store_key(), call.ns(), call.name(), new)?;
        Ok(())
    })?;
    Ok(json_response(
        201,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}
