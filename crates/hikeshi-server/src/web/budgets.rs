//! Error budgets over HTTP: for everybody who has joined.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::App;
use super::session::Session;
use crate::api::ApiError;

pub(super) async fn budgets(State(app): State<Arc<App>>, Session(_): Session) -> Result<Response, ApiError> {
    let budgets = app.host.budgets().await?;
    Ok(Json(&*budgets).into_response())
}
