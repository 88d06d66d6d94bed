//! Calls to the other services, each with its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::complaints::Complaints;
use crate::service::{ApiError, parse_env, text_env};
use crate::wire::{Answer, Wire, WireError};

/// One service we call: where it is and how long we wait for it.
#[derive(Clone)]
pub struct Upstream {
    /// As it appears in messages: `Timeline Service`.
    title: &'static str,
    deadline: Duration,
    wire: Arc<Wire>,
    /// Of requests that timed out, and of those that failed otherwise.
    complaints: Arc<[Complaints; 2]>,
}

impl Upstream {
    /// `name` is the Service's name (`timeline-service`). `TIMELINE_SERVICE_URL` and `TIMELINE_SERVICE_TIMEOUT_MS`
    /// override where it is and how long it may take.
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env(name: &str, title: &'static str, deadline_ms: u64) -> anyhow::Result<Self> {
        let variable = name.to_uppercase().replace('-', "_");
        let base = text_env(
            &format!("{variable}_URL"),
            &format!("http://{name}.chirpy.svc.cluster.local"),
        );
        Ok(Self {
            title,
            deadline: Duration::from_millis(parse_env(&format!("{variable}_TIMEOUT_MS"), deadline_ms)?),
            wire: Arc::new(Wire::new(&base).with_context(|| format!("{variable}_URL"))?),
            complaints: Arc::default(),
        })
    }

    /// GET, JSON back.
    ///
    /// # Errors
    /// See [`Upstream::call`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// POST JSON, JSON back.
    ///
    /// # Errors
    /// See [`Upstream::call`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ApiError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// One request within the deadline.
    ///
    /// # Errors
    /// 504 when the deadline passed, 502 when the service could not be reached or did not speak JSON; an error status
    /// of the service is passed on with its message (a 5xx as 502).
    pub async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, ApiError> {
        let (url, body) = self.raw(method, path, body).await?;
        serde_json::from_slice(&body).map_err(|error| {
            tracing::error!("Request to {} failed: url={url} error={error}", self.title);
            ApiError::new(
                StatusCode::BAD_GATEWAY,
                format!("{} answered something unreadable", self.title),
            )
        })
    }

    /// One request whose answer holds nothing to read.
    ///
    /// # Errors
    /// See [`Upstream::call`].
    pub async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<(), ApiError> {
        self.raw(method, path, body).await.map(drop)
    }

    async fn raw<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<(String, Bytes), ApiError> {
        let body = body
            .map(serde_json::to_vec)
            .transpose()
            .map_err(anyhow::Error::from)?;
        let headers: &[(&str, &[u8])] = match body {
            Some(_) => &[("content-type", b"application/json")],
            None => &[],
        };
        let answer = self.pass(&method, path, headers, body.as_deref()).await?;
        let url = self.url(path);
        let (status, body) = (answer.status, answer.body);
        if status.is_success() {
            return Ok((url, body));
        }
        let message = serde_json::from_slice::<serde_json::Value>(&body)
            .ok()
            .and_then(|value| value.get("error")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("{} answered {status}", self.title));
        if status.is_server_error() {
            self.complain(&url, &format!("status={status} error={message}"));
            return Err(ApiError::new(StatusCode::BAD_GATEWAY, message));
        }
        Err(ApiError::new(status, message))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.wire.address().trim_end_matches(":80"))
    }

    /// One request within the deadline, its answer as it came, whatever its status.
    ///
    /// # Errors
    /// 504 when the deadline passed, 503 when too many wait, 502 when the service could not be reached.
    pub async fn pass(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &[u8])],
        body: Option<&[u8]>,
    ) -> Result<Answer, ApiError> {
        let exchange = self.wire.exchange(method, path, headers, body);
        match tokio::time::timeout(self.deadline, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(&self.url(path), &error)),
            Err(_) => Err(self.timed_out(&self.url(path))),
        }
    }

    fn timed_out(&self, url: &str) -> ApiError {
        let [timeouts, _] = &*self.complaints;
        if let Some(similar) = timeouts.again(Instant::now()) {
            tracing::error!(
                timeout_ms = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
                similar,
                "Request to {} timed out: url={url}",
                self.title
            );
        }
        ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("{} did not answer in time", self.title),
        )
    }

    fn failed(&self, url: &str, error: &WireError) -> ApiError {
        self.complain(url, &format!("error={error}"));
        if matches!(error, WireError::Busy) {
            return ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{} is busy; try again in a moment", self.title),
            );
        }
        ApiError::new(
            StatusCode::BAD_GATEWAY,
            format!("{} cannot be reached", self.title),
        )
    }

    fn complain(&self, url: &str, what: &str) {
        let [_, failures] = &*self.complaints;
        if let Some(similar) = failures.again(Instant::now()) {
            tracing::error!(similar, "Request to {} failed: url={url} {what}", self.title);
        }
    }
}
