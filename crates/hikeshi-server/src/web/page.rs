//! The page itself, built by `ui/` and carried inside this program.

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};

use super::error::refuse;

#[derive(Embed)]
#[folder = "$CARGO_MANIFEST_DIR/../../ui/dist"]
#[allow_missing = true]
struct Built;

const NOT_BUILT: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Hikeshi</title>\
<h1>The war room's page is not built</h1>\
<p>This program was compiled without it. In the project's folder: <code>npm --prefix ui ci &amp;&amp; npm --prefix ui run \
build</code>, then compile again; or <code>cargo xtask drill</code>, which does both.</p></html>";

pub(super) async fn serve(method: Method, uri: Uri) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "pages are for reading");
    }
    let path = uri.path().trim_start_matches('/');
    if let Some(file) = Built::get(path) {
        // Names under assets/ carry a hash of their content.
        let cache = if path.starts_with("assets/") {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        return send(file, cache);
    }
    if path.starts_with("assets/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    match Built::get("index.html") {
        Some(index) => send(index, "no-cache"),
        None => (StatusCode::SERVICE_UNAVAILABLE, axum::response::Html(NOT_BUILT)).into_response(),
    }
}

fn send(file: EmbeddedFile, cache: &'static str) -> Response {
    let kind = file.metadata.mimetype().to_owned();
    (
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, cache.to_owned()),
        ],
        file.data,
    )
        .into_response()
}
