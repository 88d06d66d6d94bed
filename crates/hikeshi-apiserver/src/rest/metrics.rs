//! `metrics.k8s.io`: what the kubelet measured, for `kubectl top` and the autoscaler.

use axum::response::Response;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::app::App;
use crate::request::Call;
use crate::selector::Selector;
use crate::status::{ApiError, ApiResult, json_response};

pub(super) async fn handle(app: &App, call: &Call) -> ApiResult<Response> {
    if call.method != Method::GET {
        return Err(ApiError::method_not_allowed());
    }
    let selector = Selector::parse(call.params.get("labelSelector"), call.params.get("fieldSelector"))?;
    let items: Vec<Value> = if call.resource.namespaced {
        pods(app).await
    } else {
        nodes(app).await
    };
    let mut items: Vec<Value> = items
        .into_iter()
        .filter(|item| call.namespace.is_none() || item["metadata"]["namespace"] == *call.ns())
        .filter(|item| call.shows(item))
        .filter(|item| selector.matches(item))
        .collect();
    if let Some(name) = &call.name {
        let found = items.iter().position(|item| item["metadata"]["name"] == **name);
        let found = found.ok_or_else(|| ApiError::not_found(&call.resource, name))?;
        return Ok(json_response(200, &items.swap_remove(found)));
    }
    let kind = format!("{}List", call.resource.kind);
    Ok(json_response(
        200,
        &json!({"kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items}),
    ))
}

async fn pods(app: &App) -> Vec<Value> {
    let usage = app.kubelet.pod_usage().await;
    let metric = |pod: &crate::kubelet::PodUsage| {
        let stored = app.store.get("pods", &pod.namespace, &pod.name)?;
        let containers: Vec<Value> = pod
            .containers
            .iter()
            .map(|c| json!({"name": c.name, "usage": amount(c.cpu_nanocores, c.memory_bytes)}))
            .collect();
        let mut object = head("PodMetrics", &pod.name, pod.at, pod.window_seconds);
        object["metadata"]["namespace"] = pod.namespace.clone().into();
        object["metadata"]["labels"] = stored["metadata"]["labels"].clone();
        object["containers"] = Value::Array(containers);
        Some(object)
    };
    usage.iter().filter_map(metric).collect()
}

async fn nodes(app: &App) -> Vec<Value> {
    let usage = app.kubelet.node_usage().await;
    let metric = |node: &crate::kubelet::NodeUsage| {
        let mut object = head("NodeMetrics", &node.name, node.at, node.window_seconds);
        if let Some(stored) = app.store.get("nodes", "", &node.name) {
            object["metadata"]["labels"] = stored["metadata"]["labels"].clone();
        }
        object["usage"] = amount(node.cpu_nanocores, node.memory_bytes);
        object
    };
    usage.iter().map(metric).collect()
}

fn head(kind: &str, name: &str, at: Timestamp, window_seconds: f64) -> Value {
    json!({"kind": kind, "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": name, "creationTimestamp": super::write::stamp(at)},
        "timestamp": super::write::stamp(at), "window": format!("{window_seconds:.3}s")})
}

fn amount(nanocores: u64, bytes: u64) -> Value {
    json!({"cpu": format!("{nanocores}n"), "memory": format!("{}Ki", bytes / 1024)})
}
