//! The live timeline's way through chirpy-server.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::sync::watch;

use super::{Shared, User};
use crate::service::{ApiError, text_env};
use crate::stream::{Streams, resume};

/// Streams from timeline-service.
pub struct Live(Streams);

impl Live {
    /// From `TIMELINE_SERVICE_URL`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn from_env(stopping: watch::Receiver<bool>) -> anyhow::Result<Self> {
        let base = text_env(
            "TIMELINE_SERVICE_URL",
            "http://timeline-service.chirpy.svc.cluster.local",
        );
        Ok(Self(Streams::new(&base, stopping)?))
    }
}

/// `GET /api/timeline/live`.
pub async fn timeline(
    State(services): Shared,
    User(user): User,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = format!("/timelines/{}/live", user.id);
    services.live.0.pass(&path, resume(&headers)).await
}
