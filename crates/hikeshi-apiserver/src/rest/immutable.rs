//! Fields that may not change after creation.

use serde_json::Value;

use crate::registry::Resource;

/// What a StatefulSet's spec may change.
const STATEFUL_SET: [&str; 7] = [
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "replicas",
    "revisionHistoryLimit",
    "template",
    "updateStrategy",
];

/// The causes for refusing an update; empty when it may pass.
pub(super) fn causes(resource: &Resource, old: &Value, new: &Value) -> Vec<(String, String)> {
    let (before, after) = (&old["spec"], &new["spec"]);
    let mut causes = Vec::new();
    let mut fixed = |path: &str| {
        let at = |spec: &Value| path.split('.').fold(spec.clone(), |v, key| v[key].clone());
        let now = at(after);
        if at(before) != now {
            causes.push((
                format!("spec.{path}"),
                format!("Invalid value: {now}: field is immutable"),
            ));
        }
    };
    match (&*resource.group, &*resource.kind) {
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => fixed("selector"),
        ("batch", "Job") => ["selector", "template", "completionMode"]
            .into_iter()
            .for_each(&mut fixed),
        ("", "PersistentVolumeClaim") => ["accessModes", "storageClassName", "volumeMode"]
            .into_iter()
            .for_each(&mut fixed),
        ("apps", "StatefulSet") => {
            let keys = before
                .as_object()
                .into_iter()
                .chain(after.as_object())
                .flat_map(|spec| spec.keys());
            if keys
                .filter(|key| !STATEFUL_SET.contains(&key.as_str()))
                .any(|key| before[key] != after[key])
            {
                let text = "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', \
                    'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' \
                    and 'minReadySeconds' are forbidden";
                causes.push(("spec".into(), text.into()));
            }
        }
        ("", "Pod") => {
            let strip = |spec: &Value| {
                let mut spec = spec.clone();
                for list in ["containers", "initContainers"] {
                    let containers = spec.get_mut(list).and_then(Value::as_array_mut);
                    for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
                        container.remove("image");
                        container.remove("resources");
                    }
                }
                if let Some(spec) = spec.as_object_mut() {
                    for free in [
                        "tolerations",
                        "activeDeadlineSeconds",
                        "terminationGracePeriodSeconds",
                    ] {
                        spec.remove(free);
                    }
                }
                spec
            };
            if strip(before) != strip(after) {
                let text = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`, \
                    `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` and \
                    `spec.terminationGracePeriodSeconds`";
                causes.push(("spec".into(), text.into()));
            }
        }
        _ => {}
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;
    use serde_json::json;

    #[test]
    fn only_what_kubernetes_lets_change() {
        let pods = find("", "v1", "pods").unwrap();
        let pod = |image: &str, node: &str| json!({"spec": {"nodeName": node, "containers": [{"name": "a", "image": image}]}});
        assert!(causes(&pods, &pod("a:1", "n"), &pod("a:2", "n")).is_empty());
        assert_eq!(causes(&pods, &pod("a:1", "n"), &pod("a:1", "m")).len(), 1);
        let sets = find("apps", "v1", "statefulsets").unwrap();
        assert!(
            causes(
                &sets,
                &json!({"spec": {"replicas": 1}}),
                &json!({"spec": {"replicas": 2}})
            )
            .is_empty()
        );
        assert_eq!(
            causes(
                &sets,
                &json!({"spec": {"serviceName": "a"}}),
                &json!({"spec": {}})
            )
            .len(),
            1
        );
    }
}
