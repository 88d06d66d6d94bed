//! Calls to the other services, each with its deadline.

use std::time::Duration;

use axum::http::StatusCode;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::service::{ApiError, parse_env, text_env};

/// One service we call: where it is and how long we wait for it.
#[derive(Clone)]
pub struct Upstream {
    /// As it appears in messages: `Timeline Service`.
    title: &'static str,
    base: String,
    deadline: Duration,
    client: reqwest::Client,
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
        let deadline = Duration::from_millis(parse_env(&format!("{variable}_TIMEOUT_MS"), deadline_ms)?);
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .pool_idle_timeout(Duration::from_secs(20))
            .build()?;
        Ok(Self {
            title,
            base: base.trim_end_matches('/').to_owned(),
            deadline,
            client,
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
    ) -> Result<(String, bytes::Bytes), ApiError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.client.request(method, &url).timeout(self.deadline);
        if let Some(body) = body {
            request = request.json(body);
        }
        let outcome = async {
            let response = request.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        };
        let (status, body) = outcome.await.map_err(|error| self.failed(&url, &error))?;
        if status.is_success() {
            return Ok((url, body));
        }
        let message = serde_json::from_slice::<serde_json::Value>(&body)
            .ok()
            .and_then(|value| value.get("error")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("{} answered {status}", self.title));
        if status.is_server_error() {
            tracing::error!(
                "Request to {} failed: url={url} status={status} error={message}",
                self.title
            );
            return Err(ApiError::new(StatusCode::BAD_GATEWAY, message));
        }
        Err(ApiError::new(status, message))
    }

    fn failed(&self, url: &str, error: &reqwest::Error) -> ApiError {
        if error.is_timeout() {
            tracing::error!(
                timeout_ms = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
                "Request to {} timed out: url={url}",
                self.title
            );
            ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!("{} did not answer in time", self.title),
            )
        } else {
            let cause = anyhow::Error::msg(chain(error));
            tracing::error!("Request to {} failed: url={url} error={cause}", self.title);
            ApiError::new(
                StatusCode::BAD_GATEWAY,
                format!("{} cannot be reached", self.title),
            )
        }
    }
}

/// The causes of an error, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
