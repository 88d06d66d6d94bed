//! Refuses what Kubernetes refuses: unknown fields, wrong types, impossible names and the commonest invalid values.

mod chaos;
mod pod;

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
pub(crate) use pod::host_paths;

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
    let unknown = match decode(resource, object) {
        Some(checked) => taken_out(checked.map_err(refuse)?, object),
        None => {
            let metadata = check::<ObjectMeta>(&object["metadata"]);
            let metadata = metadata
                .map_err(|problem| refuse(problem.replacen("unmarshal ", "unmarshal metadata.", 1)))?;
            let mut gone = taken_out(metadata, &mut object["metadata"]);
            gone.iter_mut().for_each(|field| field.insert_str(0, "metadata."));
            if let Some(schema) = &resource.schema {
                gone.extend(schema::prune(schema, object));
            }
            gone
        }
    };
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

/// The unknown fields, or the type error; `None` for kinds without a known type.
fn decode(resource: &Resource, object: &Value) -> Option<Checked> {
    Some(match (&*resource.group, &*resource.version, &*resource.kind) {
        ("", _, "ConfigMap") => check::<api::core::v1::ConfigMap>(object),
        ("", _, "Endpoints") => check::<api::core::v1::Endpoints>(object),
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
        _ => return None,
    })
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
    let mut causes: Vec<(String, String)> = Vec::new();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push((
            "metadata.name".into(),
            "Required value: name or generateName is required".into(),
        ));
    } else if let Some(problem) = bad_name(resource, name) {
        causes.push((
            "metadata.name".into(),
            format!("Invalid value: \"{name}\": {problem}"),
        ));
    }
    for (key, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if value.len() > 63 || !label_value(value) {
            let problem = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                 and must start and end with an alphanumeric character";
            causes.push((
                "metadata.labels".into(),
                format!("Invalid value: \"{key}={value}\": {problem}"),
            ));
        }
    }
    if resource.built_in {
        match &*resource.kind {
            "Pod" => pod::spec("spec", &object["spec"], &mut causes),
            "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
                workload(&object["spec"], &mut causes)
            }
            "Job" => pod::spec(
                "spec.template.spec",
                &object["spec"]["template"]["spec"],
                &mut causes,
            ),
            "CronJob" => cron_job(&object["spec"], &mut causes),
            "Service" => service(&object["spec"], &mut causes),
            "CustomResourceDefinition" => causes.extend(schema::definition::causes(&object["spec"])),
            "ResourceQuota" => causes.extend(crate::admission::quota::causes(&object["spec"])),
            _ => {}
        }
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(resource, name, &causes))
    }
}

fn workload(spec: &Value, causes: &mut Vec<(String, String)>) {
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
    pod::spec("spec.template.spec", &spec["template"]["spec"], causes);
    // Only a StatefulSet has any.
    pod::claim_templates(spec, causes);
}

fn cron_job(spec: &Value, causes: &mut Vec<(String, String)>) {
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
    let template = "spec.jobTemplate.spec.template.spec";
    pod::spec(template, &spec["jobTemplate"]["spec"]["template"]["spec"], causes);
}

fn service(spec: &Value, causes: &mut Vec<(String, String)>) {
    let ports = spec["ports"].as_array().cloned().unwrap_or_default();
    let bare = spec["clusterIP"] == "None" || spec["type"] == "ExternalName";
    if ports.is_empty() && !bare {
        causes.push(("spec.ports".into(), "Required value".into()));
    }
    for (i, port) in ports.iter().enumerate() {
        if ports.len() > 1 && port["name"].as_str().is_none_or(str::is_empty) {
            causes.push((format!("spec.ports[{i}].name"), "Required value".into()));
        }
        if !port["port"].as_i64().is_some_and(|p| (1..=65535).contains(&p)) {
            let problem = format!(
                "Invalid value: {}: must be between 1 and 65535, inclusive",
                port["port"]
            );
            causes.push((format!("spec.ports[{i}].port"), problem));
        }
    }
}

fn bad_name(resource: &Resource, name: &str) -> Option<&'static str> {
    if resource.group == "rbac.authorization.k8s.io" {
        // RBAC names may hold colons.
        return (name.contains('/') || name == "." || name == "..").then_some("may not contain '/'");
    }
    bad_subdomain(name)
}

fn bad_subdomain(name: &str) -> Option<&'static str> {
    let alnum = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    let edges = bytes.first().is_some_and(|c| alnum(*c)) && bytes.last().is_some_and(|c| alnum(*c));
    let inner = bytes.iter().all(|c| alnum(*c) || *c == b'-' || *c == b'.');
    (name.len() > 253 || !edges || !inner).then_some(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
         and must start and end with an alphanumeric character",
    )
}

fn label_value(value: &str) -> bool {
    let alnum = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    alnum(value.chars().next())
        && alnum(value.chars().last())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
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
