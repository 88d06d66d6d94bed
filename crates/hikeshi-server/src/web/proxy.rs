//! Prometheus, Alertmanager and the system's own page, behind the war room's session.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::App;
use super::error::refuse;
use super::session::{COOKIE, Session, cookies};

pub(super) type Client = hyper_util::client::legacy::Client<HttpConnector, Body>;

/// Headers of one connection, not of the message (RFC 9110, 7.6.1).
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn client() -> Client {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(std::time::Duration::from_secs(5)));
    hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector)
}

/// Prometheus knows its prefix (`--web.external-url`); queries may be POSTed, the lifecycle API is not for seats.
pub(super) async fn prometheus(
    State(app): State<Arc<App>>,
    Session(_): Session,
    request: Request,
) -> Response {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let query = *request.method() == Method::POST && is_query(request.uri().path());
    if !reading && !query {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Prometheus is for reading here");
    }
    forward(&app, "prometheus", request).await
}

fn is_query(path: &str) -> bool {
    let api = path.strip_prefix("/prometheus/api/v1/").unwrap_or_default();
    matches!(
        api,
        "query" | "query_range" | "query_exemplars" | "series" | "labels" | "format_query" | "parse_query"
    )
}

/// Silencing would hide alerts from the record, so Alertmanager is for reading.
pub(super) async fn alertmanager(
    State(app): State<Arc<App>>,
    Session(_): Session,
    request: Request,
) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Alertmanager is for reading here");
    }
    forward(&app, "alertmanager", request).await
}

/// The system's own page: served at an origin of its own.
pub(super) async fn system(State(app): State<Arc<App>>, Session(_): Session, request: Request) -> Response {
    let in_lab =
        cookies(request.headers()).any(|(name, value)| name == super::lab::COOKIE && !value.is_empty());
    let mut response = forward(&app, "chirpy", request).await;
    if in_lab && response.version() == http::Version::HTTP_11 {
        // Each request of who sits in the lab crosses the network from its beginning, as the talk has it.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

async fn forward(app: &App, name: &str, request: Request) -> Response {
    let unavailable = |words: &str| {
        refuse(
            StatusCode::BAD_GATEWAY,
            &format!("{name} does not answer: {words}"),
        )
    };
    let Some(base) = app.host.upstream(name) else {
        return unavailable("it is not up yet");
    };
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    parts.uri = match format!("{}{path}", base.trim_end_matches('/')).parse::<Uri>() {
        Ok(uri) => uri,
        Err(_) => return unavailable("its address makes no sense"),
    };
    parts.version = http::Version::HTTP_11;
    drop_connection_headers(&mut parts.headers);
    hide_session(&mut parts.headers);
    if let Some(host) = parts.headers.remove(header::HOST) {
        parts.headers.insert("x-forwarded-host", host);
    }
    parts.headers.insert(
        "x-forwarded-proto",
        HeaderValue::from_static(if app.tls { "https" } else { "http" }),
    );
    match app.upstream.request(Request::from_parts(parts, body)).await {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            drop_connection_headers(&mut parts.headers);
            keep_session(&mut parts.headers);
            Response::from_parts(parts, Body::new(body))
        }
        Err(error) => {
            tracing::debug!(name, %error, "upstream failed");
            unavailable("no connection")
        }
    }
}

fn drop_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|n| n.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

/// The session is between the browser and us: what is behind us never sees it.
fn hide_session(headers: &mut HeaderMap) {
    let rest: Vec<String> = cookies(headers)
        .filter(|(name, _)| *name != COOKIE)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    headers.remove(header::COOKIE);
    if let Ok(value) = HeaderValue::from_str(&rest.join("; "))
        && !rest.is_empty()
    {
        headers.insert(header::COOKIE, value);
    }
}

/// Nor can what is behind us replace it.
fn keep_session(headers: &mut HeaderMap) {
    let theirs: Vec<HeaderValue> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter(|v| !v.as_bytes().trim_ascii_start().starts_with(COOKIE.as_bytes()))
        .cloned()
        .collect();
    headers.remove(header::SET_COOKIE);
    for value in theirs {
        headers.append(header::SET_COOKIE, value);
    }
}
