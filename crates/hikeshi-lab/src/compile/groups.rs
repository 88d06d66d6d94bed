//! The second group, and the ingress before both.

use serde_json::{Value, json};

use super::{COOKIE, INGRESS, LABEL, WHOLE_WEIGHT, trial_labels, trial_name};
use crate::journey::{Entrance, Journey};

/// The Deployment of the trial group, made from the first group's as the API server tells it.
pub fn trial_group(deployment: &Value) -> Value {
    let labels = trial_labels(deployment);
    let mut template = deployment["spec"]["template"].clone();
    let mut of_pods = template["metadata"]["labels"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    of_pods.extend(labels.clone());
    of_pods.insert(LABEL.to_owned(), json!("trial"));
    template["metadata"]["labels"] = Value::Object(of_pods);
    if let Some(metadata) = template["metadata"].as_object_mut() {
        metadata.remove("creationTimestamp");
    }
    let mut of_all = labels.clone();
    of_all.insert(LABEL.to_owned(), json!("trial"));
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": trial_name(name), "namespace": deployment["metadata"]["namespace"], "labels": of_all},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    })
}

/// The Service of the trial group.
pub fn service(entrance: &Entrance, deployment: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": trial_name(&entrance.service), "namespace": entrance.namespace, "labels": {LABEL: "trial"}},
        "spec": {
            "selector": trial_labels(deployment),
            "ports": [{"name": "http", "port": entrance.port, "targetPort": entrance.target_port}],
        },
    })
}

/// The ingress, in the words of the AWS load balancer's controller. Of a journey, `weight` of 1,000 requests go to the trial group; with a
/// `token` only requests with that cookie count as the journey's. Without a journey everything goes where it always goes.
pub fn ingress(entrance: &Entrance, journey: Option<&Journey>, token: Option<&str>, weight: u32) -> Value {
    let usual = json!({"service": {"name": entrance.service, "port": {"number": entrance.port}}});
    let mut paths = Vec::new();
    let mut annotations = serde_json::Map::new();
    if let Some(journey) = journey {
        let group = |name: &str, weight: u32| json!({"serviceName": name, "servicePort": entrance.port, "weight": weight});
        let action = json!({"type": "forward", "forwardConfig": {"targetGroups": [
            group(&trial_name(&entrance.service), weight),
            group(&entrance.service, WHOLE_WEIGHT - weight.min(WHOLE_WEIGHT)),
        ]}});
        let mut conditions = vec![
            json!({"field": "http-request-method", "httpRequestMethodConfig": {"values": [journey.method]}}),
        ];
        if let Some(token) = token {
            let values = [format!("*{COOKIE}={token}*")];
            conditions.push(json!({"field": "http-header", "httpHeaderConfig": {"httpHeaderName": "Cookie", "values": values}}));
        }
        annotations.insert(
            "alb.ingress.kubernetes.io/actions.on-trial".into(),
            json!(action.to_string()),
        );
        annotations.insert(
            "alb.ingress.kubernetes.io/conditions.on-trial".into(),
            json!(Value::Array(conditions).to_string()),
        );
        paths.push(json!({
            "path": journey.path, "pathType": "ImplementationSpecific",
            "backend": {"service": {"name": "on-trial", "port": {"name": "use-annotation"}}},
        }));
    }
    paths.push(json!({"path": "/*", "pathType": "ImplementationSpecific", "backend": usual}));
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": INGRESS, "namespace": entrance.namespace, "labels": {LABEL: "trial"}, "annotations": annotations},
        "spec": {"ingressClassName": "alb", "rules": [{"http": {"paths": paths}}]},
    })
}
