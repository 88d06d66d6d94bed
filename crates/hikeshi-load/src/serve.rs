//! The generator's own small server: metrics, what was acknowledged, totals so far.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::run::Run;

#[derive(Clone)]
struct Shared {
    run: Arc<Run>,
    started: Instant,
}

/// `/metrics`, `/acknowledged` (JSON lines), `/summary` (JSON), `/healthz`.
pub fn routes(run: Arc<Run>, started: Instant) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route("/acknowledged", get(acknowledged))
        .route("/summary", get(summary))
        .with_state(Shared { run, started })
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.run.recorder.exposition() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn acknowledged(State(shared): State<Shared>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        shared.run.acknowledged_lines(),
    )
}

async fn summary(State(shared): State<Shared>) -> impl IntoResponse {
    axum::Json(shared.run.recorder.summary(shared.started.elapsed()))
}
