//! The web page: a few files of our own, built in, with nothing from elsewhere.

use axum::Router;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const INDEX: &str = include_str!("page/index.html");
const SCRIPT: &str = "text/javascript; charset=utf-8";
const FILES: [(&str, &str, &str); 8] = [
    (
        "/page/app.css",
        "text/css; charset=utf-8",
        include_str!("page/app.css"),
    ),
    ("/page/app.js", SCRIPT, include_str!("page/app.js")),
    ("/page/api.js", SCRIPT, include_str!("page/api.js")),
    ("/page/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/page/drafts.js", SCRIPT, include_str!("page/drafts.js")),
    ("/page/posts.js", SCRIPT, include_str!("page/posts.js")),
    ("/page/words.js", SCRIPT, include_str!("page/words.js")),
    ("/page/bird.svg", "image/svg+xml", include_str!("page/bird.svg")),
];

/// Only our own files and our own API; no inline script or style. Who may frame the page is left open: consoles show it
/// beside their own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'";

/// `/` and the files it needs.
pub fn routes() -> Router {
    let index = Router::new().route("/", get(index));
    FILES.into_iter().fold(index, |routes, (path, kind, text)| {
        let file = move || async move {
            // Asked about each time: the next version of the program brings its own files under the same names.
            let headers = [
                (header::CONTENT_TYPE, kind),
                (header::CACHE_CONTROL, "no-cache"),
                NO_SNIFFING,
            ];
            (headers, text)
        };
        routes.route(path, get(file))
    })
}

const NO_SNIFFING: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");

async fn index(headers: HeaderMap) -> Response {
    let languages = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let language = if prefers_japanese(languages) { "ja" } else { "en" };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::VARY, "accept-language"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "same-origin"),
        NO_SNIFFING,
    ];
    (headers, INDEX.replace("{{language}}", language)).into_response()
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
    fn the_page_keeps_to_its_policy() {
        for (path, kind, text) in FILES.iter().chain([&("/", "text/html", INDEX)]) {
            assert!(
                !text.contains("innerHTML"),
                "{path} builds nodes, never HTML from text"
            );
            if kind.starts_with("text/html") {
                for inline in ["<style", " style=", " onclick=", "<script>"] {
                    assert!(!text.contains(inline), "{path}: {inline}");
                }
            }
            for away in ["https://", "url(http", "src=\"//"] {
                assert!(
                    !text.contains(away),
                    "{path} takes nothing from elsewhere: {away}"
                );
            }
        }
    }
}
