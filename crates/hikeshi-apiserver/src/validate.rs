//! Refuses what Kubernetes refuses: unknown fields, wrong types, impossible names and the commonest invalid values.

mod chaos;
mod meta;
mod pod;
mod resources;
mod rollout;
mod service;
mod unheeded;

use hikeshi_chaos::cron::{Schedule, ScheduleError};
use k8s_openapi::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::registry::Resource;
use crate::schema;
use crate::selector::object_selector_matches;
use crate::status::{ApiError, ApiResult};

pub(crate) use chaos::experiments;
pub(crate) use pod::{addresses, host_paths};
pub(crate) use service::cluster_ip;
pub(crate) use unheeded::warnings;

/// Fields at fault, each with its problem.
type Causes = Vec<(String, String)>;

/// The `fieldValidation` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Strict,
    Warn,
    Ignore,
}

impl FieldValidation {
    pub fn parse(text: &str) -> ApiResult<FieldValidation> {
        match text {
            "Strict" => Ok(FieldValidation::Strict),
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            other => Err(ApiError::bad_request(format!(
                "invalid fieldValidation {other:?}: must be Strict, Warn or Ignore"
            ))),
        }
    }
}

/// Checks an object against its Go type's fields and takes out the unknown ones, as decoding into that type would.
/// The result are warnings (the unknown fields, unless ignored).
pub(crate) fn fields(
    resource: &Resource,
    object: &mut Value,
    mode: FieldValidation,
) -> ApiResult<Vec<String>> {
    let refuse = |text: String| {
        let (kind, version) = (&resource.kind, &resource.version);
        let message = format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {text}");
        ApiError::bad_request(message)
    };
    let mut unknown = taken_out(decode(resource, object).map_err(refuse)?, object);
    if let Some(schema) = &resource.schema {
        unknown.extend(schema::prune(schema, object));
    }
    let words: Vec<String> = unknown
        .iter()
        .map(|field| format!("unknown field \"{field}\""))
        .collect();
    match mode {
        FieldValidation::Strict if !words.is_empty() => {
            Err(refuse(format!("strict decoding error: {}", words.join(", "))))
        }
        FieldValidation::Ignore => Ok(Vec::new()),
        _ => Ok(words),
    }
}

/// Takes fields out of an object; their names for people.
fn taken_out(unknown: Vec<Unknown>, object: &mut Value) -> Vec<String> {
    for field in &unknown {
        if let Some(parent) = object.pointer_mut(&field.parent).and_then(Value::as_object_mut) {
            parent.remove(&field.key);
        }
    }
    unknown.into_iter().map(|field| field.dotted).collect()
}

/// Checks a custom object against its definition's schema. What was wrong before and is as it was stays possible: a
/// schema that has grown stricter must not lock its objects.
pub(crate) fn custom(resource: &Resource, old: Option<&Value>, new: &Value) -> ApiResult<()> {
    let Some(schema) = &resource.schema else {
        return Ok(());
    };
    let mut causes = schema::causes(schema, new);
    if let Some(old) = old.filter(|_| !causes.is_empty()) {
        let before = schema::causes(schema, old);
        causes.retain(|cause| !before.contains(cause));
    }
    if causes.is_empty() {
        return Ok(());
    }
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    Err(ApiError::invalid(resource, name, &causes))
}

/// A field the type does not have: for people (`spec.containers[0].imagee`), and as a JSON pointer to its parent.
struct Unknown {
    dotted: String,
    parent: String,
    key: String,
}

type Checked = Result<Vec<Unknown>, String>;

/// Checks an object against a type that is no resource's own (`autoscaling/v1` Scale); unknown fields are left alone.
pub(crate) fn typed<T: DeserializeOwned>(kind: &str, version: &str, object: &Value) -> ApiResult<()> {
    let refuse = |text: String| {
        let message = format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {text}");
        ApiError::bad_request(message)
    };
    check::<T>(object).map(drop).map_err(refuse)
}

