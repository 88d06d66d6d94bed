//! gateway: the edge. Checks tokens, limits rates, gives every request an id, and serves the page.

mod limits;
mod reads;
mod sessions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use hyper::body::Incoming;

use crate::service::{ApiError, Hot, Route, Service, parse_env, text_env};
use crate::token::{Claims, Keys};
use crate::upstream::Upstream;
use limits::Limits;
use reads::Reads;
use sessions::Sessions;

const PAGE: &str = include_str!("page.html");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Largest body of a request, bytes.
const MAX_BODY: usize = 64 * 1024;
/// What of a client's request the services are told.
static PASSED_ON: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
    header::ACCEPT,
];
/// What of an answer the client is told.
static PASSED_BACK: [HeaderName; 3] = [header::CONTENT_TYPE, header::CACHE_CONTROL, header::RETRY_AFTER];

struct Gateway {
    sessions: Sessions,
    server: String,
    client: reqwest::Client,
    deadline: Duration,
    limits: Limits,
    /// timeline-service itself for timeline reads, one hop less; none: chirpy-server, like everything else.
    reads: Option<Reads>,
    /// Where posts go, past the router.
    hot_server: Upstream,
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
    let gateway = Arc::new(Gateway {
        sessions: Sessions::new(Keys::from_env()?),
        server: server.trim_end_matches('/').to_owned(),
        client: reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .pool_idle_timeout(Duration::from_secs(20))
            .build()?,
        deadline: Duration::from_millis(parse_env("CHIRPY_SERVER_TIMEOUT_MS", 3000)?),
        limits: Limits::new(parse_env("RATE_LIMIT_PER_SECOND", 50.0)?),
        reads: parse_env("GATEWAY_READS_TIMELINES", false)?
            .then(Reads::from_env)
            .transpose()?,
        hot_server: Upstream::from_env("chirpy-server", "Chirpy Server", 3000)?,
    });
    service.ready_now();
    let hot = hot(&service, gateway.clone());
    let routes = Router::new()
        .route("/", get(page))
        .route("/api/{*path}", any(forward))
        .with_state(gateway);
    service.serve_hot(routes, hot).await
}

/// Timeline reads and posts, past the router.
fn hot(service: &Service, gateway: Arc<Gateway>) -> Hot {
    let read = service.route("GET", "/api/timeline");
    let post = service.route("POST", "/api/posts");
    Arc::new(move |request| {
        let route = match (request.method(), request.uri().path()) {
            (&Method::GET, "/api/timeline") => &read,
            (&Method::POST, "/api/posts") => &post,
            _ => return Err(Box::new(request)),
        };
        Ok(Box::pin(gateway.clone().answer(route.clone(), request)))
    })
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

/// The request's id, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(&REQUEST_ID).filter(|id| id.len() <= 64).cloned();
    given.unwrap_or_else(|| {
        let text = format!("{:032x}", fastrand::u128(..));
        // Hexadecimal digits are a header's value.
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("-"))
    })
}

async fn forward(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let id = request_id(request.headers());
    let mut response = match gateway.pass(request, &id).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    response.headers_mut().insert(&REQUEST_ID, id);
    response
}

impl Gateway {
    /// Whose request this is, when they may send it now.
    fn admit(&self, headers: &HeaderMap) -> Result<Option<Arc<Claims>>, ApiError> {
        let claims = self.sessions.claims(headers)?;
        // Everyone who is not logged in shares one allowance: an edge proxy in front would know their addresses.
        let who = claims.as_ref().map_or("", |claims| claims.sub.as_str());
        if !self.limits.admit(who, Instant::now()) {
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "slow down a little"));
        }
        Ok(claims)
    }

    async fn answer(self: Arc<Self>, route: Route, request: http::Request<Incoming>) -> Response {
        let observation = route.begin();
        let id = request_id(request.headers());
        let mut response = match self.pass_hot(request, &id).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
        };
        response.headers_mut().insert(&REQUEST_ID, id);
        observation.answered(response.status());
        response
    }

    async fn pass_hot(
        &self,
        request: http::Request<Incoming>,
        id: &HeaderValue,
    ) -> Result<Response, ApiError> {
        let claims = self.admit(request.headers())?;
        let (parts, body) = request.into_parts();
        let mut headers: Vec<(&str, &[u8])> = vec![(REQUEST_ID.as_str(), id.as_bytes())];
        for name in &PASSED_ON {
            if let Some(value) = parts.headers.get(name) {
                headers.push((name.as_str(), value.as_bytes()));
            }
        }
        if let Some(claims) = &claims {
            headers.push(("x-user-id", claims.sub.as_bytes()));
            headers.push(("x-user-name", claims.name.as_bytes()));
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let answer = match &self.reads {
            Some(reads) if parts.method == Method::GET => {
                let claims = claims
                    .as_ref()
                    .ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "please log in"))?;
                let query = parts.uri.query().unwrap_or_default();
                reads.read(&claims.sub, query, &headers).await?
            }
            _ => {
                let body = whole(Body::new(body)).await?;
                let body = (parts.method != Method::GET).then_some(&body[..]);
                self.hot_server.pass(&parts.method, path, &headers, body).await?
            }
        };
        let mut response = Response::new(Body::from(answer.body));
        *response.status_mut() = answer.status;
        if let Some(kind) = answer.content_type {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        Ok(response)
    }

    async fn pass(&self, request: Request, id: &HeaderValue) -> Result<Response, ApiError> {
        let claims = self.admit(request.headers())?;
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = format!("{}{path}", self.server);
        let mut outgoing = self
            .client
            .request(parts.method, &url)
            .body(whole(body).await?)
            .header(&REQUEST_ID, id);
        for name in &PASSED_ON {
            if let Some(value) = parts.headers.get(name) {
                outgoing = outgoing.header(name, value);
            }
        }
        if let Some(claims) = &claims {
            outgoing = outgoing
                .header("x-user-id", &claims.sub)
                .header("x-user-name", &claims.name);
        }
        let late = || {
            tracing::error!("Request to Chirpy Server timed out: url={url}");
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "Chirpy did not answer in time")
        };
        let failed = |error: reqwest::Error| {
            tracing::error!("Request to Chirpy Server failed: url={url} error={error}");
            ApiError::new(StatusCode::BAD_GATEWAY, "Chirpy cannot be reached")
        };
        let deadline = tokio::time::Instant::now() + self.deadline;
        let answer = tokio::time::timeout_at(deadline, outgoing.send())
            .await
            .map_err(|_| late())?
            .map_err(failed)?;
        let mut response = Response::builder().status(answer.status());
        for name in &PASSED_BACK {
            if let Some(value) = answer.headers().get(name) {
                response = response.header(name, value);
            }
        }
        // Live updates have no end that a deadline could be set for.
        let endless = answer
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let body = if endless {
            Body::from_stream(answer.bytes_stream())
        } else {
            let whole = tokio::time::timeout_at(deadline, answer.bytes()).await;
            Body::from(whole.map_err(|_| late())?.map_err(failed)?)
        };
        response
            .body(body)
            .map_err(|error| anyhow::Error::from(error).into())
    }
}

async fn whole(body: Body) -> Result<bytes::Bytes, ApiError> {
    to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large"))
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
}
