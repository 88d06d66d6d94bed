//! What an object takes of a quota: a pure function of the object.

use std::collections::BTreeMap;

use serde_json::Value;

use super::quantity::thousandths;

/// Quota resource to thousandths.
pub(super) type Usage = BTreeMap<String, i128>;

const ONE: i128 = 1000;
/// Resources whose plain name is a quota resource that counts them.
const COUNTED_BY_NAME: [&str; 6] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "resourcequotas",
    "secrets",
    "services",
];
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// What the object takes; `key` is its resource's name (`pods`, `deployments.apps`).
pub(super) fn of(key: &str, object: &Value) -> Usage {
    let mut usage = Usage::from([(format!("count/{key}"), ONE)]);
    let mut take = |name: String, amount: i128| {
        let sum: &mut i128 = usage.entry(name).or_default();
        *sum = sum.saturating_add(amount);
    };
    if key == "pods" {
        if !is_over(object) {
            take("pods".into(), ONE);
            for resource in COMPUTE {
                let requests = pod_total(&object["spec"], "requests", resource);
                take(resource.to_owned(), requests);
                take(format!("requests.{resource}"), requests);
                take(
                    format!("limits.{resource}"),
                    pod_total(&object["spec"], "limits", resource),
                );
            }
        }
        return usage;
    }
    if COUNTED_BY_NAME.contains(&key) {
        take(key.to_owned(), ONE);
    }
    match key {
        "services" => {
            let kind = object["spec"]["type"].as_str().unwrap_or_default();
            let ports = object["spec"]["ports"].as_array().map_or(0, Vec::len) as i128;
            if kind == "LoadBalancer" {
                take("services.loadbalancers".into(), ONE);
            }
            if matches!(kind, "LoadBalancer" | "NodePort") {
                take("services.nodeports".into(), ports * ONE);
            }
        }
        "persistentvolumeclaims" => {
            let storage = thousandths(&object["spec"]["resources"]["requests"]["storage"]).unwrap_or(0);
            take("requests.storage".into(), storage);
            if let Some(class) = object["spec"]["storageClassName"].as_str() {
                let of = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
                take(of("requests.storage"), storage);
                take(of("persistentvolumeclaims"), ONE);
            }
        }
        _ => {}
    }
    usage
}

/// Ended pods take nothing: they only wait to be looked at.
fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// What a pod takes of a compute resource: its containers together, or its hungriest init container if that is more.
pub(super) fn pod_total(spec: &Value, kind: &str, resource: &str) -> i128 {
    let amounts = |list: &str| -> Vec<i128> {
        let containers = spec[list].as_array().into_iter().flatten();
        containers
            .map(|c| thousandths(&c["resources"][kind][resource]).unwrap_or(0))
            .collect()
    };
    let together = amounts("containers").into_iter().fold(0, i128::saturating_add);
    let first = amounts("initContainers").into_iter().max().unwrap_or(0);
    together.max(first)
}

/// Whether a quota's scope takes a pod in. Other kinds have no scope.
pub(super) fn in_scope(scope: &str, pod: &Value) -> bool {
    let ends = pod["spec"]["activeDeadlineSeconds"].is_number();
    let lists = ["containers", "initContainers"];
    let best_effort = lists
        .iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .all(|c| {
            let empty = |kind: &str| {
                c["resources"][kind]
                    .as_object()
                    .is_none_or(serde_json::Map::is_empty)
            };
            empty("requests") && empty("limits")
        });
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_takes_its_containers_or_its_hungriest_init() {
        let pod = json!({"spec": {
            "initContainers": [{"resources": {"requests": {"cpu": "3"}}}],
            "containers": [{"resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}}},
                {"resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}}]}});
        let usage = of("pods", &pod);
        assert_eq!((usage["pods"], usage["count/pods"]), (1000, 1000));
        assert_eq!((usage["requests.cpu"], usage["cpu"]), (3000, 3000));
        assert_eq!(usage["limits.memory"], 1000 << 31);
        let mut over = pod;
        over["status"] = json!({"phase": "Succeeded"});
        assert_eq!(of("pods", &over), Usage::from([("count/pods".to_owned(), 1000)]));
    }

    /// Twice as much as a quantity holds is still a sum.
    #[test]
    fn no_sum_overflows() {
        let much = json!({"resources": {"requests": {"cpu": "1e35"}, "limits": {"cpu": "1e35"}}});
        let usage = of("pods", &json!({"spec": {"containers": [much, much]}}));
        assert_eq!(usage["requests.cpu"], 2 * 1000 * i128::from(i64::MAX));
    }

    #[test]
    fn other_kinds() {
        let service = json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}});
        let usage = of("services", &service);
        assert_eq!(
            (
                usage["services"],
                usage["services.loadbalancers"],
                usage["services.nodeports"]
            ),
            (1000, 1000, 2000)
        );
        let claim =
            json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}});
        let usage = of("persistentvolumeclaims", &claim);
        assert_eq!(
            usage["requests.storage"],
            usage["fast.storageclass.storage.k8s.io/requests.storage"]
        );
        assert_eq!(
            of("deployments.apps", &json!({})),
            Usage::from([("count/deployments.apps".to_owned(), 1000)])
        );
    }

    #[test]
    fn scopes() {
        let plain = json!({"spec": {"containers": [{}]}});
        assert!(in_scope("BestEffort", &plain) && in_scope("NotTerminating", &plain));
        let other = json!({"spec": {"activeDeadlineSeconds": 5, "containers": [{"resources": {"limits": {"cpu": "1"}}}]}});
        assert!(in_scope("NotBestEffort", &other) && in_scope("Terminating", &other));
    }
}
