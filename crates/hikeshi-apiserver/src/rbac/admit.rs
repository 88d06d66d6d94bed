//! What a Role or a binding must be to be stored: well-formed, and granting nothing that its writer does not hold.

use serde_json::Value;

use super::cover::missing;
use super::{CLUSTER_ROLES, GROUP, Policy, ROLES, Rule, rules_of};
use crate::authz::{Attributes, User};
use crate::registry::Resource;
use crate::status::{ApiError, ApiResult};
use crate::store::View;

/// Checks a write of an RBAC object, given in its stored form. Other kinds pass.
pub(crate) fn admit(
    view: &View,
    user: &User,
    resource: &Resource,
    old: Option<&Value>,
    new: &Value,
) -> ApiResult<()> {
    if resource.group != GROUP {
        return Ok(());
    }
    let is_role = resource.plural.ends_with("roles");
    well_formed(resource, is_role, old, new)?;
    let field = if is_role { "rules" } else { "subjects" };
    let unchanged = old.is_some_and(|old| old[field] == new[field]);
    if user.is_trusted() || unchanged {
        return Ok(());
    }
    let namespace = new["metadata"]["namespace"].as_str();
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let policy = Policy::of(view);
    let may = |verb: &str, plural: &str, name: &str| {
        policy.allows(
            user,
            &Attributes {
                verb,
                group: GROUP,
                resource: plural,
                namespace,
                name: Some(name),
                namespaced: namespace.is_some(),
                ..Attributes::default()
            },
        )
    };
    let wanted: Vec<Rule> = if is_role {
        if may("escalate", &resource.plural, name) {
            return Ok(());
        }
        rules_of(new)
    } else {
        let role = new["roleRef"]["name"].as_str().unwrap_or_default();
        let cluster = new["roleRef"]["kind"] == "ClusterRole";
        let (plural, key) = if cluster {
            ("clusterroles", CLUSTER_ROLES)
        } else {
            ("roles", ROLES)
        };
        if may("bind", plural, role) {
            return Ok(());
        }
        let namespace = if cluster {
            ""
        } else {
            namespace.unwrap_or_default()
        };
        let found = view
            .get(key, namespace, role)
            .ok_or_else(|| ApiError::new(404, "NotFound", format!("{key} \"{role}\" not found")))?;
        rules_of(found)
    };
    let owned: Vec<&Rule> = policy.rules(user, namespace).collect();
    let missing = missing(&owned, &wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = missing.iter().map(words).collect();
    Err(ApiError::forbidden(format!(
        "{} \"{name}\" is forbidden: user \"{}\" (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        resource.key(),
        user.name,
        user.groups,
        lines.join("\n")
    )))
}

/// A rule as Kubernetes prints it.
fn words(rule: &Rule) -> String {
    let mut parts = Vec::new();
    let fields = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.resource_names),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("Verbs", &rule.verbs),
    ];
    for (name, list) in fields {
        if !list.is_empty() {
            parts.push(format!("{name}:{list:?}"));
        }
    }
    format!("{{{}}}", parts.join(", "))
}

fn well_formed(resource: &Resource, is_role: bool, old: Option<&Value>, new: &Value) -> ApiResult<()> {
    let mut causes: Vec<(String, String)> = Vec::new();
    let mut fault = |field: String, message: &str| causes.push((field, message.to_owned()));
    if is_role {
        if new.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
            fault(
                "aggregationRule".into(),
                "Forbidden: aggregated ClusterRoles are not served here; write their rules out",
            );
        }
        for (i, rule) in rules_of(new).iter().enumerate() {
            let at = |field: &str| format!("rules[{i}].{field}");
            if rule.verbs.is_empty() {
                fault(
                    at("verbs"),
                    "Required value: verbs must contain at least one value",
                );
            }
            if !rule.non_resource_urls.is_empty() {
                if resource.namespaced {
                    fault(
                        at("nonResourceURLs"),
                        "Invalid value: namespaced rules cannot apply to non-resource URLs",
                    );
                }
                if !rule.api_groups.is_empty() || !rule.resources.is_empty() {
                    fault(
                        at("nonResourceURLs"),
                        "Invalid value: rules cannot apply to both regular resources and non-resource URLs",
                    );
                }
            } else {
                if rule.api_groups.is_empty() {
                    fault(
                        at("apiGroups"),
                        "Required value: resource rules must supply at least one api group",
                    );
                }
                if rule.resources.is_empty() {
                    fault(
                        at("resources"),
                        "Required value: resource rules must supply at least one resource",
                    );
                }
            }
        }
    } else {
        let role = &new["roleRef"];
        let kinds: &[&str] = if resource.namespaced {
            &["Role", "ClusterRole"]
        } else {
            &["ClusterRole"]
        };
        if !role["kind"].as_str().is_some_and(|kind| kinds.contains(&kind)) {
            fault(
                "roleRef.kind".into(),
                &format!("Unsupported value: {}: supported values: {kinds:?}", role["kind"]),
            );
        }
        if role["name"].as_str().is_none_or(str::is_empty) {
            fault("roleRef.name".into(), "Required value");
        }
        if old.is_some_and(|old| old["roleRef"] != *role) {
            fault("roleRef".into(), "Invalid value: cannot change roleRef");
        }
        for (i, subject) in new["subjects"].as_array().into_iter().flatten().enumerate() {
            let kind = subject["kind"].as_str().unwrap_or_default();
            if !matches!(kind, "User" | "Group" | "ServiceAccount") {
                fault(
                    format!("subjects[{i}].kind"),
                    &format!(
                        "Unsupported value: \"{kind}\": supported values: \"Group\", \"ServiceAccount\", \"User\""
                    ),
                );
            }
            if subject["name"].as_str().is_none_or(str::is_empty) {
                fault(format!("subjects[{i}].name"), "Required value");
            }
            if kind == "ServiceAccount" && subject["namespace"].as_str().is_none_or(str::is_empty) {
                fault(format!("subjects[{i}].namespace"), "Required value");
            }
        }
    }
    if causes.is_empty() {
        Ok(())
    } else {
        let name = new["metadata"]["name"].as_str().unwrap_or_default();
        Err(ApiError::invalid(resource, name, &causes))
    }
}
