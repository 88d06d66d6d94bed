//! Refusals in Elasticsearch's shape.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// `{"error": {"type", "reason", ...}, "status"}`.
#[derive(Debug)]
pub struct Refused {
    pub status: StatusCode,
    pub kind: &'static str,
    pub reason: String,
}

impl Refused {
    pub fn new(status: StatusCode, kind: &'static str, reason: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            reason: reason.into(),
        }
    }

    /// A query or mapping that says something this node does not know.
    pub fn parsing(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "parsing_exception", reason)
    }

    /// A value that is out of range or of another kind.
    pub fn argument(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "illegal_argument_exception", reason)
    }

    pub fn no_index(index: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "index_not_found_exception",
            format!("no such index [{index}]"),
        )
    }

    /// The error's own part, as `_bulk` has it in an item.
    pub fn cause(&self) -> Value {
        json!({ "type": self.kind, "reason": self.reason })
    }
}

impl From<tantivy::TantivyError> for Refused {
    fn from(error: tantivy::TantivyError) -> Self {
        tracing::error!(%error, "The index failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "index_failure",
            error.to_string(),
        )
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut error = self.cause();
        error["root_cause"] = json!([self.cause()]);
        let body = json!({ "error": error, "status": self.status.as_u16() });
        (self.status, Json(body)).into_response()
    }
}
