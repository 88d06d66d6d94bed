//! How pods reach what runs on the host: control's web server (Alertmanager's webhook) with the Secret that opens its
//! door, and the data plane's metrics. Services without a selector, and slices that name the host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use hikeshi_node::netagent::METRICS;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::apply::Applier;
use crate::failure::Failure;

/// Before what could not be written is tried again: the API may be on its way up.
const AGAIN: Duration = Duration::from_secs(1);

/// The objects behind `http://hikeshi.hikeshi-system.svc.cluster.local`, and Alertmanager's token.
pub fn objects(web: SocketAddr, alert_token: &str) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hikeshi-system"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hikeshi-faults"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}}),
        service("hikeshi", web.port()),
        slice("hikeshi", web.port()),
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "hikeshi-webhook", "namespace": "monitoring"},
            "stringData": {"token": alert_token},
        }),
    ]
}

fn service(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "hikeshi-system"},
        "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": port}]},
    })
}

fn slice(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-host"), "namespace": "hikeshi-system",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    })
}

/// Keeps `http://edges.hikeshi-system` leading to the data plane's metrics, wherever the data plane tells them: one that
/// was started again may have another port.
pub async fn keep_edges(
    client: kube::Client,
    mut hosts: watch::Receiver<BTreeMap<String, SocketAddr>>,
    shutdown: CancellationToken,
) {
    let mut written = None;
    loop {
        let told = hosts.borrow_and_update().get(METRICS).copied();
        if let Some(address) = told.filter(|address| written != Some(*address)) {
            match write_edges(&client, address).await {
                Ok(()) => written = Some(address),
                Err(error) => {
                    tracing::warn!(%error, "the way to the data plane's metrics could not be written; again soon");
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => continue,
                        () = shutdown.cancelled() => return,
                    }
                }
            }
        }
        tokio::select! {
            changed = hosts.changed() => if changed.is_err() { return },
            () = shutdown.cancelled() => return,
        }
    }
}

async fn write_edges(client: &kube::Client, address: SocketAddr) -> Result<(), Failure> {
    let applier = Applier::new(client.clone()).await?;
    let place = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hikeshi-system"}});
    for object in [
        place,
        service("edges", address.port()),
        slice("edges", address.port()),
    ] {
        applier.apply(&object).await?;
    }
    Ok(())
}

/// Prometheus's rules, generated from the system's CUJs on the drill's clock.
pub fn rules(text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "prometheus-rules", "namespace": "monitoring"},
        "data": {"slo.yml": text},
    })
}
