//! `pods/NAME/proxy/PATH` and `services/NAME/proxy/PATH`: HTTP to a program in a pod, through this server.
//!
//! NAME is `NAME`, `NAME:PORT` or `http:NAME:PORT`. The request reaches the pod over a connection made inside its network
//! namespace, so no fault of the data plane touches it: it tells how the program is, not how the way to it is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::app::App;
use crate::request::Call;
use crate::status::{ApiError, ApiResult};

/// Headers that belong to one connection, and the credential that was meant for this server.
const NOT_PASSED_ON: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::AUTHORIZATION,
    header::HOST,
];
const HOST_CONNECT: Duration = Duration::from_secs(10);

/// The `[SCHEME:]NAME[:PORT]` of a path.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    name: &'a str,
    port: &'a str,
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> ApiResult<Target<'a>> {
        let words: Vec<&str> = text.split(':').collect();
        match words.as_slice() {
            [name] => Ok(Target { name, port: "" }),
            [name, port] => Ok(Target { name, port }),
            ["http" | "", name, port] => Ok(Target { name, port }),
            ["https", ..] => Err(ApiError::bad_request(format!(
                "invalid proxy target {text:?}: only http is served, not https"
            ))),
            _ => Err(ApiError::bad_request(format!(
                "invalid proxy target {text:?}: must be NAME, NAME:PORT or http:NAME:PORT"
            ))),
        }
    }
}

/// Kubernetes' words when a program cannot be reached.
fn unreachable(reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        503,
        "ServiceUnavailable",
        format!("error trying to reach service: {reason}"),
    )
}

pub(super) async fn pod(app: &App, call: &Call, parts: &Parts) -> ApiResult<Response> {
    let target = Target::parse(call.name())?;
    let found = app.store.get("pods", call.ns(), target.name);
    let pod = found.ok_or_else(|| ApiError::not_found(&call.resource, target.name))?;
    let port = match target.port {
        "" => container_port(&pod, |_| true).unwrap_or(80),
        text => match text.parse() {
            Ok(port @ 1..) => port,
            _ => container_port(&pod, |p| p["name"] == text).ok_or_else(|| {
                ApiError::bad_request(format!("pod {} has no port called {text:?}", target.name))
            })?,
        },
    };
    if let Some(redirect) = to_folder(parts) {
        return Ok(redirect);
    }
    let stream = into_pod(app, &pod, port).await?;
    relay(app, call, parts, stream, port).await
}

fn container_port(pod: &Value, wanted: impl Fn(&Value) -> bool) -> Option<u16> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten());
    let port = ports.find(|p| wanted(p))?;
    u16::try_from(port["containerPort"].as_u64()?).ok()
}

async fn into_pod(app: &App, pod: &Value, port: u16) -> ApiResult<TcpStream> {
    app.kubelet.connect(pod, port).await.map_err(unreachable)
}

pub(super) async fn service(app: &App, call: &Call, parts: &Parts) -> ApiResult<Response> {
    let target = Target::parse(call.name())?;
    let found = app.store.get("services", call.ns(), target.name);
    let service = found.ok_or_else(|| ApiError::not_found(&call.resource, target.name))?;
    let port = service_port(&service, target.port).ok_or_else(|| {
        ApiError::new(
            503,
            "ServiceUnavailable",
            format!(
                "no service port {:?} found for service {:?}",
                target.port, target.name
            ),
        )
    })?;
    if let Some(redirect) = to_folder(parts) {
        return Ok(redirect);
    }
    let none = || {
        let message = format!("no endpoints available for service \"{}\"", call.name());
        ApiError::new(503, "ServiceUnavailable", message)
    };
    let mut backends = backends(app, call, target.name, &port);
    if backends.is_empty() {
        return Err(none());
    }
    // One of them at random, as kube-proxy would; the next when it does not answer.
    fastrand::shuffle(&mut backends);
    let mut refusal = none();
    for (backend, port) in backends {
        let connected = match backend {
            Backend::Pod(pod) => into_pod(app, &pod, port).await,
            Backend::Host(ip) => to_host(SocketAddr::new(ip, port)).await,
        };
        match connected {
            Ok(stream) => return relay(app, call, parts, stream, port).await,
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// The name of the Service's port that is meant: by name, by number, or the only one.
fn service_port(service: &Value, asked: &str) -> Option<String> {
    let ports = service["spec"]["ports"].as_array()?;
    let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
    if asked.is_empty() {
        return match ports.as_slice() {
            [only] => Some(name(only)),
            _ => None,
        };
    }
    let number: Option<u64> = asked.parse().ok();
    let hit = |port: &&Value| port["name"] == asked || (number.is_some() && port["port"].as_u64() == number);
    ports.iter().find(hit).map(name)
}

enum Backend {
    Pod(Arc<Value>),
    Host(IpAddr),
}

/// Ready endpoints of a Service's port, with the port there.
fn backends(app: &App, call: &Call, service: &str, port: &str) -> Vec<(Backend, u16)> {
    let namespace = Some(call.ns());
    let (_, slices) = app.store.list("endpointslices.discovery.k8s.io", namespace);
    let (_, pods) = app.store.list("pods", namespace);
    let mut found = Vec::new();
    for slice in slices {
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] != service {
            continue;
        }
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        let number = ports
            .find(|p| p["name"].as_str().unwrap_or_default() == port)
            .and_then(|p| u16::try_from(p["port"].as_u64()?).ok());
        let Some(number) = number else { continue };
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let ready = endpoints.filter(|e| e["conditions"]["ready"].as_bool() != Some(false));
        for address in ready.flat_map(|e| e["addresses"].as_array().into_iter().flatten()) {
            let Some(ip) = address.as_str().and_then(|a| a.parse::<IpAddr>().ok()) else {
                continue;
            };
            let pod = pods.iter().find(|pod| pod["status"]["podIP"] == *address);
            match pod {
                Some(pod) => found.push((Backend::Pod(Arc::clone(pod)), number)),
                // An address that is no pod's is the machine's own: for its owner only, since anyone who may write an
                // EndpointSlice chooses it.
                None if call.trusted => found.push((Backend::Host(ip), number)),
                None => {}
            }
        }
    }
    found
}

async fn to_host(address: SocketAddr) -> ApiResult<TcpStream> {
    match tokio::time::timeout(HOST_CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(format!("dial tcp {address}: {error}"))),
        Err(_) => Err(unreachable(format!("dial tcp {address}: i/o timeout"))),
    }
}

/// A path that ends with `proxy` is a folder's: relative links in the answer need the slash.
fn to_folder(parts: &Parts) -> Option<Response> {
    let (path, query) = (parts.uri.path(), parts.uri.query());
    let get = matches!(parts.method, Method::GET | Method::HEAD);
    if !get || inner_path(path).is_some() {
        return None;
    }
    let to = query.map_or_else(|| format!("{path}/"), |query| format!("{path}/?{query}"));
    Some((StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to)]).into_response())
}

