//! `GET /hikeshi/sd/pods`: running pods for Prometheus' `http_sd_configs`, with the labels of its own Kubernetes
//! discovery (Debian's Prometheus is built without that).

use serde_json::{Map, Value, json};

/// One target per container port of every running pod with an address; a container without ports is left out.
pub(crate) fn targets<'a>(pods: impl Iterator<Item = &'a Value>, namespace: &str) -> Value {
    let mut targets = Vec::new();
    for pod in pods {
        let (metadata, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
        let Some(ip) = status["podIP"].as_str().filter(|ip| !ip.is_empty()) else {
            continue;
        };
        if status["phase"] != "Running" || (!namespace.is_empty() && metadata["namespace"] != namespace) {
            continue;
        }
        let shared = labels(pod, ip);
        for container in spec["containers"].as_array().into_iter().flatten() {
            for port in container["ports"].as_array().into_iter().flatten() {
                let number = port["containerPort"].as_u64().unwrap_or(0);
                let mut labels = shared.clone();
                let mut set = |key: &str, value: &Value| {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    labels.insert(format!("__meta_kubernetes_pod_container_{key}"), text.into());
                };
                set("name", &container["name"]);
                set("image", &container["image"]);
                set("port_number", &json!(number.to_string()));
                set("port_protocol", port.get("protocol").unwrap_or(&json!("TCP")));
                set("port_name", port.get("name").unwrap_or(&json!("")));
                targets.push(json!({"targets": [format!("{ip}:{number}")], "labels": labels}));
            }
        }
    }
    Value::Array(targets)
}

fn labels(pod: &Value, ip: &str) -> Map<String, Value> {
    let (metadata, status) = (&pod["metadata"], &pod["status"]);
    let mut labels = Map::new();
    let mut set =
        |key: &str, value: &str| drop(labels.insert(format!("__meta_kubernetes_{key}"), value.into()));
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    set("namespace", &text(&metadata["namespace"]));
    set("pod_name", &text(&metadata["name"]));
    set("pod_uid", &text(&metadata["uid"]));
    set("pod_ip", ip);
    set("pod_host_ip", &text(&status["hostIP"]));
    set("pod_node_name", &text(&pod["spec"]["nodeName"]));
    set("pod_phase", &text(&status["phase"]));
    let ready = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Ready");
    set(
        "pod_ready",
        &ready.map_or("unknown".to_owned(), |c| text(&c["status"]).to_lowercase()),
    );
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    if let Some(owner) = owners.into_iter().find(|o| o["controller"] == true) {
        set("pod_controller_kind", &text(&owner["kind"]));
        set("pod_controller_name", &text(&owner["name"]));
    }
    for map in ["label", "annotation"] {
        for (key, value) in metadata[format!("{map}s")].as_object().into_iter().flatten() {
            let key: String = key
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            set(&format!("pod_{map}_{key}"), value.as_str().unwrap_or_default());
            set(&format!("pod_{map}present_{key}"), "true");
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_pods_with_their_labels() {
        let pod = json!({
            "metadata": {"name": "web-1", "namespace": "chirpy", "uid": "u", "labels": {"app.kubernetes.io/name": "web"},
                "annotations": {"prometheus.io/scrape": "true"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": true}]},
            "spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 8080, "name": "http"}]}, {"name": "side"}]},
            "status": {"phase": "Running", "podIP": "127.64.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let mut pending = pod.clone();
        pending["status"]["phase"] = json!("Pending");
        let out = targets([&pod, &pending].into_iter(), "chirpy");
        assert_eq!(out.as_array().unwrap().len(), 1);
        assert_eq!(out[0]["targets"], json!(["127.64.0.7:8080"]));
        let labels = &out[0]["labels"];
        assert_eq!(
            labels["__meta_kubernetes_pod_label_app_kubernetes_io_name"],
            "web"
        );
        assert_eq!(
            labels["__meta_kubernetes_pod_annotationpresent_prometheus_io_scrape"],
            "true"
        );
        assert_eq!(labels["__meta_kubernetes_pod_ready"], "true");
        assert_eq!(labels["__meta_kubernetes_pod_controller_kind"], "ReplicaSet");
        assert_eq!(targets([&pod].into_iter(), "other"), json!([]));
    }
}
