//! Pod templates in a form in which two that mean the same are equal, and their hash.
//!
//! A template may reach the API server as JSON or as protobuf (which carries Go's zero values), with or without the
//! defaults filled in. Hashing it as it came would make a new ReplicaSet where `rollout undo` should find the old one.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::object::NAME_LETTERS;

/// The label that tells the ReplicaSets of one Deployment apart.
pub(crate) const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// Fields whose map is the user's own: every entry counts, even one with an empty value.
const USER_MAPS: [&str; 6] = [
    "labels",
    "annotations",
    "nodeSelector",
    "matchLabels",
    "requests",
    "limits",
];

fn is_default(key: &str, value: &Value) -> bool {
    match key {
        "creationTimestamp" => true,
        "restartPolicy" => value == "Always",
        "dnsPolicy" => value == "ClusterFirst",
        "schedulerName" => value == "default-scheduler",
        "terminationGracePeriodSeconds" => value == 30,
        "terminationMessagePath" => value == "/dev/termination-log",
        "terminationMessagePolicy" => value == "File",
        "protocol" => value == "TCP",
        "scheme" => value == "HTTP",
        "defaultMode" => value == 420,
        "timeoutSeconds" | "successThreshold" => value == 1,
        "periodSeconds" => value == 10,
        "failureThreshold" => value == 3,
        "initialDelaySeconds" | "hostPort" => value == 0,
        "apiVersion" => value == "v1",
        "enableServiceLinks" => value == true,
        "optional" | "readOnly" | "hostNetwork" | "hostPID" | "hostIPC" | "stdin" | "stdinOnce" | "tty" => {
            value == false
        }
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// The pull policy that Kubernetes fills in for an image reference.
fn default_pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        _ if image.contains('@') => "IfNotPresent",
        Some((_, tag)) if tag != "latest" => "IfNotPresent",
        _ => "Always",
    }
}

fn sorted(fields: Map<String, Value>) -> Vec<(String, Value)> {
    let mut fields: Vec<_> = fields.into_iter().collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

/// `value` without nulls, empty fields and fields that hold their default, keys sorted.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(mut fields) => {
            if let Some(image) = fields.get("image").and_then(Value::as_str)
                && fields
                    .get("imagePullPolicy")
                    .is_some_and(|policy| policy == default_pull_policy(image))
            {
                fields.remove("imagePullPolicy");
            }
            if fields.get("serviceAccount").is_some()
                && fields.get("serviceAccount") == fields.get("serviceAccountName")
            {
                fields.remove("serviceAccount");
            }
            let mut kept = Map::new();
            for (key, value) in sorted(fields) {
                let value = match value {
                    Value::Object(entries) if USER_MAPS.contains(&key.as_str()) => {
                        Value::Object(sorted(entries).into_iter().collect())
                    }
                    other => canonical(other),
                };
                if !is_empty(&value) && !is_default(&key, &value) {
                    kept.insert(key, value);
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}

/// The canonical form of a template, without the hash label.
pub(crate) fn canonical_template(template: &PodTemplateSpec) -> Result<Value, serde_json::Error> {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(POD_TEMPLATE_HASH);
    }
    Ok(canonical(serde_json::to_value(template)?))
}

/// A hash of ten letters of any value, such as Kubernetes puts in names; `collisions` makes another of the same value.
pub(crate) fn hash(value: &Value, collisions: i32) -> String {
    let mut hasher = Sha256::new();
    hasher.update(value.to_string().as_bytes());
    if collisions > 0 {
        hasher.update(collisions.to_be_bytes());
    }
    let digest = hasher.finalize();
    digest
        .iter()
        .take(10)
        .map(|byte| char::from(NAME_LETTERS[usize::from(*byte) % NAME_LETTERS.len()]))
        .collect()
}

/// [`hash`] of a template's canonical form.
pub(crate) fn template_hash(
    template: &PodTemplateSpec,
    collisions: i32,
) -> Result<String, serde_json::Error> {
    Ok(hash(&canonical_template(template)?, collisions))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(value: Value) -> PodTemplateSpec {
        serde_json::from_value(value).expect("a template")
    }

    #[test]
    fn defaults_and_zero_values_do_not_change_the_hash() {
        let plain = template(json!({"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx:1", "ports": [{"containerPort": 80}]}]}}));
        let filled = template(
            json!({"metadata": {"creationTimestamp": null, "name": "", "labels": {"app": "web", "pod-template-hash": "x"}},
            "spec": {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                "terminationGracePeriodSeconds": 30, "securityContext": {}, "volumes": [],
                "containers": [{"name": "c", "image": "nginx:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "ports": [{"containerPort": 80, "protocol": "TCP", "hostPort": 0}]}]}}),
        );
        assert_eq!(template_hash(&plain, 0).ok(), template_hash(&filled, 0).ok());
    }

    #[test]
    fn what_matters_changes_the_hash() {
        let base = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}});
        let of = |pointer: &str, value: Value| {
            let mut changed = base.clone();
            crate::pods::testing::merge(
                &mut changed,
                &serde_json::from_str::<Value>(pointer)
                    .expect("json")
                    .merge_leaf(value),
            );
            template_hash(&template(changed), 0).expect("serialisable")
        };
        let plain = template_hash(&template(base.clone()), 0).expect("serialisable");
        assert_ne!(
            plain,
            of(r#"{"metadata": {"labels": {"empty": "LEAF"}}}"#, json!(""))
        );
        assert_ne!(
            plain,
            of(r#"{"spec": {"terminationGracePeriodSeconds": "LEAF"}}"#, json!(0))
        );
        assert_ne!(
            plain,
            of(
                r#"{"spec": {"containers": "LEAF"}}"#,
                json!([{"name": "c", "image": "a:2"}])
            )
        );
        assert_ne!(
            plain,
            of(
                r#"{"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "LEAF"}}}"#,
                json!("now")
            )
        );
        assert_ne!(
            plain,
            template_hash(&template(base.clone()), 1).expect("serialisable"),
            "collision count"
        );
        assert!(plain.len() == 10 && plain.bytes().all(|b| NAME_LETTERS.contains(&b)));
    }

    trait MergeLeaf {
        fn merge_leaf(self, value: Value) -> Value;
    }

    impl MergeLeaf for Value {
        fn merge_leaf(self, value: Value) -> Value {
            match self {
                Value::Object(fields) => Value::Object(
                    fields
                        .into_iter()
                        .map(|(k, v)| (k, v.merge_leaf(value.clone())))
                        .collect(),
                ),
                _ => value,
            }
        }
    }
}