/// What follows `/api/v1/namespaces/NS/KIND/NAME/proxy`; `None` when nothing does.
fn inner_path(path: &str) -> Option<&str> {
    let start = path.match_indices('/').nth(7).map(|(at, _)| at)?;
    path.get(start..)
}

async fn relay(app: &App, call: &Call, parts: &Parts, stream: TcpStream, port: u16) -> ApiResult<Response> {
    if call.headers.contains_key(header::UPGRADE) {
        return Err(ApiError::bad_request(
            "unable to upgrade: proxy carries plain HTTP only; use kubectl port-forward for websockets",
        ));
    }
    let path = parts.uri.path();
    let inner = inner_path(path).unwrap_or("/");
    let prefix = path.strip_suffix(inner).unwrap_or(path);
    let uri = parts
        .uri
        .query()
        .map_or_else(|| inner.to_owned(), |query| format!("{inner}?{query}"));
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(uri)
        .body(Full::new(call.body.clone()))
        .map_err(|e| ApiError::bad_request(format!("the request cannot be passed on: {e}")))?;
    *request.headers_mut() = passed_on(&call.headers);
    let host = format!("{}:{port}", Target::parse(call.name())?.name);
    let host = HeaderValue::try_from(host).map_err(|e| ApiError::bad_request(e.to_string()))?;
    request.headers_mut().insert(header::HOST, host);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(unreachable)?;
    let shutdown = app.shutdown.clone();
    // It ends with the answer's body, or when whoever reads that goes away.
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "a proxied connection ended");
            },
            () = shutdown.cancelled() => {}
        }
    });
    let answer = sender.send_request(request).await.map_err(unreachable)?;
    let (head, body) = answer.into_parts();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = passed_on(&head.headers);
    if let Some(to) = head.headers.get(header::LOCATION).and_then(|to| to.to_str().ok())
        && to.starts_with('/')
        && !to.starts_with("//")
        && let Ok(to) = HeaderValue::try_from(format!("{prefix}{to}"))
    {
        response.headers_mut().insert(header::LOCATION, to);
    }
    Ok(response)
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    // The connection header may name further ones.
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in &named {
        kept.remove(name.as_str());
    }
    for name in &NOT_PASSED_ON {
        kept.remove(name);
    }
    kept.remove("keep-alive");
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets() {
        let target = |text| Target::parse(text).map(|t| (t.name, t.port)).ok();
        assert_eq!(target("web"), Some(("web", "")));
        assert_eq!(target("web:80"), Some(("web", "80")));
        assert_eq!(target("http:web:http"), Some(("web", "http")));
        assert_eq!(target("https:web:443"), None);
        assert_eq!(target("a:b:c:d"), None);
    }

    #[test]
    fn what_follows_proxy_is_the_programs_path() {
        let base = "/api/v1/namespaces/n/services/web:80/proxy";
        assert_eq!(inner_path(base), None);
        assert_eq!(inner_path(&format!("{base}/")), Some("/"));
        assert_eq!(inner_path(&format!("{base}/a/b%2Fc")), Some("/a/b%2Fc"));
    }

    #[test]
    fn a_services_port_by_name_number_or_alone() {
        let one = json!({"spec": {"ports": [{"name": "http", "port": 80}]}});
        assert_eq!(service_port(&one, "").as_deref(), Some("http"));
        assert_eq!(service_port(&one, "80").as_deref(), Some("http"));
        assert_eq!(service_port(&one, "81"), None);
        let two = json!({"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}});
        assert_eq!(service_port(&two, ""), None);
        assert_eq!(service_port(&two, "b").as_deref(), Some("b"));
    }

    #[test]
    fn headers_of_one_connection_and_credentials_stay_here() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer x"));
        headers.insert("connection", HeaderValue::from_static("close, X-Mine"));
        headers.insert("x-mine", HeaderValue::from_static("1"));
        headers.insert("x-kept", HeaderValue::from_static("1"));
        let kept = passed_on(&headers);
        assert_eq!(
            kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-kept"]
        );
    }
}
