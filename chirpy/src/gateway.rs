//! gateway: the edge. Checks tokens, limits rates, gives every request an id, and serves the page.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};

use crate::service::{ApiError, Service, parse_env, text_env};
use crate::token::{Claims, Keys};

const PAGE: &str = include_str!("page.html");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Largest body of a request, bytes.
const MAX_BODY: usize = 64 * 1024;

struct Gateway {
    keys: Keys,
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
        keys: Keys::from_env()?,
        server: server.trim_end_matches('/').to_owned(),
        client: reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .pool_idle_timeout(Duration::from_secs(20))
            .build()?,
        deadline: Duration::from_millis(parse_env("CHIRPY_SERVER_TIMEOUT_MS", 3000)?),
        limits: Limits::new(parse_env("RATE_LIMIT_PER_SECOND", 50.0)?),
    };
    service.ready_now();
    let routes = Router::new()
        .route("/", get(page))
        .route("/api/{*path}", any(forward))
        .with_state(Arc::new(gateway));
    service.serve(routes).await
}

async fn page(headers: HeaderMap) -> Response {
    let languages = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let language = if prefers_japanese(languages) { "ja" } else { "en" };
    let kind = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::VARY, "accept-language"),
    ];
    (kind, PAGE.replace("{{language}}", language)).into_response()
}

/// Whether Japanese comes before English in an Accept-Language header (browsers list by preference).
fn prefers_japanese(languages: &str) -> bool {
    let place = |language: &str| {
        languages
            .split(',')
            .position(|part| part.trim().to_lowercase().starts_with(language))
    };
    match (place("ja"), place("en")) {
        (Some(ja), Some(en)) => ja < en,
        (ja, _) => ja.is_some(),
    }
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
    fn claims(&self, headers: &HeaderMap) -> Result<Option<Claims>, ApiError> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Ok(None);
        };
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "));
        let claims = token.and_then(|token| self.keys.verify(token));
        let expired = || ApiError::new(StatusCode::UNAUTHORIZED, "the token is not valid or has expired");
        claims.ok_or_else(expired).map(Some)
    }

    async fn pass(&self, request: Request, id: Option<&HeaderValue>) -> Result<Response, ApiError> {
        let claims = self.claims(request.headers())?;
        // Everyone who is not logged in shares one allowance: an edge proxy in front would know their addresses.
        let who = claims.as_ref().map_or("", |claims| claims.sub.as_str());
        if !self.limits.admit(who, Instant::now()) {
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "slow down a little"));
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
        if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
            outgoing = outgoing.header(header::CONTENT_TYPE, kind);
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
        if let Some(kind) = answer.headers().get(header::CONTENT_TYPE) {
            response = response.header(header::CONTENT_TYPE, kind);
        }
        let body = answer.bytes().await.map_err(failed)?;
        response
            .body(Body::from(body))
            .map_err(|error| anyhow::Error::from(error).into())
    }
}

/// A token bucket per user: so many requests a second, twice that in a burst. Zero means no limit.
struct Limits {
    rate: f64,
    buckets: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Limits {
    /// Past this many users the full buckets are forgotten.
    const MANY: usize = 10_000;

    fn new(rate: f64) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    fn admit(&self, who: &str, now: Instant) -> bool {
        if self.rate <= 0.0 {
            return true;
        }
        let burst = self.rate * 2.0;
        let refilled = |(tokens, at): (f64, Instant)| {
            (tokens + now.saturating_duration_since(at).as_secs_f64() * self.rate).min(burst)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > Self::MANY {
            buckets.retain(|_, bucket| refilled(*bucket) < burst);
        }
        let bucket = buckets.entry(who.to_owned()).or_insert((burst, now));
        let tokens = refilled(*bucket);
        let admitted = tokens >= 1.0;
        *bucket = (if admitted { tokens - 1.0 } else { tokens }, now);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_wins() {
        assert!(prefers_japanese("ja,en;q=0.8"));
        assert!(prefers_japanese("fr,ja-JP"));
        assert!(!prefers_japanese("en-US,ja;q=0.5"));
        assert!(!prefers_japanese(""));
    }

    #[test]
    fn a_burst_is_admitted_then_the_rate() {
        let (limits, start) = (Limits::new(10.0), Instant::now());
        let admitted = |at| (0..100).filter(|_| limits.admit("a", at)).count();
        assert_eq!(admitted(start), 20);
        assert_eq!(admitted(start + Duration::from_secs(1)), 10);
        assert!(limits.admit("b", start), "others are not held back");
    }
}