/// The unknown fields, or the type error. Of kinds whose type is not known here, the metadata is looked at.
fn decode(resource: &Resource, object: &Value) -> Checked {
    match (&*resource.group, &*resource.version, &*resource.kind) {
        ("", _, "ConfigMap") => check::<api::core::v1::ConfigMap>(object),
        ("", _, "Endpoints") => check::<api::core::v1::Endpoints>(object),
        ("", _, "Event") => check::<api::core::v1::Event>(object),
        ("", _, "LimitRange") => check::<api::core::v1::LimitRange>(object),
        ("", _, "Namespace") => check::<api::core::v1::Namespace>(object),
        ("", _, "Node") => check::<api::core::v1::Node>(object),
        ("", _, "PersistentVolume") => check::<api::core::v1::PersistentVolume>(object),
        ("", _, "PersistentVolumeClaim") => check::<api::core::v1::PersistentVolumeClaim>(object),
        ("", _, "Pod") => check::<api::core::v1::Pod>(object),
        ("", _, "ResourceQuota") => check::<api::core::v1::ResourceQuota>(object),
        ("", _, "Secret") => check::<api::core::v1::Secret>(object),
        ("", _, "Service") => check::<api::core::v1::Service>(object),
        ("", _, "ServiceAccount") => check::<api::core::v1::ServiceAccount>(object),
        ("apiextensions.k8s.io", _, _) => check::<CustomResourceDefinition>(object),
        ("apps", _, "ControllerRevision") => check::<api::apps::v1::ControllerRevision>(object),
        ("apps", _, "DaemonSet") => check::<api::apps::v1::DaemonSet>(object),
        ("apps", _, "Deployment") => check::<api::apps::v1::Deployment>(object),
        ("apps", _, "ReplicaSet") => check::<api::apps::v1::ReplicaSet>(object),
        ("apps", _, "StatefulSet") => check::<api::apps::v1::StatefulSet>(object),
        ("autoscaling", "v2", _) => check::<api::autoscaling::v2::HorizontalPodAutoscaler>(object),
        ("autoscaling", "v1", _) => check::<api::autoscaling::v1::HorizontalPodAutoscaler>(object),
        ("batch", _, "CronJob") => check::<api::batch::v1::CronJob>(object),
        ("batch", _, "Job") => check::<api::batch::v1::Job>(object),
        ("coordination.k8s.io", _, "Lease") => check::<api::coordination::v1::Lease>(object),
        ("discovery.k8s.io", _, "EndpointSlice") => check::<api::discovery::v1::EndpointSlice>(object),
        ("events.k8s.io", _, "Event") => check::<api::events::v1::Event>(object),
        ("networking.k8s.io", _, "IngressClass") => check::<api::networking::v1::IngressClass>(object),
        ("networking.k8s.io", _, "Ingress") => check::<api::networking::v1::Ingress>(object),
        ("networking.k8s.io", _, "NetworkPolicy") => check::<api::networking::v1::NetworkPolicy>(object),
        ("policy", _, "PodDisruptionBudget") => check::<api::policy::v1::PodDisruptionBudget>(object),
        ("rbac.authorization.k8s.io", _, "ClusterRole") => check::<api::rbac::v1::ClusterRole>(object),
        ("rbac.authorization.k8s.io", _, "ClusterRoleBinding") => {
            check::<api::rbac::v1::ClusterRoleBinding>(object)
        }
        ("rbac.authorization.k8s.io", _, "Role") => check::<api::rbac::v1::Role>(object),
        ("rbac.authorization.k8s.io", _, "RoleBinding") => check::<api::rbac::v1::RoleBinding>(object),
        ("scheduling.k8s.io", _, "PriorityClass") => check::<api::scheduling::v1::PriorityClass>(object),
        ("storage.k8s.io", _, "StorageClass") => check::<api::storage::v1::StorageClass>(object),
        _ => metadata(object),
    }
}

/// Checks what every object has, whatever its kind.
fn metadata(object: &Value) -> Checked {
    let wrong =
        |text: String| text.replacen("json: cannot unmarshal ", "json: cannot unmarshal metadata.", 1);
    let mut unknown = check::<ObjectMeta>(&object["metadata"]).map_err(wrong)?;
    for field in &mut unknown {
        field.dotted.insert_str(0, "metadata.");
        field.parent.insert_str(0, "/metadata");
    }
    Ok(unknown)
}

