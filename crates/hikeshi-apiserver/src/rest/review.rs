//! `kubectl auth can-i` and `whoami`, and other programs' questions: answered from the function that guards every request.

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::authz::{Attributes, Decision, User, authorize};
use crate::rbac::{Policy, Rule};
use crate::registry;
use crate::request::Call;
use crate::status::{ApiError, ApiResult, json_response};

pub(super) fn handle(app: &App, call: &Call) -> ApiResult<Response> {
    if call.method != Method::POST || call.name.is_some() {
        return Err(ApiError::method_not_allowed());
    }
    let (user, policy) = (&call.user, app.policy());
    let mut review = call.object()?;
    if !review.is_object() || !(review["spec"].is_object() || review["spec"].is_null()) {
        return Err(ApiError::bad_request("the review is not an object"));
    }
    let spec = &review["spec"];
    review["status"] = match &*call.resource.kind {
        "SelfSubjectReview" => json!({"userInfo": {"username": user.name, "groups": user.groups}}),
        "SelfSubjectAccessReview" => access(&policy, user, spec),
        "SelfSubjectRulesReview" => rules(
            &policy,
            user,
            spec["namespace"]
                .as_str()
                .filter(|ns| !ns.is_empty())
                .unwrap_or(&app.home),
        ),
        "SubjectAccessReview" => access(&policy, &subject(spec)?, spec),
        "LocalSubjectAccessReview" => {
            if spec["resourceAttributes"]["namespace"] != *call.ns() {
                let message = "spec.resourceAttributes.namespace must match metadata.namespace";
                return Err(ApiError::bad_request(message));
            }
            access(&policy, &subject(spec)?, spec)
        }
        _ => return Err(ApiError::no_such_path()),
    };
    review["apiVersion"] = call.resource.api_version().into();
    review["kind"] = call.resource.kind.as_ref().into();
    Ok(json_response(201, &review))
}

/// Whom a SubjectAccessReview asks about.
fn subject(spec: &Value) -> ApiResult<User> {
    let name = spec["user"].as_str().unwrap_or_default();
    let groups: Vec<String> = spec["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group.as_str().map(str::to_owned))
        .collect();
    if name.is_empty() && groups.is_empty() {
        return Err(ApiError::bad_request(
            "at least one of spec.user and spec.groups must be specified",
        ));
    }
    Ok(User {
        name: name.to_owned(),
        groups,
    })
}

fn access(policy: &Policy, user: &User, spec: &Value) -> Value {
    let ask = &spec["resourceAttributes"];
    let yes = if ask.is_object() {
        of_resource(policy, user, ask)
    } else {
        let ask = &spec["nonResourceAttributes"];
        let text = |key: &str| ask[key].as_str().unwrap_or_default();
        user.is_trusted() || policy.allows_path(user, text("verb"), text("path"))
    };
    if yes {
        json!({"allowed": true})
    } else {
        json!({"allowed": false, "reason": "no role of this user grants it"})
    }
}

fn of_resource(policy: &Policy, user: &User, ask: &Value) -> bool {
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
    authorize(policy, user, &attributes) != Decision::Deny
}

fn rules(policy: &Policy, user: &User, namespace: &str) -> Value {
    let everything = [
        Rule {
            verbs: vec!["*".into()],
            api_groups: vec!["*".into()],
            resources: vec!["*".into()],
            ..Rule::default()
        },
        Rule {
            verbs: vec!["*".into()],
            non_resource_urls: vec!["*".into()],
            ..Rule::default()
        },
    ];
    let granted: Vec<&Rule> = if user.is_trusted() {
        everything.iter().collect()
    } else {
        policy.rules(user, Some(namespace)).collect()
    };
    let (paths, resources): (Vec<&Rule>, Vec<&Rule>) = granted
        .into_iter()
        .partition(|rule| !rule.non_resource_urls.is_empty());
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}
