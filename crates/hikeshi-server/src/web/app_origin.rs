//! The system's own page on an origin of its own: seats decide what is served there (a Service may lead to any pod), so
//! its scripts must not be scripts of the war room. Another port is another origin, and the session's cookie, which
//! knows no ports, is taken out on the way.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::any;
use axum::{Router, http};
use tokio::net::TcpListener;

use super::error::refuse;
use super::session::{self, Session};
use super::{App, for_any_page, proxy};

/// Where the page is for people when the war room is at `web`: the next port, which one can open in a firewall
/// beforehand, else a free one.
pub(super) async fn listen(web: SocketAddr) -> std::io::Result<TcpListener> {
    if let Some(next) = web.port().checked_add(1)
        && let Ok(listener) = TcpListener::bind((web.ip(), next)).await
    {
        return Ok(listener);
    }
    TcpListener::bind((web.ip(), 0)).await
}

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .fallback(any(proxy::system))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), headers))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            session::same_origin,
        ))
        .with_state(app)
}

/// The link that the war room's page shows: leads to the other origin at the host name that the person came by.
pub(super) async fn lead(State(app): State<Arc<App>>, Session(_): Session, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = path.strip_prefix("/chirpy").unwrap_or(path);
    let path = if path.starts_with('/') { path } else { "/" };
    match origin(&app, request.headers(), request.uri(), app.app_port) {
        Some(origin) => Redirect::temporary(&format!("{origin}{path}")).into_response(),
        None => refuse(StatusCode::BAD_REQUEST, "the request names no host"),
    }
}

/// The origin of a port of ours, by the host name of a request.
pub(super) fn origin(app: &App, headers: &HeaderMap, uri: &Uri, port: u16) -> Option<String> {
    let authority: http::uri::Authority = session::host(headers, uri)?.parse().ok()?;
    let scheme = if app.tls { "https" } else { "http" };
    Some(format!("{scheme}://{}:{port}", authority.host()))
}

/// Only the war room may frame it.
async fn headers(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let parent = origin(&app, request.headers(), request.uri(), app.web_port);
    let mut response = next.run(request).await;
    let policy = format!("frame-ancestors {}", parent.as_deref().unwrap_or("'none'"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        // Beside the page's own, if it has one: both hold.
        response
            .headers_mut()
            .append(header::CONTENT_SECURITY_POLICY, policy);
    }
    for_any_page(response.headers_mut());
    response
}
