//! Experiments over HTTP: for whoever runs the drill, and nobody else.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::App;
use super::session::Session;
use crate::api::experiment::{Created, Manifest, Refused};
use crate::api::{ApiError, ExperimentHost, NotStarted, Viewer, Wanted};

/// The experiments, for a host or a facilitator.
fn experiments<'a>(app: &'a App, viewer: &Viewer) -> Result<&'a dyn ExperimentHost, ApiError> {
    if !viewer.host && viewer.seat != "facilitator" {
        return Err(ApiError::Forbidden(
            "experiments are for whoever runs the drill: join by the host's link".to_owned(),
        ));
    }
    app.host
        .experiments()
        .ok_or_else(|| ApiError::Unavailable("no experiments are run here".to_owned()))
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
) -> Result<Response, ApiError> {
    Ok(Json(experiments(&app, &viewer)?.list().await).into_response())
}

pub(super) async fn preview(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
    Json(Manifest { manifest }): Json<Manifest>,
) -> Result<Response, ApiError> {
    Ok(Json(experiments(&app, &viewer)?.preview(&manifest, None).await).into_response())
}

pub(super) async fn start(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
    Json(Manifest { manifest }): Json<Manifest>,
) -> Result<Response, ApiError> {
    let wanted = Wanted {
        manifest: &manifest,
        by: &viewer.name,
        seconds: None,
        namespace: None,
    };
    match experiments(&app, &viewer)?.start(wanted).await {
        Ok(id) => Ok((StatusCode::CREATED, Json(Created { id })).into_response()),
        Err(NotStarted::Api(error)) => Err(error),
        Err(NotStarted::Problems(problems)) => {
            let error = "the manifest cannot be run as it is".to_owned();
            Ok((StatusCode::BAD_REQUEST, Json(Refused { error, problems })).into_response())
        }
    }
}

pub(super) async fn targets(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
) -> Result<Response, ApiError> {
    Ok(Json(experiments(&app, &viewer)?.targets().await?).into_response())
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    match experiments(&app, &viewer)?.show(&id).await {
        Some(detail) => Ok(Json(detail).into_response()),
        None => Err(unknown(&id)),
    }
}

pub(super) async fn stop(
    State(app): State<Arc<App>>,
    Session(viewer): Session,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    experiments(&app, &viewer)?.stop(&id, &viewer.name).await?;
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({}))).into_response())
}

fn unknown(id: &str) -> ApiError {
    ApiError::NotFound(format!("no experiment is called {id}"))
}
