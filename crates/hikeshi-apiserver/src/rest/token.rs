//! `kubectl create token`: a service account's token for a limited time.

use axum::response::Response;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::TokenRequest;
use serde_json::json;

use super::write::stamp;
use crate::app::App;
use crate::request::Call;
use crate::status::{ApiError, ApiResult, json_response};
use crate::token::{Bearer, Binding};
use crate::validate;

const USUAL_SECONDS: i64 = 3600;
/// Kubernetes' own limits.
const SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;
const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

pub(super) fn handle(app: &App, call: &Call) -> ApiResult<Response> {
    if call.method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    let account = app.store.get("serviceaccounts", call.ns(), call.name());
    let account = account.ok_or_else(|| ApiError::not_found(&call.resource, call.name()))?;
    let mut request = call.object()?;
    // Only ours to say; kubectl 1.30 sends one whose time is null.
    if let Some(request) = request.as_object_mut() {
        request.remove("status");
    }
    validate::typed::<TokenRequest>("TokenRequest", "v1", &request)?;
    let spec = &request["spec"];
    let refuse = |field: &str, problem: &str| {
        let message = format!(
            "TokenRequest.authentication.k8s.io \"{}\" is invalid: {field}: {problem}",
            call.name()
        );
        ApiError::new(422, "Invalid", message)
    };
    let other = |audience: &serde_json::Value| audience != AUDIENCE;
    if spec["audiences"]
        .as_array()
        .is_some_and(|list| list.iter().any(other))
    {
        return Err(refuse(
            "spec.audiences",
            "Invalid value: only this server accepts its tokens",
        ));
    }
    let mut bearer = Bearer::of(call.ns(), call.name());
    bearer.account.uid = account["metadata"]["uid"].as_str().map(str::to_owned);
    if spec["boundObjectRef"].is_object() {
        let wanted = &spec["boundObjectRef"];
        let text = |field: &str| wanted[field].as_str().unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        let Some(binding) = Binding::of_kind(kind) else {
            let problem = format!("Invalid value: {kind:?}: cannot bind token to object of this kind");
            return Err(refuse("spec.boundObjectRef.kind", &problem));
        };
        let found = app.store.get(binding.key(), binding.namespace(call.ns()), name);
        let Some(found) = found else {
            let message = format!("{} {name:?} not found", binding.key());
            return Err(ApiError::new(404, "NotFound", message));
        };
        let uid = found["metadata"]["uid"].as_str().unwrap_or_default();
        if !matches!(text("uid"), "") && text("uid") != uid {
            let message = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
                 deleted and then recreated",
                text("uid")
            );
            return Err(ApiError::new(409, "Conflict", message));
        }
        bearer = bearer.bound_to(binding, name, uid);
    }
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(USUAL_SECONDS);
    if !SECONDS.contains(&seconds) {
        return Err(refuse(
            "spec.expirationSeconds",
            "Invalid value: may not specify a duration less than 10 minutes or more than 2^32 seconds",
        ));
    }
    let until = Timestamp::now()
        .checked_add(SignedDuration::from_secs(seconds))
        .map_err(|e| ApiError::bad_request(e.to_string()))?;
    let token = app.pki.sign_token(&bearer, Some(until));
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    request["kind"] = "TokenRequest".into();
    request["metadata"]["name"] = call.name().into();
    request["metadata"]["namespace"] = call.ns().into();
    request["spec"]["audiences"] = json!([AUDIENCE]);
    request["spec"]["expirationSeconds"] = seconds.into();
    request["status"] = json!({"token": token, "expirationTimestamp": stamp(until)});
    Ok(json_response(201, &request))
}
