//! What every role has in common: the HTTP server, health, metrics, errors and an orderly end.

mod listener;
mod route;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::database;
pub use listener::Hot;
pub use route::Route;

/// Metric labels: a few pairs, the names known at compile time.
pub type Labels = Vec<(&'static str, String)>;
/// A figure that is no whole number, as times are.
pub type Seconds = Gauge<f64, AtomicU64>;

/// Seconds; the upper end tells a slow answer from one that hit a deadline.
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// One role's surroundings. Made once per process.
pub struct Service {
    pub name: &'static str,
    registry: Registry,
    requests: Family<Labels, Histogram>,
    ready: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
}

impl Service {
    /// `name` is the role's name with dashes; its metrics carry it with underscores as their prefix.
    pub fn new(name: &'static str) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Labels, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register(
            format!("{}_request_duration_seconds", name.replace('-', "_")),
            "Time from the arrival of a request to its answer",
            requests.clone(),
        );
        Self {
            name,
            registry,
            requests,
            ready: Arc::default(),
            stop: watch::Sender::new(false),
        }
    }

    fn metric(&self, name: &str) -> String {
        format!("{}_{name}", self.name.replace('-', "_"))
    }

    /// A counter family `<service>_<name>_total`.
    pub fn counter(&mut self, name: &str, help: &str) -> Family<Labels, Counter> {
        let family = Family::default();
        self.registry.register(self.metric(name), help, family.clone());
        family
    }

    /// A gauge family `<service>_<name>`.
    pub fn gauge(&mut self, name: &str, help: &str) -> Family<Labels, Gauge> {
        let family = Family::default();
        self.registry.register(self.metric(name), help, family.clone());
        family
    }

    /// A gauge family `<service>_<name>_seconds`.
    pub fn seconds(&mut self, name: &str, help: &str) -> Family<Labels, Seconds> {
        let family = Family::default();
        let name = format!("{}_seconds", self.metric(name));
        self.registry.register(name, help, family.clone());
        family
    }

    /// A histogram family `<service>_<name>` of seconds.
    pub fn histogram(&mut self, name: &str, help: &str) -> Family<Labels, Histogram> {
        let family = Family::<Labels, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        self.registry.register(self.metric(name), help, family.clone());
        family
    }

    /// A route that is taken before the router sees it; its requests are measured like all others.
    pub fn route(&self, method: &'static str, path: &'static str) -> Route {
        Route::new(self.requests.clone(), method, path)
    }

    /// Turns true when the process has been asked to end.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Readiness waits for `check` to succeed once; it is retried, so roles may start in any order.
    pub fn ready_when<F, Fut>(&self, what: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send,
    {
        let ready = self.ready.clone();
        tokio::spawn(async move {
            let mut failures = 0_u32;
            loop {
                match check().await {
                    Ok(()) => break,
                    // The first seconds of a whole system starting at once are not worth a warning each.
                    Err(error) if failures % 20 == 19 => {
                        tracing::warn!(error = %format!("{error:#}"), "Still waiting for {what}");
                    }
                    Err(_) => {}
                }
                failures += 1;
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            ready.store(true, Ordering::Relaxed);
            tracing::info!("Ready");
        });
    }

    /// Readiness at once, for a role with no store.
    pub fn ready_now(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Serves until SIGTERM or SIGINT; see [`Service::serve_hot`].
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn serve(self, routes: Router) -> anyhow::Result<()> {
        self.serve_hot(routes, Arc::new(|request| Err(Box::new(request))))
            .await
    }

    /// Serves until SIGTERM or SIGINT: readiness goes first, then (after `DRAIN_DELAY_MS`, so that clients have seen
    /// it) the listener, then the requests in flight are given ten seconds. What `hot` does not take goes to `routes`.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn serve_hot(self, routes: Router, hot: Hot) -> anyhow::Result<()> {
        let port: u16 = parse_env("PORT", 8080)?;
        let drain = Duration::from_millis(parse_env("DRAIN_DELAY_MS", 300)?);
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port)))
            .await
            .with_context(|| format!("binding port {port}"))?;
        tracing::info!(port = listener.local_addr()?.port(), "Listening");

        let registry = Arc::new(self.registry);
        let ready = self.ready.clone();
        let own = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route(
                "/readyz",
                get(move || async move {
                    if ready.load(Ordering::Relaxed) {
                        (StatusCode::OK, "ready\n")
                    } else {
                        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
                    }
                }),
            )
            .route("/metrics", get(move || async move { exposition(&registry) }));
        let routes = routes
            .layer(axum::middleware::from_fn(crate::deadline::layer))
            .layer(axum::middleware::from_fn_with_state(self.requests, observe))
            .merge(own);

        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (stop, ready) = (self.stop, self.ready);
        let asked = async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            ready.store(false, Ordering::Relaxed);
            stop.send_replace(true);
            tokio::time::sleep(drain).await;
        };
        listener::serve(listener, routes, hot, asked).await;
        tracing::info!("Stopped");
        Ok(())
    }
}

