//! port-forward: connections from a client's machine into a pod, over one connection to the server.
//!
//! Three forms: kubectl sends SPDY inside a websocket (`SPDY/3.1+portforward.k8s.io`, see [`tunnel`]), 1.30 without one
//! (an upgrade to `SPDY/3.1`, the streams' protocol in a header of its own); kube-rs uses two numbered channels per port
//! (`v4.channel.k8s.io`, see [`channels`]).

mod channels;
#[cfg(test)]
mod tests;
mod tunnel;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::stream::pod;
use crate::app::App;
use crate::kubelet::Kubelet;
use crate::request::{Call, Params};
use crate::status::{ApiError, ApiResult};

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: &str = "v4.channel.k8s.io";
const SPDY: HeaderValue = HeaderValue::from_static("SPDY/3.1");
/// What the streams of a bare SPDY connection mean; the client offers, the server chooses.
const STREAMS: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const PORT_FORWARD: HeaderValue = HeaderValue::from_static("portforward.k8s.io");

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
    let shutdown = app.shutdown.clone();
    if asks(&parts.headers, &UPGRADE, &SPDY) {
        let upgraded = spdy(&mut parts)?;
        tokio::spawn(async move {
            let serving = async {
                match upgraded.await {
                    Ok(connection) => tunnel::bare(TokioIo::new(connection), dial).await,
                    Err(error) => tracing::debug!(%error, "a port-forward's upgrade failed"),
                }
            };
            tokio::select! {
                () = serving => {}
                () = shutdown.cancelled() => {}
            }
        });
        return switched();
    }
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|e| {
            ApiError::bad_request(format!(
                "unable to upgrade: {e}; port-forward is served over websocket ({TUNNEL}, {CHANNELS}) and SPDY/3.1"
            ))
        })?
        .protocols([TUNNEL, CHANNELS]);
    let protocol = upgrade
        .selected_protocol()
        .and_then(|p| p.to_str().ok())
        .map(str::to_owned);
    match protocol.as_deref() {
        Some(TUNNEL) => Ok(upgrade.on_upgrade(move |socket| async move {
            tokio::select! {
                () = tunnel::in_websocket(socket, dial) => {}
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

/// Whether one of a header's values, each a list with commas, is this one in any case.
fn asks(headers: &HeaderMap, name: &HeaderName, wanted: &HeaderValue) -> bool {
    let values = headers.get_all(name).into_iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|value| value.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Takes the connection of a request that asks for SPDY's port-forward.
fn spdy(parts: &mut Parts) -> ApiResult<OnUpgrade> {
    let refuse = |what: &str| Err(ApiError::bad_request(format!("unable to upgrade: {what}")));
    if !asks(&parts.headers, &CONNECTION, &HeaderValue::from_static("upgrade")) {
        return refuse("the header \"Connection: Upgrade\" is needed");
    }
    if !asks(&parts.headers, &STREAMS, &PORT_FORWARD) {
        return refuse("the header \"X-Stream-Protocol-Version: portforward.k8s.io\" is needed");
    }
    let upgraded = parts.extensions.remove::<OnUpgrade>();
    upgraded.map_or_else(|| refuse("this connection cannot be: SPDY needs HTTP/1.1"), Ok)
}

fn switched() -> ApiResult<Response> {
    let answer = Response::builder()
        .status(http::StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, HeaderValue::from_static("Upgrade"))
        .header(UPGRADE, SPDY)
        .header(STREAMS, PORT_FORWARD)
        .body(Body::empty());
    answer.map_err(|error| ApiError::new(500, "InternalError", error.to_string()))
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
