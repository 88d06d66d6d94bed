//! gateway: the edge. Checks tokens, limits rates, gives every request an id, and serves the page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};

use crate::limits::{Class, Limits};
use crate::service::{ApiError, Service, parse_env, text_env};
use crate::stream::{self, Streams};
use crate::token::{Claims, JWKS_PATH, Verifier};
use crate::{idempotency, page};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Largest body of a request, bytes.
const MAX_BODY: usize = 64 * 1024;

struct Gateway {
    keys: Arc<Verifier>,
    streams: Streams,
    server: String,
    client: reqwest::Client,
    deadline: Duration,
    limits: Limits,
}

/// Runs the role.
///
/// # Errors
/// Wrong configuration, or a port that is taken.
pub async fn run() -> anyhow::Result<()> {
    let service = Service::new("gateway");
    let server = text_env(
        "CHIRPY_SERVER_URL",
        "http://chirpy-server.chirpy.svc.cluster.local",
    );
    let gateway = Gateway {
        keys: Verifier::from_env()?,
        streams: Streams::new(&server, service.stopping())?,
        server: server.trim_end_matches('/').to_owned(),
        client: reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .pool_idle_timeout(Duration::from_secs(20))
            .build()?,
        deadline: Duration::from_millis(parse_env("CHIRPY_SERVER_TIMEOUT_MS", 3000)?),
        limits: Limits::from_env()?,
    };
    service.ready_now();
    tokio::spawn(gateway.keys.clone().follow());
    let routes = Router::new()
        .route("/api/timeline/live", get(live))
        .route("/api/{*path}", any(forward))
        .route(JWKS_PATH, get(keys))
        .with_state(Arc::new(gateway))
        .merge(page::routes());
    service.serve(routes).await
}

/// The public keys of our tokens, for whoever wants to verify one.
async fn keys(State(gateway): State<Arc<Gateway>>) -> Response {
    let kept = [(header::CACHE_CONTROL, "public, max-age=60")];
    (kept, Json(gateway.keys.published())).into_response()
}

/// A live timeline: passed on as it comes, without a deadline.
async fn live(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let passed = async {
        let claims = gateway.claims(&headers).await?;
        let claims = claims.ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "please log in"))?;
        if let Err(refused) = gateway.limits.admit(Class::Read, &claims.sub, Instant::now()) {
            return Ok(refused.response());
        }
        let mut own = stream::resume(&headers);
        for (name, value) in [("x-user-id", &claims.sub), ("x-user-name", &claims.name)] {
            let value = HeaderValue::from_str(value).map_err(anyhow::Error::from)?;
            own.insert(HeaderName::from_static(name), value);
        }
        gateway.streams.pass("/api/timeline/live", own).await
    };
    passed.await.unwrap_or_else(ApiError::into_response)
}

async fn forward(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| id.len() <= 64)
        .cloned()
        .or_else(|| HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok());
    let mut response = match gateway.pass(request, id.as_ref()).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

impl Gateway {
    async fn claims(&self, headers: &HeaderMap) -> Result<Option<Claims>, ApiError> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Ok(None);
        };
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "));
        let claims = match token {
            Some(token) => self.keys.claims(token).await,
            None => None,
        };
        let expired = || ApiError::new(StatusCode::UNAUTHORIZED, "the token is not valid or has expired");
        claims.ok_or_else(expired).map(Some)
    }

    async fn pass(&self, request: Request, id: Option<&HeaderValue>) -> Result<Response, ApiError> {
        let claims = self.claims(request.headers()).await?;
        // Everyone who is not logged in shares one allowance: an edge proxy in front would know their addresses.
        let who = claims.as_ref().map_or("", |claims| claims.sub.as_str());
        let class = Class::of(request.method(), request.uri().path());
        if let Err(refused) = self.limits.admit(class, who, Instant::now()) {
            return Ok(refused.response());
        }
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let body = to_bytes(body, MAX_BODY)
            .await
            .map_err(|_| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large"))?;
        let url = format!("{}{path}", self.server);
        let mut outgoing = self
            .client
            .request(parts.method, &url)
            .timeout(self.deadline)
            .body(body);
        for name in [header::CONTENT_TYPE, idempotency::HEADER] {
            if let Some(value) = parts.headers.get(&name) {
                outgoing = outgoing.header(name, value);
            }
        }
        if let Some(id) = id {
            outgoing = outgoing.header(REQUEST_ID, id);
        }
        if let Some(claims) = &claims {
            outgoing = outgoing
                .header("x-user-id", &claims.sub)
                .header("x-user-name", &claims.name);
        }
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                tracing::error!("Request to Chirpy Server timed out: url={url}");
                ApiError::new(StatusCode::GATEWAY_TIMEOUT, "Chirpy did not answer in time")
            } else {
                tracing::error!("Request to Chirpy Server failed: url={url} error={error}");
                ApiError::new(StatusCode::BAD_GATEWAY, "Chirpy cannot be reached")
            }
        };
        let answer = outgoing.send().await.map_err(failed)?;
        let mut response = Response::builder().status(answer.status());
        for name in [header::CONTENT_TYPE, header::LINK, header::CACHE_CONTROL] {
            if let Some(value) = answer.headers().get(&name) {
                response = response.header(name, value);
            }
        }
        let body = answer.bytes().await.map_err(failed)?;
        response
            .body(Body::from(body))
            .map_err(|error| anyhow::Error::from(error).into())
    }
}
