//! ResourceQuota: refuses what would exceed it, and keeps `status.used` true after every write.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::forbidden;
use super::quantity::{text, thousandths};
use super::usage::{self, Usage};
use crate::registry::Resource;
use crate::status::ApiResult;
use crate::store::{Change, StoreError, View};

const QUOTAS: &str = "resourcequotas";
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// The resource (store key) that a quota resource is about.
fn key_of(name: &str) -> &str {
    if let Some(key) = name.strip_prefix("count/") {
        return key;
    }
    let class = name.contains(".storageclass.storage.k8s.io/");
    match name {
        "requests.storage" => "persistentvolumeclaims",
        "services.nodeports" | "services.loadbalancers" => "services",
        _ if class => "persistentvolumeclaims",
        _ if COMPUTE.contains(&name) || name.starts_with("requests.") || name.starts_with("limits.") => {
            "pods"
        }
        other => other,
    }
}

fn covers(quota: &Value, key: &str, object: &Value) -> bool {
    let scopes = quota["spec"]["scopes"].as_array().into_iter().flatten();
    let mut scopes = scopes.filter_map(Value::as_str).peekable();
    scopes.peek().is_none() || (key == "pods" && scopes.all(|scope| usage::in_scope(scope, object)))
}

/// What the objects of a namespace take of a quota's resources.
fn used(view: &View, namespace: &str, quota: &Value) -> Usage {
    let hard = hard(quota);
    let mut used: Usage = hard.keys().map(|name| (name.clone(), 0)).collect();
    let keys: BTreeSet<&str> = hard.keys().map(|name| key_of(name)).collect();
    for key in keys {
        for object in view.list(key, Some(namespace)).filter(|o| covers(quota, key, o)) {
            for (name, amount) in usage::of(key, object) {
                if let Some(sum) = used.get_mut(&name) {
                    *sum = sum.saturating_add(amount);
                }
            }
        }
    }
    used
}

fn hard(quota: &Value) -> Usage {
    let hard = quota["spec"]["hard"].as_object().into_iter().flatten();
    hard.filter_map(|(name, limit)| Some((name.clone(), thousandths(limit)?)))
        .collect()
}

/// Refuses a new object, or a change that takes more, where a quota has no room for it.
pub(crate) fn admit(
    view: &View,
    resource: &Resource,
    namespace: &str,
    old: Option<&Value>,
    new: &Value,
) -> ApiResult<()> {
    let key = resource.store_key();
    let quotas: Vec<&Arc<Value>> = view.list(QUOTAS, Some(namespace)).collect();
    if quotas.is_empty() || namespace.is_empty() || *key == *QUOTAS {
        return Ok(());
    }
    let mut asked = usage::of(&key, new);
    for (name, amount) in old.map(|old| usage::of(&key, old)).unwrap_or_default() {
        let change: &mut i128 = asked.entry(name).or_default();
        *change = change.saturating_sub(amount);
    }
    for quota in quotas.into_iter().filter(|quota| covers(quota, &key, new)) {
        let name = quota["metadata"]["name"].as_str().unwrap_or_default();
        let hard = hard(quota);
        if *key == *"pods" && old.is_none() {
            let missing = unspecified(&hard, new);
            if !missing.is_empty() {
                let message = format!("failed quota: {name}: must specify {}", missing.join("; "));
                return Err(forbidden(resource, new, &message));
            }
        }
        let used = used(view, namespace, quota);
        let over: Vec<(&String, i128)> = asked
            .iter()
            .filter(|(name, amount)| {
                let taken = used.get(*name).copied().unwrap_or(0);
                **amount > 0
                    && hard
                        .get(*name)
                        .is_some_and(|limit| taken.saturating_add(**amount) > *limit)
            })
            .map(|(name, amount)| (name, *amount))
            .collect();
        if !over.is_empty() {
            let list = |of: &dyn Fn(&String, i128) -> i128| -> String {
                let items = over
                    .iter()
                    .map(|(name, amount)| format!("{name}={}", text(name, of(name, *amount))));
                items.collect::<Vec<_>>().join(",")
            };
            let message = format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                list(&|_, amount| amount),
                list(&|name, _| used.get(name).copied().unwrap_or(0)),
                list(&|name, _| hard.get(name).copied().unwrap_or(0)),
            );
            return Err(forbidden(resource, new, &message));
        }
    }
    Ok(())
}

