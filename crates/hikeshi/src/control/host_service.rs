//! How pods reach control's web server (Alertmanager's webhook): a Service without a selector, and the Secret that
//! opens the door.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// The objects behind `http://hikeshi.hikeshi-system.svc.cluster.local`, and Alertmanager's token.
pub fn objects(web: SocketAddr, alert_token: &str) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hikeshi-system"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hikeshi-faults"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}}),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "hikeshi", "namespace": "hikeshi-system"},
            "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": web.port()}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "hikeshi-host", "namespace": "hikeshi-system",
                "labels": {"kubernetes.io/service-name": "hikeshi"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
            "ports": [{"name": "http", "port": web.port(), "protocol": "TCP"}],
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "hikeshi-webhook", "namespace": "monitoring"},
            "stringData": {"token": alert_token},
        }),
    ]
}

/// Prometheus's rules, generated from the system's CUJs on the drill's clock.
pub fn rules(text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "prometheus-rules", "namespace": "monitoring"},
        "data": {"slo.yml": text},
    })
}
