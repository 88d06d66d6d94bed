//! The calls beside the load: logging in, and looking for posts in followers' timelines.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why a request counts as failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("timeout")]
    Timeout,
    #[error("no connection")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("status {0}")]
    Status(u16),
    #[error("unreadable answer")]
    Unreadable(#[from] serde_json::Error),
    #[error("wrong answer: {0}")]
    Wrong(&'static str),
    #[error("bad request")]
    Request(#[from] http::Error),
}

/// A person's login.
#[derive(Clone, Debug, Deserialize)]
pub struct Login {
    pub token: String,
    /// Seconds that the token is good for, when that is known.
    #[serde(default)]
    pub expires_in: Option<f64>,
}

/// A post, as far as this client cares.
#[derive(Clone, Debug, Deserialize)]
pub struct Post {
    pub id: i64,
}

/// A name in a list of followers.
#[derive(Clone, Debug, Deserialize)]
pub struct Person {
    pub name: String,
}

/// A client with a pool of kept-alive connections.
#[derive(Clone)]
pub struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    target: String,
    timeout: Duration,
}

impl Client {
    /// `target` is Chirpy's base URL (plain HTTP).
    pub fn new(target: &str, timeout: Duration) -> Self {
        let target = target.trim_end_matches('/').to_owned();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        let http = Http::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(64)
            .build(connector);
        Self {
            http,
            target,
            timeout,
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<serde_json::Value>,
    ) -> Result<T, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.target));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = match &body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(serde_json::to_vec(body)?)
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(bytes))?;
        let exchange = async {
            let response = self
                .http
                .request(request)
                .await
                .map_err(|error| ClientError::Connection(error.into()))?;
            let status = response.status();
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|error| ClientError::Connection(error.into()))?;
            if !status.is_success() {
                return Err(ClientError::Status(status.as_u16()));
            }
            Ok(serde_json::from_slice(&body.to_bytes())?)
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(|_| ClientError::Timeout)?
    }

    /// Logs in.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn login(&self, name: &str, password: &str) -> Result<Login, ClientError> {
        let body = serde_json::json!({ "name": name, "password": password });
        self.call(Method::POST, "/api/login", None, Some(body)).await
    }

    /// Reads the home timeline; it must be in order, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn timeline(&self, login: &Login, limit: u32) -> Result<Vec<Post>, ClientError> {
        let path = format!("/api/timeline?limit={limit}");
        let posts: Vec<Post> = self.call(Method::GET, &path, Some(&login.token), None).await?;
        if posts.windows(2).any(|pair| pair[0].id <= pair[1].id) {
            return Err(ClientError::Wrong("the timeline is out of order"));
        }
        Ok(posts)
    }

    /// Who follows `name`, at most `limit`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn followers(&self, login: &Login, name: &str, limit: u32) -> Result<Vec<Person>, ClientError> {
        let path = format!("/api/users/{name}/followers?limit={limit}");
        self.call(Method::GET, &path, Some(&login.token), None).await
    }
}
