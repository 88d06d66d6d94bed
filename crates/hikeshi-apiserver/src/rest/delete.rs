//! delete and deletecollection: grace periods, finalizers, namespaces.

use std::sync::Arc;

use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::write::stamp;
use crate::app::App;
use crate::convert::from_stored;
use crate::registry::{Resource, built_in};
use crate::request::{Call, body};
use crate::selector::Selector;
use crate::status::{ApiError, ApiResult, json_response, success};
use crate::store::{DEFINITIONS, View};

/// What becomes of an object's dependents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Propagation {
    /// As an earlier deletion has said, else `Background`.
    #[default]
    Unsaid,
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

impl Propagation {
    fn parse(text: &str) -> ApiResult<Propagation> {
        match text {
            "" => Ok(Propagation::Unsaid),
            "Background" => Ok(Propagation::Background),
            "Foreground" => Ok(Propagation::Foreground),
            "Orphan" => Ok(Propagation::Orphan),
            other => Err(ApiError::bad_request(format!(
                "invalid propagationPolicy {other:?}: must be Background, Foreground or Orphan"
            ))),
        }
    }
}

/// Holds an object until the garbage collector has seen its dependents go.
const FOREGROUND: &str = "foregroundDeletion";

/// Whom the garbage collector watches as an owner: elsewhere nobody would take the finalizer off again.
fn waits_for_dependents(resource: &Resource) -> bool {
    match &*resource.group {
        "apps" => matches!(
            &*resource.kind,
            "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet"
        ),
        "batch" => matches!(&*resource.kind, "Job" | "CronJob"),
        "chaos-mesh.org" => matches!(&*resource.kind, "Schedule" | "Workflow" | "WorkflowNode"),
        _ => false,
    }
}

/// DeleteOptions, from the body or the query.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub grace_seconds: Option<i64>,
    propagation: Propagation,
    uid: Option<String>,
    revision: Option<String>,
    dry_run: bool,
}

impl Options {
    fn of(call: &Call) -> ApiResult<Options> {
        let sent = if call.body.is_empty() {
            Value::Null
        } else {
            body(call.content_type(), &call.body)?
        };
        let query = match call.params.get("gracePeriodSeconds") {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                ApiError::bad_request(format!("gracePeriodSeconds: {text:?} is not a whole number"))
            })?),
        };
        let mut options = Options::from_object(&sent)?;
        options.grace_seconds = options.grace_seconds.or(query);
        if options.propagation == Propagation::Unsaid {
            options.propagation = Propagation::parse(call.params.get("propagationPolicy"))?;
        }
        options.dry_run |= call.dry_run()?;
        Ok(options)
    }

    pub fn from_object(sent: &Value) -> ApiResult<Options> {
        let text = |key: &str| sent["preconditions"][key].as_str().map(str::to_owned);
        let said = Propagation::parse(sent["propagationPolicy"].as_str().unwrap_or_default())?;
        Ok(Options {
            grace_seconds: sent["gracePeriodSeconds"].as_i64(),
            propagation: if sent["orphanDependents"] == true {
                Propagation::Orphan
            } else {
                said
            },
            uid: text("uid"),
            revision: text("resourceVersion"),
            dry_run: sent["dryRun"].as_array().is_some_and(|d| !d.is_empty()),
        })
    }
}

pub(super) fn one(app: &App, call: &Call) -> ApiResult<Response> {
    let options = Options::of(call)?;
    let resource = &call.resource;
    let (object, gone) = app.store.write(|view| {
        let old = view
            .get(&resource.store_key(), call.ns(), call.name())
            .cloned()
            .ok_or_else(|| ApiError::not_found(resource, call.name()))?;
        delete_object(view, resource, &old, &options)
    })?;
    Ok(if gone {
        json_response(200, &success(resource, call.name(), &object["metadata"]["uid"]))
    } else {
        super::read::one(call, &from_stored(resource, &object))
    })
}

pub(super) fn collection(app: &App, call: &Call) -> ApiResult<Response> {
    let options = Options::of(call)?;
    let resource = &call.resource;
    let selector = Selector::parse(call.params.get("labelSelector"), call.params.get("fieldSelector"))?;
    let (revision, items) = app.store.write(|view| -> ApiResult<_> {
        let chosen: Vec<Arc<Value>> = view
            .list(&resource.store_key(), call.namespace.as_deref())
            .filter(|object| selector.is_empty() || selector.matches(&from_stored(resource, object)))
            .cloned()
            .collect();
        for object in &chosen {
            delete_object(view, resource, object, &options)?;
        }
        Ok((view.revision(), chosen))
    })?;
    let items: Vec<Arc<Value>> = items.iter().map(|object| from_stored(resource, object)).collect();
    Ok(super::read::list_response(
        resource,
        json!({"resourceVersion": revision.to_string()}),
        items.iter().map(|object| &**object),
    ))
}

