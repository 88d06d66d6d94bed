//! patch: the three kinds that change what is there, and server-side apply.

use axum::response::Response;
use serde_json::Value;

use super::write::{
    Author, Saving, accept, admit_change, answer, create_object, current, named_as, replace_object,
};
use crate::app::App;
use crate::authz::{Attributes, refusal};
use crate::convert::from_stored;
use crate::managed::Shape;
use crate::patch::apply::Part;
use crate::patch::{self, PatchKind};
use crate::rbac::Policy;
use crate::request::Call;
use crate::status::{ApiError, ApiResult};
use crate::store::View;
use crate::validate::FieldValidation;

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
    if call.params.flag("force") {
        return Err(ApiError::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
        ));
    }
    let author = Author::of(call);
    let saving = Saving {
        status,
        dry_run,
        writer: Some(author.writer()),
    };
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
        Ok((replace_object(view, resource, &old, new, saving)?, warnings))
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
    named_as(body, call.name())?;
    // The configuration alone must be well-formed, before what lives there is mixed in.
    let mut checked = body.clone();
    checked["metadata"]["name"] = call.name().into();
    accept(resource, call.ns(), checked, mode)?;
    let author = Author::named(call, manager.to_owned());
    let (shape, part) = (Shape::of(resource), Part::of(resource.status, status));
    let force = call.params.flag("force");
    let saving = Saving {
        status,
        dry_run,
        writer: None,
    };
    let (code, stored, warnings) = app.store.write(|view| -> ApiResult<_> {
        let old = view.get(&resource.store_key(), call.ns(), call.name()).cloned();
        let shown = old.as_ref().map(|old| from_stored(resource, old));
        let live = shown.as_deref().unwrap_or(&Value::Null);
        let mut new = patch::apply::apply(live, body, shape, part, &author.writer(), force)?;
        new["metadata"]["name"] = call.name().into();
        let (new, warnings) = accept(resource, call.ns(), new, mode)?;
        admit_change(view, call, old.as_deref(), &new)?;
        Ok(match &old {
            Some(old) => (200, replace_object(view, resource, old, new, saving)?, warnings),
            None if status => return Err(ApiError::not_found(resource, call.name())),
            None => {
                may_create(view, call, body)?;
                (
                    201,
                    create_object(view, resource, call.ns(), new, saving)?,
                    warnings,
                )
            }
        })
    })?;
    answer(call, code, &stored, &warnings)
}

/// An apply that finds nothing is a creation: it needs that right, and must not bring back what its writer knew as
/// another object.
fn may_create(view: &View, call: &Call, body: &Value) -> ApiResult<()> {
    let resource = &call.resource;
    let known = |field: &str| {
        body["metadata"][field]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    };
    if known("uid") || known("resourceVersion") {
        return Err(ApiError::conflict(resource, call.name()));
    }
    let question = Attributes {
        verb: "create",
        group: &resource.group,
        resource: &resource.plural,
        namespace: call.namespace.as_deref(),
        name: Some(call.name()),
        namespaced: resource.namespaced,
        ..Attributes::default()
    };
    if call.trusted || Policy::of(view).allows(&call.user, &question) {
        return Ok(());
    }
    Err(ApiError::forbidden(refusal(&call.user, &question)))
}