fn check<T: DeserializeOwned>(object: &Value) -> Checked {
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unknown.extend(Unknown::at(&path));
    let read: Result<T, _> =
        serde_path_to_error::deserialize(serde_ignored::Deserializer::new(object, &mut note));
    match read {
        Ok(_) => Ok(unknown),
        Err(error) => {
            let path = error.path().to_string().replace(".?", "");
            Err(format!("json: cannot unmarshal {path}: {}", error.inner()))
        }
    }
}

impl Unknown {
    fn at(path: &serde_ignored::Path<'_>) -> Option<Unknown> {
        use serde_ignored::Path;
        match path {
            Path::Map { parent, key } => Some(Unknown {
                dotted: dotted(path),
                parent: pointer(parent),
                key: key.clone(),
            }),
            Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
                Unknown::at(parent)
            }
            Path::Root | Path::Seq { .. } => None,
        }
    }
}

fn dotted(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", dotted(parent)),
        Path::Map { parent, key } => {
            let parent = dotted(parent);
            if parent.is_empty() {
                key.clone()
            } else {
                format!("{parent}.{key}")
            }
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            dotted(parent)
        }
    }
}

fn pointer(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}/{index}", pointer(parent)),
        Path::Map { parent, key } => format!(
            "{}/{}",
            pointer(parent),
            key.replace('~', "~0").replace('/', "~1")
        ),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            pointer(parent)
        }
    }
}

/// Checks values: names, labels, selectors, containers. The result is a 422 naming every field at fault.
pub(crate) fn values(resource: &Resource, object: &Value) -> ApiResult<()> {
    let mut causes = Causes::new();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    meta::object(resource, &object["metadata"], &mut causes);
    if resource.built_in {
        match &*resource.kind {
            "Pod" => pod::spec("spec", &object["spec"], &mut causes),
            "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
                workload(&object["spec"], &mut causes);
                rollout::allowance(&resource.kind, &object["spec"], &mut causes);
            }
            "Job" => {
                let template = &object["spec"]["template"];
                meta::marks("spec.template", &template["metadata"], &mut causes);
                pod::spec("spec.template.spec", &template["spec"], &mut causes);
            }
            "CronJob" => cron_job(&object["spec"], &mut causes),
            "PersistentVolumeClaim" => resources::claim("spec", &object["spec"], &mut causes),
            "Service" => service::spec(&object["spec"], &mut causes),
            "CustomResourceDefinition" => causes.extend(schema::definition::causes(&object["spec"])),
            "ResourceQuota" => causes.extend(crate::admission::quota::causes(&object["spec"])),
            _ => {}
        }
        unheeded::refused(resource, object, &mut causes);
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(resource, name, &causes))
    }
}

fn workload(spec: &Value, causes: &mut Causes) {
    if spec["replicas"].as_i64().is_some_and(|n| n < 0) {
        let problem = format!(
            "Invalid value: {}: must be greater than or equal to 0",
            spec["replicas"]
        );
        causes.push(("spec.replicas".into(), problem));
    }
    if !spec["selector"].is_object() {
        causes.push(("spec.selector".into(), "Required value".into()));
    } else if !object_selector_matches(&spec["selector"], &spec["template"]["metadata"]["labels"]) {
        let labels = &spec["template"]["metadata"]["labels"];
        let problem = format!("Invalid value: {labels}: `selector` does not match template `labels`");
        causes.push(("spec.template.metadata.labels".into(), problem));
    }
    meta::marks("spec.template", &spec["template"]["metadata"], causes);
    pod::spec("spec.template.spec", &spec["template"]["spec"], causes);
    // Only a StatefulSet has any.
    pod::claim_templates(spec, causes);
}

