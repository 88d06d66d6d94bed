//! port-forward: connections from a client's machine into a pod, over one websocket.
//!
//! Two forms: kubectl sends SPDY inside the websocket (`SPDY/3.1+portforward.k8s.io`, see [`tunnel`]); kube-rs and older
//! clients use two numbered channels per port (`v4.channel.k8s.io`, see [`channels`]).

mod channels;
mod tunnel;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use http::request::Parts;
use serde_json::Value;
use tokio::net::TcpStream;

use super::stream::pod;
use crate::app::App;
use crate::kubelet::Kubelet;
use crate::request::{Call, Params};
use crate::status::{ApiError, ApiResult};

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: &str = "v4.channel.k8s.io";

/// Opens connections into one pod.
#[derive(Clone)]
struct Dial {
    kubelet: Arc<dyn Kubelet>,
    pod: Arc<Value>,
}

impl Dial {
    /// A connection to the port inside the pod, or what the kubelet says of the failure.
    async fn open(&self, port: u16) -> Result<TcpStream, String> {
        let connected = self.kubelet.connect(&self.pod, port).await;
        connected.map_err(|error| {
            let metadata = &self.pod["metadata"];
            let text = |key: &str| metadata[key].as_str().unwrap_or_default();
            format!(
                "error forwarding port {port} to pod {}, uid {}: {error}",
                text("name"),
                text("uid")
            )
        })
    }
}

pub(super) async fn handle(app: &App, call: &Call, mut parts: Parts) -> ApiResult<Response> {
    let pod = pod(app, call)?;
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if phase != "Running" {
        return Err(ApiError::bad_request(format!(
            "unable to forward port because pod is not running. Current status={phase}"
        )));
    }
    let dial = Dial {
        kubelet: Arc::clone(&app.kubelet),
        pod,
    };
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|e| {
            ApiError::bad_request(format!(
                "unable to upgrade: {e}; port-forward is served over websocket ({TUNNEL}, {CHANNELS}): \
                 kubectl 1.31 or newer, or 1.30 with KUBECTL_PORT_FORWARD_WEBSOCKETS=true"
            ))
        })?
        .protocols([TUNNEL, CHANNELS]);
    let protocol = upgrade
        .selected_protocol()
        .and_then(|p| p.to_str().ok())
        .map(str::to_owned);
    let shutdown = app.shutdown.clone();
    match protocol.as_deref() {
        Some(TUNNEL) => Ok(upgrade.on_upgrade(move |socket| async move {
            tokio::select! {
                () = tunnel::serve(socket, dial) => {}
                () = shutdown.cancelled() => {}
            }
        })),
        Some(CHANNELS) => {
            let ports = ports(&call.params)?;
            Ok(upgrade.on_upgrade(move |socket| async move {
                tokio::select! {
                    () = channels::serve(socket, dial, ports) => {}
                    () = shutdown.cancelled() => {}
                }
            }))
        }
        _ => Err(ApiError::bad_request(format!(
            "unable to upgrade: {TUNNEL} or {CHANNELS} is needed"
        ))),
    }
}

/// The `ports` parameter: numbers, repeated or with commas. Two channels each, and a channel's number is one byte.
fn ports(params: &Params) -> ApiResult<Vec<u16>> {
    let given = [params.all("ports"), params.all("port")].concat();
    let ports: Result<Vec<u16>, ApiError> = given
        .iter()
        .flat_map(|list| list.split(','))
        .map(|text| match text.trim().parse() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(ApiError::bad_request(format!(
                "unable to parse {text:?} as a port"
            ))),
        })
        .collect();
    match ports?.as_slice() {
        [] => Err(ApiError::bad_request("query parameter \"ports\" is required")),
        many if many.len() > 128 => Err(ApiError::bad_request(
            "at most 128 ports can be forwarded at once",
        )),
        ports => Ok(ports.to_vec()),
    }
}