fn exposition(registry: &Registry) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn observe(
    State(requests): State<Family<Labels, Histogram>>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let method = request.method().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched".to_owned(), |path| path.as_str().to_owned());
    // Counted even when the client has gone and the handler is dropped: those are the slowest requests of all.
    let mut guard = Observation {
        requests,
        method,
        route,
        start,
        code: 499,
    };
    let response = next.run(request).await;
    guard.code = response.status().as_u16();
    response
}

struct Observation {
    requests: Family<Labels, Histogram>,
    method: String,
    route: String,
    start: Instant,
    code: u16,
}

impl Drop for Observation {
    fn drop(&mut self) {
        let elapsed = self.start.elapsed();
        tracing::debug!(method = %self.method, route = %self.route, code = self.code, seconds = elapsed.as_secs_f64(), "request");
        let labels = vec![
            ("method", std::mem::take(&mut self.method)),
            ("route", std::mem::take(&mut self.route)),
            ("code", self.code.to_string()),
        ];
        self.requests
            .get_or_create(&labels)
            .observe(elapsed.as_secs_f64());
    }
}

/// An environment variable with a default.
///
/// # Errors
/// Names the variable when its value does not parse.
pub fn parse_env<T>(name: &str, default: T) -> anyhow::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    match std::env::var(name) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|error| anyhow::anyhow!("{name}={text:?}: {error}")),
        Err(_) => Ok(default),
    }
}

/// An environment variable that holds text.
pub fn text_env(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// An answer that is not the one hoped for: `{"error": message}` with its status.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{status}: {message}")]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    /// When to come again, where somebody else has said so.
    pub retry_after: Option<HeaderValue>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
        }
    }
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = axum::Json(serde_json::json!({ "error": self.message }));
        let mut response = (self.status, body).into_response();
        // Seconds: what is overloaded or failing over is often well again in one.
        let soon = (self.status == StatusCode::SERVICE_UNAVAILABLE).then(|| HeaderValue::from_static("1"));
        if let Some(again) = self.retry_after.or(soon) {
            response.headers_mut().insert(header::RETRY_AFTER, again);
        }
        response
    }
}

/// An inner failure: logged in full, told to the client in general.
impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<ApiError>() {
            Ok(error) => error,
            Err(error) => {
                tracing::error!(error = %format!("{error:#}"), "Request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
            }
        }
    }
}

impl From<tokio_postgres::Error> for ApiError {
    fn from(error: tokio_postgres::Error) -> Self {
        database::learn_from(&error);
        if database::of_no_primary(&error) {
            tracing::error!(%error, "PostgreSQL takes no writes");
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the database takes no writes at the moment",
            );
        }
        if database::away(&error) {
            tracing::error!(error = %format!("{:#}", anyhow::Error::from(error)), "PostgreSQL is away");
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer");
        }
        anyhow::Error::from(error).context("PostgreSQL").into()
    }
}

/// What was asked may have been done: it is not said that it was.
impl From<database::Late> for ApiError {
    fn from(late: database::Late) -> Self {
        tracing::error!("{late}");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the database did not answer in time",
        )
    }
}

impl From<deadpool_postgres::PoolError> for ApiError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        tracing::error!(error = %error, "No PostgreSQL connection");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer")
    }
}