fn cron_job(spec: &Value, causes: &mut Causes) {
    let text = spec["schedule"].as_str().unwrap_or_default();
    match Schedule::parse(text, spec["timeZone"].as_str()) {
        Ok(_) => {}
        Err(problem @ ScheduleError::UnknownZone(_)) => {
            let value = &spec["timeZone"];
            causes.push((
                "spec.timeZone".into(),
                format!("Invalid value: {value}: {problem}"),
            ));
        }
        Err(problem) => {
            causes.push((
                "spec.schedule".into(),
                format!("Invalid value: \"{text}\": {problem}"),
            ));
        }
    }
    let at = "spec.jobTemplate.spec.template";
    let template = &spec["jobTemplate"]["spec"]["template"];
    meta::marks(at, &template["metadata"], causes);
    pod::spec(&format!("{at}.spec"), &template["spec"], causes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;
    use serde_json::json;

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
    }

    #[test]
    fn unknown_fields_are_named_like_kubernetes_names_them() {
        let resource = find("apps", "v1", "deployments").unwrap();
        let mut object = deployment();
        object["spec"]["replica"] = json!(1);
        object["spec"]["template"]["spec"]["containers"][0]["imagee"] = json!("x");
        let error = fields(&resource, &mut object.clone(), FieldValidation::Strict).unwrap_err();
        assert_eq!(
            error.message,
            "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: \
             unknown field \"spec.replica\", unknown field \"spec.template.spec.containers[0].imagee\""
        );
        assert!(
            fields(&resource, &mut object.clone(), FieldValidation::Ignore)
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            fields(&resource, &mut object, FieldValidation::Warn)
                .unwrap()
                .len(),
            2
        );
        assert_eq!(object, deployment());
    }

    #[test]
    fn type_errors_name_the_field() {
        let resource = find("apps", "v1", "deployments").unwrap();
        let mut object = deployment();
        object["spec"]["replicas"] = json!("three");
        let error = fields(&resource, &mut object, FieldValidation::Ignore).unwrap_err();
        assert!(error.message.contains("spec.replicas"), "{}", error.message);
        assert_eq!(error.code, 400);
    }

    /// A kind that is stored without a look at it could be stored ill-typed, and no client would read its list again.
    #[test]
    fn every_stored_kind_is_typed() {
        for resource in crate::registry::built_in() {
            let whole = resource.built_in && resource.backing == crate::registry::Backing::Store;
            let mut ill = json!({"metadata": {"name": "x", "labels": {"a": 1}}});
            let error = fields(resource, &mut ill, FieldValidation::Ignore).unwrap_err();
            assert_eq!(error.code, 400);
            let wanted = "json: cannot unmarshal metadata.labels";
            assert!(error.message.contains(wanted), "{}", error.message);
            // Only a type of its own finds this one; a schema of a kind's body is another's work.
            let mut strange = json!({"metadata": {"name": "x"}, "noSuchField": 1});
            let strict = fields(resource, &mut strange, FieldValidation::Strict);
            assert_eq!(strict.is_err(), whole, "{}", resource.key());
        }
    }

    #[test]
    fn metadata_of_any_kind_loses_what_it_does_not_have() {
        let resource = find("chaos-mesh.org", "v1alpha1", "podchaos").unwrap();
        let mut object = json!({"metadata": {"name": "x", "lables": {"a": "b"}}, "spec": {"any": 1}});
        let warned = fields(&resource, &mut object, FieldValidation::Warn).unwrap();
        assert_eq!(warned, ["unknown field \"metadata.lables\""]);
        assert_eq!(object, json!({"metadata": {"name": "x"}, "spec": {"any": 1}}));
    }

    #[test]
    fn values_are_checked() {
        let resource = find("apps", "v1", "deployments").unwrap();
        values(&resource, &deployment()).unwrap();
        let mut object = deployment();
        object["spec"]["template"]["metadata"]["labels"]["app"] = json!("other");
        object["metadata"]["name"] = json!("Web");
        let error = values(&resource, &object).unwrap_err();
        assert_eq!(error.code, 422);
        assert!(
            error.message.contains("does not match template"),
            "{}",
            error.message
        );
        assert!(error.message.contains("RFC 1123"), "{}", error.message);
    }
}
