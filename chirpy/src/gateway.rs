//! gateway: the edge. Checks tokens, limits rates, gives every request an id, and serves the page.

mod reads;
mod sessions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use hyper::body::Incoming;

use crate::limits::{Class, Limits};
use crate::service::{ApiError, Hot, Route, Service, parse_env, text_env};
use crate::stream::{self, Streams};
use crate::timeline::batch::Read;
use crate::token::{Claims, JWKS_PATH, Verifier};
use crate::upstream::Upstream;
use crate::{deadline, idempotency, page};
use reads::Reads;
use sessions::Sessions;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Largest body of a request, bytes.
const MAX_BODY: usize = 64 * 1024;
/// What of a client's request the services are told.
static PASSED_ON: [HeaderName; 2] = [header::CONTENT_TYPE, idempotency::HEADER];
/// What of an answer the client is told.
static PASSED_BACK: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::LINK,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
];

struct Gateway {
    keys: Arc<Verifier>,
    sessions: Sessions,
    streams: Streams,
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
    let keys = Verifier::from_env()?;
    let gateway = Arc::new(Gateway {
        sessions: Sessions::new(keys.clone()),
        streams: Streams::new(&server, service.stopping())?,
        keys: keys.clone(),
        server: server.trim_end_matches('/').to_owned(),
        client: reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .pool_idle_timeout(Duration::from_secs(20))
            .build()?,
        deadline: deadline::of_hop("CHIRPY_SERVER_TIMEOUT_MS", 3000)?,
        limits: Limits::from_env()?,
        reads: parse_env("GATEWAY_READS_TIMELINES", false)?
            .then(Reads::from_env)
            .transpose()?,
        hot_server: Upstream::from_env("chirpy-server", "Chirpy Server", 3000)?,
    });
    service.ready_now();
    tokio::spawn(keys.follow());
    let hot = hot(&service, gateway.clone());
    let routes = Router::new()
        .route("/api/timeline/live", get(live))
        .route("/api/{*path}", any(forward))
        .route(JWKS_PATH, get(keys_published))
        .with_state(gateway)
        .merge(page::routes());
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

/// The public keys of our tokens, for whoever wants to verify one.
async fn keys_published(State(gateway): State<Arc<Gateway>>) -> Response {
    let kept = [(header::CACHE_CONTROL, "public, max-age=60")];
    (kept, Json(gateway.keys.published())).into_response()
}

/// A live timeline: passed on as it comes, without a deadline.
async fn live(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let passed = async {
        let path = "/api/timeline/live";
        let claims = match gateway.admit(&Method::GET, path, &headers).await {
            Ok(claims) => claims,
            Err(refused) => return Ok(*refused),
        };
        let claims = claims.ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "please log in"))?;
        let mut own = stream::resume(&headers);
        for (name, value) in [("x-user-id", &claims.sub), ("x-user-name", &claims.name)] {
            let value = HeaderValue::from_str(value).map_err(anyhow::Error::from)?;
            own.insert(HeaderName::from_static(name), value);
        }
        gateway.streams.pass(path, own).await
    };
    passed.await.unwrap_or_else(ApiError::into_response)
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

/// Whether a path says something else to whoever normalises it, as clients of HTTP do before they send it (the URL Standard: a
/// backslash is a slash, and segments of one or two dots, percent-encoded or not, are taken out). What we admit by one path
/// would be answered by another: a password guessed at `/api/x/../login`, say.
fn is_crooked(path: &str) -> bool {
    path.contains('\\')
        || path.split('/').any(|segment| {
            let plain = segment.to_ascii_lowercase().replace("%2e", ".");
            plain == "." || plain == ".."
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
    /// Whose request this is, when they may send it now; else the answer that says why not.
    async fn admit(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Claims>>, Box<Response>> {
        let claims = self.sessions.claims(headers).await;
        let class = Class::of(method, path);
        // Everyone who is not logged in shares one allowance: an edge proxy in front would know their addresses. So do those
        // who come with a token that is none, and whoever logs in, with a token or without.
        let who = match &claims {
            Ok(Some(claims)) if class != Class::Login => claims.sub.as_str(),
            _ => "",
        };
        let admitted = self.limits.admit(class, who, Instant::now());
        admitted.map_err(|refused| Box::new(refused.response()))?;
        claims.map_err(|error| Box::new(error.into_response()))
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
        let (parts, body) = request.into_parts();
        let claims = match self.admit(&parts.method, parts.uri.path(), &parts.headers).await {
            Ok(claims) => claims,
            Err(refused) => return Ok(*refused),
        };
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
        // What chirpy-server would have to add something to goes there.
        let plain = match &claims {
            Some(claims) if parts.method == Method::GET => {
                Read::asked(&claims.sub, parts.uri.query().unwrap_or_default())
            }
            _ => None,
        };
        let answer = match self.reads.as_ref().zip(plain) {
            Some((reads, read)) => reads.read(read, &headers).await?,
            None => {
                let body = whole(Body::new(body)).await?;
                let body = (parts.method != Method::GET).then_some(&body[..]);
                self.hot_server.pass(&parts.method, path, &headers, body).await?
            }
        };
        let mut response = Response::new(Body::from(answer.body));
        *response.status_mut() = answer.status;
        for (name, value) in [
            (header::CONTENT_TYPE, answer.content_type),
            (header::LINK, answer.link),
            (header::RETRY_AFTER, answer.retry_after),
        ] {
            if let Some(value) = value {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }

    async fn pass(&self, request: Request, id: &HeaderValue) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        if is_crooked(parts.uri.path()) {
            return Err(ApiError::bad_request(
                "a path has no segments of dots and no backslashes",
            ));
        }
        let claims = match self.admit(&parts.method, parts.uri.path(), &parts.headers).await {
            Ok(claims) => claims,
            Err(refused) => return Ok(*refused),
        };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = format!("{}{path}", self.server);
        let mut outgoing = self
            .client
            .request(parts.method, &url)
            .body(whole(body).await?)
            .header(&REQUEST_ID, id);
        if let Some(told) = deadline::value(self.deadline) {
            outgoing = outgoing.header(&deadline::HEADER, told);
        }
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
        let whole = tokio::time::timeout_at(deadline, answer.bytes()).await;
        response
            .body(Body::from(whole.map_err(|_| late())?.map_err(failed)?))
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
    fn a_path_that_a_client_would_rewrite_is_crooked() {
        for crooked in [
            "/api/x/../login",
            "/api/../metrics",
            "/api/./login",
            "/api/login/.",
            "/api/x/..",
            "/api/x/%2e%2E/login",
            "/api/x/.%2e/login",
            "/api/%2E/login",
            "/api/oauth\\token",
            "/api/x/..\\login",
        ] {
            assert!(is_crooked(crooked), "{crooked}");
            let rewritten = reqwest::Url::parse(&format!("http://chirpy-server{crooked}")).expect("a URL");
            assert_ne!(rewritten.path(), crooked);
        }
        for straight in [
            "/api/posts/1",
            "/api/users/a.b",
            "/api/x/...",
            "/api//x",
            "/api/%2e%2e%2e",
            "/api/",
        ] {
            assert!(!is_crooked(straight), "{straight}");
            let rewritten = reqwest::Url::parse(&format!("http://chirpy-server{straight}")).expect("a URL");
            assert_eq!(rewritten.path(), straight);
        }
    }
}
