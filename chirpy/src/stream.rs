//! Passing on an answer that does not end: a live timeline on its way through chirpy-server and the gateway.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;
use futures::{Stream, StreamExt as _};
use tokio::sync::watch;

use crate::service::{ApiError, parse_env};

/// What a client that comes back has seen.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where streams come from.
pub struct Streams {
    base: String,
    client: reqwest::Client,
    /// How long until an answer begins; it may then go on.
    begin: Duration,
    /// A stream that says nothing for so long, not even that it is still there, is over.
    silence: Duration,
    stopping: watch::Receiver<bool>,
}

impl Streams {
    /// Streams from the service at `base`, cut when `stopping` says that this process ends.
    ///
    /// # Errors
    /// When no client can be made, or `LIVE_HEARTBEAT_S` does not parse.
    pub fn new(base: &str, stopping: watch::Receiver<bool>) -> anyhow::Result<Self> {
        let heartbeat = Duration::from_secs(parse_env("LIVE_HEARTBEAT_S", 15)?);
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            client: reqwest::Client::builder()
                .no_proxy()
                .connect_timeout(Duration::from_secs(1))
                // Streams hold their connections; those left over are not worth keeping.
                .pool_max_idle_per_host(0)
                .build()?,
            begin: Duration::from_secs(5),
            silence: heartbeat * 3,
            stopping,
        })
    }

    /// Asks for `path` with `headers` and gives the answer as it comes.
    ///
    /// # Errors
    /// 502 or 504 when no answer begins. One that breaks off later breaks off for the client too, who comes back.
    pub async fn pass(&self, path: &str, headers: HeaderMap) -> Result<Response, ApiError> {
        let request = self
            .client
            .get(format!("{}{path}", self.base))
            .headers(headers)
            .send();
        let answer = match tokio::time::timeout(self.begin, request).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::error!("A stream could not be opened: path={path} error={error}");
                return Err(ApiError::new(
                    StatusCode::BAD_GATEWAY,
                    "the live timeline cannot be reached",
                ));
            }
            Err(_) => {
                tracing::error!("A stream did not begin in time: path={path}");
                return Err(ApiError::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "the live timeline did not answer in time",
                ));
            }
        };
        let mut response = Response::builder().status(answer.status());
        for name in [header::CONTENT_TYPE, header::CACHE_CONTROL, header::RETRY_AFTER] {
            if let Some(value) = answer.headers().get(&name) {
                response = response.header(name, value);
            }
        }
        let mut stopping = self.stopping.clone();
        let stopped = async move {
            if stopping.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let parts = audible(Box::pin(answer.bytes_stream()), self.silence);
        response
            .body(Body::from_stream(parts.take_until(Box::pin(stopped))))
            .map_err(|error| anyhow::Error::from(error).into())
    }
}

/// The stream, broken off when it has been silent for too long: whoever reads it comes back and finds out more.
fn audible<T, E: std::error::Error + Send + Sync + 'static>(
    parts: impl Stream<Item = Result<T, E>> + Unpin + Send,
    silence: Duration,
) -> impl Stream<Item = std::io::Result<T>> + Send {
    futures::stream::unfold(Some(parts), move |parts| async move {
        let mut parts = parts?;
        match tokio::time::timeout(silence, parts.next()).await {
            Ok(part) => Some((part?.map_err(std::io::Error::other), Some(parts))),
            Err(_) => Some((Err(std::io::ErrorKind::TimedOut.into()), None)),
        }
    })
}

/// The one header of a client's that a stream needs.
pub fn resume(headers: &HeaderMap) -> HeaderMap {
    headers
        .get(LAST_EVENT_ID)
        .map(|value| (LAST_EVENT_ID, value.clone()))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_falls_silent_is_broken_off() {
        let said = futures::stream::iter(["a", "b"]).map(Ok::<_, std::io::Error>);
        let parts = said.chain(futures::stream::pending());
        let heard: Vec<_> = audible(Box::pin(parts), Duration::from_millis(20))
            .collect()
            .await;
        let heard: Vec<_> = heard
            .into_iter()
            .map(|part| part.map_err(|error| error.kind()))
            .collect();
        assert_eq!(heard, [Ok("a"), Ok("b"), Err(std::io::ErrorKind::TimedOut)]);
    }
}
