//! words: an old server that says which texts may not be posted. Whoever set it up has left; it is in no list of servers and
//! in no manifest of the system, nobody looks after it, and every post still asks it.

use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::deadline;
use crate::search::fold;
use crate::service::{ApiError, Service, text_env};
use crate::wire::Wire;

/// Where it has always been.
const ADDRESS: &str = "http://wb01.default.svc.cluster.local";
/// The words themselves; folded, as texts are before they are compared.
const BANNED: [&str; 3] = ["死ね", "casino-bonus", "viagra"];
/// What whoever wrote the call thought was enough.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks whether there is such a server, until there is one.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
struct Text {
    text: String,
}

/// Runs the server.
///
/// # Errors
/// When its port is taken.
pub async fn run() -> anyhow::Result<()> {
    let service = Service::new("words");
    service.ready_now();
    service.serve(Router::new().route("/check", post(check))).await
}

async fn check(Json(asked): Json<Text>) -> Result<StatusCode, ApiError> {
    let text = fold(&asked.text);
    tracing::info!(characters = text.chars().count(), "POST /check");
    if BANNED.iter().any(|word| text.contains(word)) {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this may not be posted here",
        ));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What posts are asked of on their way in.
pub struct Words {
    wire: Arc<Wire>,
    /// Whether there is such a server. Once there was, it is asked for ever.
    there: Arc<AtomicBool>,
}

impl Words {
    /// Looks for the server, at `WORDS_URL` where that is set; empty: posts are not checked.
    ///
    /// # Errors
    /// When the URL does not parse.
    pub fn from_env() -> anyhow::Result<Option<Self>> {
        let base = text_env("WORDS_URL", ADDRESS);
        if base.is_empty() {
            return Ok(None);
        }
        let words = Self {
            wire: Arc::new(Wire::new(&base)?),
            there: Arc::default(),
        };
        let (there, address) = (words.there.clone(), words.wire.address().to_owned());
        tokio::spawn(async move {
            while !found(address.clone()).await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            there.store(true, Ordering::Relaxed);
        });
        Ok(Some(words))
    }

    /// Whether the text may be posted.
    ///
    /// # Errors
    /// 422 when it may not; 502 or 504 when nobody can say. What is logged names no server, as it was written then.
    pub async fn allow(&self, text: &str) -> Result<(), ApiError> {
        if !self.there.load(Ordering::Relaxed) {
            return Ok(());
        }
        let body = serde_json::to_vec(&Text {
            text: text.to_owned(),
        })
        .map_err(anyhow::Error::from)?;
        let headers: &[(&str, &[u8])] = &[("content-type", b"application/json")];
        let asked = self.wire.exchange(&Method::POST, "/check", headers, Some(&body));
        match tokio::time::timeout(deadline::left(PATIENCE), asked).await {
            Ok(Ok(answer)) if answer.status.is_success() => Ok(()),
            Ok(Ok(answer)) if answer.status == StatusCode::UNPROCESSABLE_ENTITY => Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this may not be posted here",
            )),
            Ok(_) => {
                tracing::error!("A post was not accepted: check failed");
                Err(ApiError::new(
                    StatusCode::BAD_GATEWAY,
                    "the post could not be accepted",
                ))
            }
            Err(_) => {
                tracing::error!("A post was not accepted: check timed out");
                Err(ApiError::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "the post could not be accepted in time",
                ))
            }
        }
    }
}

async fn found(address: String) -> bool {
    let looked = tokio::task::spawn_blocking(move || address.to_socket_addrs().is_ok());
    looked.await.unwrap_or(false)
}
