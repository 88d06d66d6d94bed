//! The generator's own small server: metrics, what was acknowledged, totals so far; and a part of a shared run.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use crate::recorder::cpu_seconds;
use crate::run::Run;
use crate::share::{Part, Share};

#[derive(Clone)]
struct Shared {
    run: Arc<Run>,
    share: Arc<Share>,
    started: Instant,
}

/// `/metrics`, `/acknowledged` (JSON lines), `/summary` (JSON), `/healthz`; `/part[?since=STRETCH]` (JSON) and `/begin?at=UNIX_MS` (POST).
pub fn routes(run: Arc<Run>, share: Arc<Share>, started: Instant) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route("/acknowledged", get(acknowledged))
        .route("/summary", get(summary))
        .route("/part", get(part))
        .route("/begin", post(begin))
        .with_state(Shared { run, share, started })
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

#[derive(Deserialize)]
struct Since {
    /// Leaves out the stretches before this one.
    #[serde(default)]
    since: usize,
}

async fn part(State(shared): State<Shared>, Query(asked): Query<Since>) -> impl IntoResponse {
    // The stage first: what has ended is then whole in the measurement.
    let stage = shared.share.stage();
    let mut measured = shared.run.recorder.measured().since(asked.since);
    measured.cpu = cpu_seconds();
    axum::Json(Part { stage, measured })
}

#[derive(Deserialize)]
struct Begin {
    at: i64,
}

async fn begin(State(shared): State<Shared>, Query(begin): Query<Begin>) -> (StatusCode, &'static str) {
    if shared.share.begin_at(begin.at) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::BAD_REQUEST,
            "at: milliseconds since 1970, not more than 10 minutes ahead\n",
        )
    }
}