/// Deletes an object, or marks it for whoever must finish it. The flag says whether it is gone.
pub(super) fn delete_object(
    view: &mut View,
    resource: &Resource,
    old: &Arc<Value>,
    options: &Options,
) -> ApiResult<(Arc<Value>, bool)> {
    let metadata = &old["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let differs =
        |field: &str, wanted: &Option<String>| wanted.as_ref().is_some_and(|w| metadata[field] != w.as_str());
    if differs("uid", &options.uid) || differs("resourceVersion", &options.revision) {
        return Err(ApiError::conflict(resource, name));
    }
    let key = resource.store_key();
    let had = finalizers_of(metadata);
    let kept = finalizers_after(resource, had.clone(), options.propagation);
    let finalizers = !kept.is_empty();
    let grace = if &*resource.kind == "Pod" {
        pod_grace(old, options.grace_seconds)
    } else {
        0
    };
    let is_namespace = &*resource.kind == "Namespace";
    if options.dry_run {
        return Ok((Arc::clone(old), !finalizers && grace == 0));
    }
    if options.propagation == Propagation::Orphan {
        orphan_dependents(view, metadata)?;
    }
    if grace == 0 && !finalizers && !is_namespace {
        remove(view, &key, old)?;
        return Ok((Arc::clone(old), true));
    }
    let marked = metadata["deletionTimestamp"].is_string();
    // A second delete may shorten the time, never lengthen it.
    let sooner = !marked
        || metadata["deletionGracePeriodSeconds"]
            .as_i64()
            .is_some_and(|left| left > grace);
    if !sooner && kept == had {
        return Ok((Arc::clone(old), false));
    }
    let mut object = (**old).clone();
    if kept != had {
        object["metadata"]["finalizers"] = kept.into();
    }
    if sooner {
        let until = Timestamp::now()
            .saturating_add(SignedDuration::from_secs(grace))
            .unwrap_or(Timestamp::MAX);
        object["metadata"]["deletionTimestamp"] = stamp(until).into();
        object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    }
    if is_namespace {
        object["status"] = json!({"phase": "Terminating"});
    }
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    let stored = view.put(&key, namespace, name, object)?;
    if is_namespace {
        empty_namespace(view, name)?;
        let gone = view.get(&key, "", name).is_none();
        return Ok((stored, gone));
    }
    Ok((stored, false))
}

fn finalizers_of(metadata: &Value) -> Vec<String> {
    let names = metadata["finalizers"].as_array().into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What must still happen before an object goes. A later deletion may say otherwise about its dependents.
fn finalizers_after(resource: &Resource, mut names: Vec<String>, propagation: Propagation) -> Vec<String> {
    match propagation {
        Propagation::Unsaid => {}
        Propagation::Foreground => {
            if waits_for_dependents(resource) && !names.iter().any(|name| name == FOREGROUND) {
                names.push(FOREGROUND.to_owned());
            }
        }
        Propagation::Background | Propagation::Orphan => names.retain(|name| name != FOREGROUND),
    }
    names
}

/// How long a pod may take to end; 0 when nothing of it runs. As in Kubernetes, less than nothing means a second.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let scheduled = pod["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty());
    let over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !scheduled || over {
        return 0;
    }
    let grace = asked
        .or(pod["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30);
    if grace < 0 { 1 } else { grace }
}

/// Whether an update took the last finalizer of an object marked for deletion.
pub(super) fn is_released(old: &Value, new: &Value) -> bool {
    let held = |o: &Value| {
        o["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|f| !f.is_empty())
    };
    let ended = new["kind"] != "Pod" || new["metadata"]["deletionGracePeriodSeconds"] == 0;
    new["metadata"]["deletionTimestamp"].is_string()
        && held(old)
        && !held(new)
        && ended
        && new["kind"] != "Namespace"
}

/// Takes an object out of the store, and its namespace too when that was waiting for it.
pub(super) fn remove(view: &mut View, key: &str, object: &Value) -> ApiResult<()> {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    view.delete(key, namespace, metadata["name"].as_str().unwrap_or_default())?;
    if !namespace.is_empty() {
        finish_namespace(view, namespace)?;
    }
    if key == DEFINITIONS {
        remove_objects_of(view, metadata["name"].as_str().unwrap_or_default())?;
    }
    Ok(())
}

/// Takes a definition's objects out with it: a new definition of that name must not find them. Their finalizers are not
/// waited for: no request could take them off any more.
fn remove_objects_of(view: &mut View, definition: &str) -> ApiResult<()> {
    // Somebody may have brought their own definition of a kind that is served without one.
    if built_in()
        .iter()
        .any(|resource| resource.store_key() == definition)
    {
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let objects: Vec<(String, String)> = view
        .list(definition, None)
        .map(|object| {
            (
                text(&object["metadata"]["namespace"]),
                text(&object["metadata"]["name"]),
            )
        })
        .collect();
    for (namespace, name) in objects {
        view.delete(definition, &namespace, &name)?;
        if !namespace.is_empty() {
            finish_namespace(view, &namespace)?;
        }
    }
    Ok(())
}

/// Deletes what a namespace holds; running pods end in their own time.
fn empty_namespace(view: &mut View, namespace: &str) -> ApiResult<()> {
    for (key, name, object) in view.in_namespace(namespace) {
        let finalizers = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|f| !f.is_empty());
        let pod = key == "pods" && pod_grace(&object, None) > 0;
        if !finalizers && !pod {
            view.delete(&key, namespace, &name)?;
        } else if !object["metadata"]["deletionTimestamp"].is_string() {
            let grace = if key == "pods" {
                pod_grace(&object, None)
            } else {
                0
            };
            let mut object = (*object).clone();
            let until = Timestamp::now()
                .saturating_add(SignedDuration::from_secs(grace))
                .unwrap_or(Timestamp::MAX);
            object["metadata"]["deletionTimestamp"] = stamp(until).into();
            object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
            view.put(&key, namespace, &name, object)?;
        }
    }
    finish_namespace(view, namespace)
}

fn finish_namespace(view: &mut View, namespace: &str) -> ApiResult<()> {
    let going = view
        .get("namespaces", "", namespace)
        .is_some_and(|ns| ns["metadata"]["deletionTimestamp"].is_string());
    if going && view.in_namespace(namespace).is_empty() {
        view.delete("namespaces", "", namespace)?;
    }
    Ok(())
}

/// `--cascade=orphan`: dependents forget their owner before the garbage collector sees it gone.
fn orphan_dependents(view: &mut View, owner: &Value) -> ApiResult<()> {
    let namespace = owner["namespace"].as_str().unwrap_or_default();
    for (key, name, object) in view.in_namespace(namespace) {
        let Some(owners) = object["metadata"]["ownerReferences"].as_array() else {
            continue;
        };
        let kept: Vec<Value> = owners
            .iter()
            .filter(|o| o["uid"] != owner["uid"])
            .cloned()
            .collect();
        if kept.len() < owners.len() {
            let mut object = (*object).clone();
            object["metadata"]["ownerReferences"] = Value::Array(kept);
            view.put(&key, namespace, &name, object)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_takes_its_objects_along_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(dir.path()).unwrap();
        let left = store.write(|view| -> ApiResult<Vec<usize>> {
            let kinds = [
                "pumps.fire.example",
                "hoses.fire.example",
                "httpchaos.chaos-mesh.org",
            ];
            for kind in kinds {
                for name in ["a", "b"] {
                    let object = json!({"metadata": {"name": name, "namespace": "x", "finalizers": ["f/f"]}});
                    view.put(kind, "x", name, object)?;
                }
            }
            for kind in ["pumps.fire.example", "httpchaos.chaos-mesh.org"] {
                let definition = json!({"metadata": {"name": kind}});
                view.put(DEFINITIONS, "", kind, definition.clone())?;
                remove(view, DEFINITIONS, &definition)?;
            }
            Ok(kinds.iter().map(|kind| view.list(kind, None).count()).collect())
        });
        assert_eq!(left.unwrap(), [0, 2, 2]);
    }

    #[test]
    fn a_grace_below_zero_is_a_second_and_nothing_else_is_forced() {
        let pod = |grace: i64, phase: &str| {
            json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": grace},
            "status": {"phase": phase}})
        };
        assert_eq!(pod_grace(&pod(5, "Running"), None), 5);
        assert_eq!(pod_grace(&pod(5, "Running"), Some(0)), 0);
        assert_eq!(pod_grace(&pod(5, "Running"), Some(-1)), 1);
        assert_eq!(pod_grace(&pod(-7, "Running"), None), 1);
        assert_eq!(pod_grace(&pod(5, "Failed"), Some(-1)), 0);
    }
}
