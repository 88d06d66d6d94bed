//! Alertmanager's webhook (payload version 4).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::App;
use super::error::refuse;
use super::session::same;
use crate::api::AlertFact;

#[derive(Deserialize)]
pub(super) struct Payload {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: Status,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    fingerprint: String,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

pub(super) async fn alertmanager(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok());
    if !given
        .and_then(|h| h.strip_prefix("Bearer "))
        .is_some_and(|token| same(token, &app.alert_token))
    {
        return refuse(
            StatusCode::UNAUTHORIZED,
            "alerts need the bearer token of this drill",
        );
    }
    let payload: Payload = match serde_json::from_slice(&body) {
        Ok(payload) => payload,
        Err(e) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("not Alertmanager's webhook payload: {e}"),
            );
        }
    };
    for alert in payload.alerts {
        if app.alerts.send(fact(alert)).is_err() {
            // Alertmanager tries again on 5xx: nothing is lost while the drill host restarts.
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "no drill host takes alerts now");
        }
    }
    Json(serde_json::json!({})).into_response()
}

fn fact(alert: Alert) -> AlertFact {
    let label = |name: &str| alert.labels.get(name).cloned();
    let name = label("alertname").unwrap_or_else(|| "unnamed".to_owned());
    let summary = ["summary", "description", "message"]
        .iter()
        .find_map(|k| alert.annotations.get(*k).cloned())
        .unwrap_or_else(|| name.clone());
    let firing = alert.status == Status::Firing;
    AlertFact {
        severity: label("severity").unwrap_or_else(|| "none".to_owned()),
        name,
        summary,
        firing,
        at: if firing { alert.starts_at } else { alert.ends_at },
        fingerprint: alert.fingerprint,
        labels: alert.labels,
    }
}
