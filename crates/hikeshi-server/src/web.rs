//! The web server: the page, its JSON API, the event stream, the console, Alertmanager's webhook, the same-origin way to
//! Prometheus and Alertmanager, and the system's own page on an origin of its own.

mod app_origin;
mod budgets;
mod connection;
mod console;
mod error;
mod experiments;
mod hooks;
mod lab;
mod page;
mod proxy;
mod routes;
mod session;
mod stream;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{AlertFact, DrillHost, Lang};
use hikeshi_door::{Door, Limits};
pub use session::Invites;
pub use tls::TlsConfig;

/// Largest body of an API request; chat lines and commands are far smaller.
const API_BODY_LIMIT: usize = 64 * 1024;
/// Alertmanager sends whole groups of alerts.
const HOOK_BODY_LIMIT: usize = 4 * 1024 * 1024;

/// How the web server is to run.
pub struct WebConfig {
    /// Port 0 takes a free one. An address other than loopback needs `tls`. The next port, if it is free, is for the
    /// system's own page.
    pub listen: SocketAddr,
    pub tls: Option<TlsConfig>,
    pub invites: Invites,
    /// Signs session cookies; the same key keeps people seated over a restart.
    pub cookie_key: [u8; 32],
    /// Bearer token Alertmanager sends to `/hooks/alertmanager`.
    pub alert_token: String,
    /// Where alerts go.
    pub alerts: mpsc::UnboundedSender<AlertFact>,
    /// Language of a browser that asks for neither Japanese nor English.
    pub lang_default: Lang,
}

/// A running web server.
#[derive(Debug)]
pub struct WebHandle {
    /// The address really listened on.
    pub addr: SocketAddr,
    /// Where the system's own page is.
    pub app: SocketAddr,
    pub tls: bool,
    /// Ends after the shutdown token is cancelled.
    pub task: JoinHandle<()>,
}

impl WebHandle {
    /// The link to hand out for a token.
    #[must_use]
    pub fn join_url(&self, token: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}/join/{token}", self.addr)
    }
}

/// Why the web server did not start.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("{0} can be reached by others: listening there needs TLS")]
    TlsNeeded(SocketAddr),
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        addr: SocketAddr,
        source: std::io::Error,
    },
    #[error("TLS certificate: {0}")]
    Tls(String),
}

/// What every handler needs.
pub(crate) struct App {
    pub host: Arc<dyn DrillHost>,
    pub sessions: session::Sessions,
    pub invites: Invites,
    pub alert_token: String,
    pub alerts: mpsc::UnboundedSender<AlertFact>,
    pub lang_default: Lang,
    pub tls: bool,
    pub web_port: u16,
    pub app_port: u16,
    pub upstream: proxy::Client,
    pub shutdown: CancellationToken,
}

/// Listens and serves until `shutdown` is cancelled.
///
/// # Errors
/// When the address is not loopback and there is no TLS, is taken, or the certificate is bad.
pub async fn serve(
    config: WebConfig,
    host: Arc<dyn DrillHost>,
    shutdown: CancellationToken,
) -> Result<WebHandle, WebError> {
    if !config.listen.ip().is_loopback() && config.tls.is_none() {
        return Err(WebError::TlsNeeded(config.listen));
    }
    let bind = |source| WebError::Bind {
        addr: config.listen,
        source,
    };
    let acceptor = config.tls.as_ref().map(TlsConfig::acceptor).transpose()?;
    let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
    let addr = listener.local_addr().map_err(bind)?;
    let app_listener = app_origin::listen(addr).await.map_err(bind)?;
    let app_addr = app_listener.local_addr().map_err(bind)?;
    let tls = acceptor.is_some();
    let app = Arc::new(App {
        host,
        sessions: session::Sessions::new(&config.cookie_key),
        invites: config.invites,
        alert_token: config.alert_token,
        alerts: config.alerts,
        lang_default: config.lang_default,
        tls,
        web_port: addr.port(),
        app_port: app_addr.port(),
        upstream: proxy::client(),
        shutdown: shutdown.clone(),
    });
    let limits = Limits::default();
    let ours = connection::run(
        Door::new(listener, limits),
        acceptor.clone(),
        router(Arc::clone(&app)),
        limits,
        shutdown.clone(),
    );
    let system = connection::run(
        Door::new(app_listener, limits),
        acceptor,
        app_origin::router(app),
        limits,
        shutdown,
    );
    let task = tokio::spawn(async move {
        tokio::join!(ours, system);
    });
    Ok(WebHandle {
        addr,
        app: app_addr,
        tls,
        task,
    })
}

fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/session", get(routes::session))
        .route("/invite/{token}", get(routes::invite))
        .route("/invites", get(routes::invites))
        .route("/join", post(routes::join))
        .route("/leave", post(routes::leave))
        .route("/drill", get(routes::drill))
        .route("/drills", get(routes::drills))
        .route("/drills/{id}/events", get(routes::events))
        .route("/drills/{id}/stream", get(stream::stream))
        .route("/drills/{id}/score", get(routes::score))
        .route("/drills/{id}/timeline", get(routes::timeline))
        .route("/drills/{id}/story", get(routes::story))
        .route("/drills/{id}/postmortem", get(routes::postmortem))
        .route("/command", post(routes::command))
        .route("/console", post(console::run))
        .route("/journeys", get(routes::journeys))
        .route("/budgets", get(budgets::budgets))
        .route("/map", get(routes::map))
        .route("/lab", get(lab::state).post(lab::act))
        .route("/lab/{id}", get(lab::outcome))
        .route("/experiments", get(experiments::list).post(experiments::start))
        .route("/experiments/preview", post(experiments::preview))
        .route("/experiments/targets", get(experiments::targets))
        .route(
            "/experiments/{id}",
            get(experiments::show).delete(experiments::stop),
        )
        .fallback(error::no_such_api)
        .layer(DefaultBodyLimit::max(API_BODY_LIMIT));
    let own = Router::new()
        .nest("/api", api)
        .fallback(page::serve)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), own_headers));
    let proxied = Router::new()
        .route("/prometheus", any(proxy::prometheus))
        .route("/prometheus/", any(proxy::prometheus))
        .route("/prometheus/{*path}", any(proxy::prometheus))
        .route("/alertmanager", any(proxy::alertmanager))
        .route("/alertmanager/", any(proxy::alertmanager))
        .route("/alertmanager/{*path}", any(proxy::alertmanager))
        .layer(middleware::map_response(framed_headers));
    let leading = Router::new()
        .route("/chirpy", get(app_origin::lead))
        .route("/chirpy/", get(app_origin::lead))
        .route("/chirpy/{*path}", get(app_origin::lead));
    Router::new()
        .merge(proxied)
        .merge(leading)
        .merge(own)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            session::same_origin,
        ))
        // Alertmanager is no browser: its bearer token stands for it, and no origin is asked of it.
        .route(
            "/hooks/alertmanager",
            post(hooks::alertmanager).layer(DefaultBodyLimit::max(HOOK_BODY_LIMIT)),
        )
        .route("/healthz", get(|| async { "ok" }))
        .with_state(app)
}

/// What every page here is served with, ours and others'.
fn for_any_page(headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
}

async fn own_headers(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let system = app_origin::origin(&app, request.headers(), request.uri(), app.app_port).unwrap_or_default();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = format!(
        "default-src 'self'; img-src 'self' data:; frame-src 'self' {system}; frame-ancestors 'self'; \
         object-src 'none'; base-uri 'none'; form-action 'self'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for_any_page(headers);
    headers.insert(
        "cross-origin-opener-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Others' pages have their own scripts and styles: only who may frame them is ours to say.
async fn framed_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    for_any_page(headers);
    response
}
