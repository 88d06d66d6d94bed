//! Errors as the page reads them: `{"error": "words"}` (and `error_ja` where the words are known) with the fitting status.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::api::ApiError;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Refused { code, words } = self {
            let body = serde_json::json!({ "error": words.en, "error_ja": words.ja, "code": code });
            return (StatusCode::CONFLICT, Json(body)).into_response();
        }
        let status = match &self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Conflict(_) | Self::Refused { .. } => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        refuse(status, &self.to_string())
    }
}

pub(super) fn refuse(status: StatusCode, words: &str) -> Response {
    (status, Json(serde_json::json!({ "error": words }))).into_response()
}

pub(super) async fn no_such_api() -> Response {
    refuse(StatusCode::NOT_FOUND, "there is no such API")
}