/// A quota of a compute resource needs every container to say how much it takes.
fn unspecified(hard: &Usage, pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for name in hard.keys() {
        let (kind, resource) = name.split_once('.').unwrap_or(("requests", name));
        if !COMPUTE.contains(&resource) {
            continue;
        }
        let containers = ["initContainers", "containers"]
            .into_iter()
            .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
        let silent: Vec<&str> = containers
            .filter(|c| c["resources"][kind].get(resource).is_none())
            .filter_map(|c| c["name"].as_str())
            .collect();
        if !silent.is_empty() {
            found.push(format!("{name} for: {}", silent.join(",")));
        }
    }
    found
}

/// Brings `status` of the quotas up to date whose namespaces these changes touched.
pub(crate) fn settle(view: &mut View, changes: &[Arc<Change>]) -> Result<(), StoreError> {
    let takes = |change: &Change| {
        let of = |object: &Value| (usage::of(&change.resource, object), scope_marks(object));
        change.resource == QUOTAS
            || change.kind == crate::store::ChangeKind::Deleted
            || change.previous.as_deref().map(of) != Some(of(&change.object))
    };
    let touched = changes.iter().filter(|c| !c.namespace.is_empty() && takes(c));
    let namespaces: BTreeSet<String> = touched.map(|change| change.namespace.clone()).collect();
    for namespace in namespaces {
        let quotas: Vec<Arc<Value>> = view.list(QUOTAS, Some(&namespace)).cloned().collect();
        for quota in quotas {
            let used: Map<String, Value> = used(view, &namespace, &quota)
                .into_iter()
                .map(|(name, amount)| (name.clone(), text(&name, amount).into()))
                .collect();
            let status = serde_json::json!({"hard": quota["spec"]["hard"], "used": used});
            if quota["status"] != status {
                let mut new = (*quota).clone();
                new["status"] = status;
                let name = quota["metadata"]["name"].as_str().unwrap_or_default();
                view.put(QUOTAS, &namespace, name, new)?;
            }
        }
    }
    Ok(())
}

/// What scopes look at, so that a pod that changes scope is counted anew.
fn scope_marks(object: &Value) -> (bool, bool) {
    (
        usage::in_scope("Terminating", object),
        usage::in_scope("BestEffort", object),
    )
}

/// Fields at fault of a ResourceQuota's spec, each with its problem.
pub(crate) fn causes(spec: &Value) -> Vec<(String, String)> {
    let mut causes = Vec::new();
    if spec
        .get("scopeSelector")
        .is_some_and(|selector| !selector.is_null())
    {
        let problem = "Forbidden: not served here; use spec.scopes";
        causes.push(("spec.scopeSelector".to_owned(), problem.to_owned()));
    }
    for (name, amount) in spec["hard"].as_object().into_iter().flatten() {
        if thousandths(amount).is_none_or(|amount| amount < 0) {
            causes.push((
                format!("spec.hard[{name}]"),
                format!("Invalid value: {amount}: must be a quantity, 0 or more"),
            ));
        }
    }
    for (i, scope) in spec["scopes"].as_array().into_iter().flatten().enumerate() {
        let known = ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort"];
        if !scope.as_str().is_some_and(|scope| known.contains(&scope)) {
            causes.push((
                format!("spec.scopes[{i}]"),
                format!("Unsupported value: {scope}: supported values: {known:?}"),
            ));
        }
    }
    causes
}
