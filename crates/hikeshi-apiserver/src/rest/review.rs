//! `kubectl auth can-i` and `whoami`: answered from the function that guards every request.

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::authz::{Attributes, Decision, User, authorize};
use crate::registry;
use crate::request::Call;
use crate::status::{ApiError, ApiResult, json_response};

pub(super) fn handle(app: &App, user: &User, call: &Call) -> ApiResult<Response> {
    if call.method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    let mut review = call.object()?;
    if !review.is_object() || !(review["spec"].is_object() || review["spec"].is_null()) {
        return Err(ApiError::bad_request("the review is not an object"));
    }
    let allowed = |ask: &Attributes<'_>| authorize(user, ask, &app.home) != Decision::Deny;
    review["status"] = match &*call.resource.kind {
        "SelfSubjectReview" => json!({"userInfo": {"username": user.name, "groups": user.groups}}),
        "SelfSubjectAccessReview" => access(&review["spec"], allowed),
        "SelfSubjectRulesReview" => rules(review["spec"]["namespace"].as_str().unwrap_or(&app.home), allowed),
        _ => return Err(ApiError::no_such_path()),
    };
    review["apiVersion"] = call.resource.api_version().into();
    review["kind"] = call.resource.kind.as_ref().into();
    Ok(json_response(201, &review))
}

fn access(spec: &Value, allowed: impl Fn(&Attributes<'_>) -> bool) -> Value {
    let ask = &spec["resourceAttributes"];
    if !ask.is_object() {
        // Discovery, health and version are open to whoever is known.
        let verb = spec["nonResourceAttributes"]["verb"].as_str().unwrap_or_default();
        return json!({"allowed": verb == "get"});
    }
    let text = |key: &str| ask[key].as_str().filter(|s| !s.is_empty());
    let (group, resource) = (
        text("group").unwrap_or_default(),
        text("resource").unwrap_or_default(),
    );
    let known = registry::built_in()
        .iter()
        .find(|r| r.group == group && r.plural == resource);
    let namespaced = known.is_none_or(|r| r.namespaced);
    let attributes = Attributes {
        verb: text("verb").unwrap_or_default(),
        group,
        resource,
        subresource: text("subresource"),
        namespace: text("namespace").filter(|_| namespaced),
        name: text("name"),
        namespaced,
    };
    let yes = allowed(&attributes);
    if yes {
        json!({"allowed": true})
    } else {
        json!({"allowed": false, "reason": "not granted to this role"})
    }
}

fn rules(namespace: &str, allowed: impl Fn(&Attributes<'_>) -> bool) -> Value {
    let mut rules = Vec::new();
    for resource in registry::built_in() {
        let may = |verb: &&&str| {
            allowed(&Attributes {
                verb,
                group: &resource.group,
                resource: &resource.plural,
                namespace: resource.namespaced.then_some(namespace),
                namespaced: resource.namespaced,
                ..Attributes::default()
            })
        };
        let verbs: Vec<&&str> = resource.verbs().iter().filter(may).collect();
        if !verbs.is_empty() {
            rules
                .push(json!({"verbs": verbs, "apiGroups": [resource.group], "resources": [resource.plural]}));
        }
    }
    let open = json!([{"verbs": ["get"], "nonResourceURLs":
        ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version"]}]);
    json!({"resourceRules": rules, "nonResourceRules": open, "incomplete": false})
}
