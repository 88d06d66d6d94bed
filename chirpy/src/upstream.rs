//! Calls to the other services, each with its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::budget::Budget;
use crate::complaints::Complaints;
use crate::deadline;
use crate::retry::Pauses;
use crate::service::{ApiError, text_env};
use crate::wire::{Answer, Wire, WireError};

/// Further attempts of one request.
const RETRIES: u32 = 4;
const PAUSES: Pauses = Pauses {
    base: Duration::from_millis(40),
    max: Duration::from_millis(400),
};

/// What is read by POST, because it would not fit a URL.
const READS: [&str; 5] = [
    "/posts/read",
    "/followers/of",
    "/timelines/read",
    "/search",
    "/people",
];
/// Answers that may be others in a moment.
const AGAIN: [StatusCode; 2] = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE];

/// One service we call: where it is and how long we wait for it.
#[derive(Clone)]
pub struct Upstream {
    /// As it appears in messages: `Timeline Service`.
    title: &'static str,
    deadline: Duration,
    wire: Arc<Wire>,
    budget: Arc<Budget>,
    /// Of requests that timed out, and of those that failed otherwise.
    complaints: Arc<[Complaints; 2]>,
}

impl Upstream {
    /// `name` is the Service's name (`timeline-service`). `TIMELINE_SERVICE_URL` and `TIMELINE_SERVICE_TIMEOUT_MS`
    /// override where it is and how long it may take; see [`deadline::of_hop`].
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env(name: &str, title: &'static str, deadline_ms: u64) -> anyhow::Result<Self> {
        let variable = name.to_uppercase().replace('-', "_");
        let base = text_env(
            &format!("{variable}_URL"),
            &format!("http://{name}.chirpy.svc.cluster.local"),
        );
        let deadline = deadline::of_hop(&format!("{variable}_TIMEOUT_MS"), deadline_ms)?;
        Self::new(&base, title, deadline).with_context(|| format!("{variable}_URL"))
    }

    /// The service at `http://HOST[:PORT]`.
    ///
    /// # Errors
    /// When that is something else.
    pub fn new(base: &str, title: &'static str, deadline: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            title,
            deadline,
            wire: Arc::new(Wire::new(base)?),
            budget: Arc::default(),
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
    /// of the service is passed on with its message. Of its 5xx so are those that say what to do, 503 (with when to come again)
    /// and 504; any other is a 502.
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
        let (status, retry_after, body) = (answer.status, answer.retry_after, answer.body);
        if status.is_success() {
            return Ok((url, body));
        }
        let message = serde_json::from_slice::<serde_json::Value>(&body)
            .ok()
            .and_then(|value| value.get("error")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("{} answered {status}", self.title));
        if status.is_server_error() {
            self.complain(&url, &format!("status={status} error={message}"));
        }
        let status = match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => status,
            other if other.is_server_error() => StatusCode::BAD_GATEWAY,
            other => other,
        };
        Err(ApiError {
            retry_after,
            ..ApiError::new(status, message)
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.wire.address().trim_end_matches(":80"))
    }

    /// One request within the deadline, or within what is left of the one that this process works within, and says so to the
    /// service. Its answer as it came, whatever its status.
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
        let waits = deadline::left(self.deadline);
        let told = deadline::value(waits);
        let mut headers = headers.to_vec();
        if let Some(told) = &told {
            headers.push((deadline::HEADER.as_str(), told.as_bytes()));
        }
        let attempts = self.attempts(method, path, &headers, body);
        match tokio::time::timeout(waits, attempts).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(&self.url(path), &error)),
            Err(_) => Err(self.timed_out(&self.url(path), waits)),
        }
    }

    /// A service whose pod has just gone is there again in a moment, on another pod: what could not be sent, or may be asked
    /// twice, is asked again after a pause, as long as the budget lasts.
    async fn attempts(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &[u8])],
        body: Option<&[u8]>,
    ) -> Result<Answer, WireError> {
        let repeatable = *method == Method::GET || READS.contains(&path);
        self.budget.attempt();
        let mut attempt = 1;
        loop {
            let outcome = self.wire.exchange(method, path, headers, body).await;
            let again = match &outcome {
                // Of what is between us and the service, or of the service without its database.
                Ok(answer) => repeatable && AGAIN.contains(&answer.status),
                Err(WireError::Connect { .. }) => true,
                Err(WireError::Closed | WireError::Io(_)) => repeatable,
                // One more would only be one more that waits.
                Err(WireError::Busy | WireError::Malformed(_)) => false,
            };
            if !again || attempt > RETRIES || !self.budget.retry() {
                return outcome;
            }
            tokio::time::sleep(PAUSES.after(attempt, fastrand::f64())).await;
            attempt += 1;
        }
    }

    fn timed_out(&self, url: &str, waited: Duration) -> ApiError {
        let [timeouts, _] = &*self.complaints;
        if let Some(similar) = timeouts.again(Instant::now()) {
            tracing::error!(
                timeout_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::{HeaderMap, HeaderValue};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn to(address: &str) -> Upstream {
        Upstream::new(address, "Post Service", Duration::from_secs(10)).expect("an address")
    }

    /// Answers 503 so many times, then 200; how often it was asked.
    async fn unwell(times: usize) -> (String, Arc<AtomicUsize>) {
        unwell_with("503 Not Now", times).await
    }

    async fn unwell_with(failure: &'static str, times: usize) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let _ = client.read(&mut [0; 4096]).await;
                let status = if count.fetch_add(1, Ordering::Relaxed) < times {
                    failure
                } else {
                    "200 OK"
                };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]");
                let _ = client.write_all(answer.as_bytes()).await;
            }
        });
        (address, asked)
    }

    #[tokio::test]
    async fn what_only_reads_is_asked_again_and_what_writes_is_not() {
        for (method, path) in [(Method::GET, "/posts/1"), (Method::POST, "/posts/read")] {
            let (address, asked) = unwell(2).await;
            let answer = to(&address)
                .pass(&method, path, &[], None)
                .await
                .expect("an answer");
            assert_eq!(
                (answer.status, asked.load(Ordering::Relaxed)),
                (StatusCode::OK, 3),
                "{path}"
            );
        }
        let (address, asked) = unwell(2).await;
        let answer = to(&address).pass(&Method::POST, "/posts", &[], None).await;
        assert_eq!(answer.expect("an answer").status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_a_service_says_of_its_overload_is_passed_on() {
        for (failure, status, again) in [
            ("503 Busy\r\nRetry-After: 7", 503, Some("7")),
            ("503 Busy", 503, Some("1")),
            ("504 Late", 504, None),
            ("500 Broken", 502, None),
            ("429 Too Many\r\nretry-after: 3", 429, Some("3")),
        ] {
            let (address, _) = unwell_with(failure, 1).await;
            let sent = to(&address).send(Method::POST, "/posts", None::<&()>).await;
            let answer = axum::response::IntoResponse::into_response(sent.expect_err("it is unwell"));
            let told = answer.headers().get("retry-after");
            assert_eq!(
                (answer.status().as_u16(), told.and_then(|told| told.to_str().ok())),
                (status, again),
                "{failure}"
            );
        }
    }

    #[tokio::test]
    async fn attempts_have_an_end() {
        let (address, asked) = unwell(100).await;
        let answer = to(&address).pass(&Method::GET, "/posts/1", &[], None).await;
        assert_eq!(answer.expect("an answer").status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked.load(Ordering::Relaxed), 1 + RETRIES as usize);
    }

    /// A service that takes requests and never answers; what it was told of deadlines comes by the channel.
    async fn silent(deadline: Duration) -> (Upstream, tokio::sync::mpsc::UnboundedReceiver<Option<u64>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let (told, seen) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut open = vec![];
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![];
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut request).await.expect("a request");
                }
                let request = String::from_utf8(request).expect("text");
                let line = request
                    .lines()
                    .find_map(|line| line.strip_prefix("x-deadline-ms: "));
                let _ = told.send(line.map(|value| value.parse().expect("a number")));
                open.push(stream);
            }
        });
        (
            Upstream::new(&base, "Silent Service", deadline).expect("a URL"),
            seen,
        )
    }

    #[tokio::test]
    async fn without_a_deadline_a_silent_service_holds_whoever_asks_it() {
        let (upstream, mut seen) = silent(deadline::FOREVER).await;
        let call = tokio::spawn(async move { upstream.get::<()>("/").await });
        assert_eq!(seen.recv().await, Some(None), "nobody is told how long");
        // Longer than any deadline of ours, by a clock that runs ahead.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3600)).await;
        tokio::task::yield_now().await;
        assert!(!call.is_finished(), "it waits after an hour");
        call.abort();
    }

    #[tokio::test]
    async fn with_one_it_is_let_go_and_the_service_was_told() {
        let (upstream, mut seen) = silent(Duration::from_millis(80)).await;
        let error = upstream.get::<()>("/").await.expect_err("it never answers");
        assert_eq!(error.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(seen.recv().await, Some(Some(80)));
        // Whoever asked us waits for less than this hop may take: so does it, and it passes on what is left.
        let mut headers = HeaderMap::new();
        headers.insert(&deadline::HEADER, HeaderValue::from_static("30"));
        let call = deadline::until(deadline::told(&headers), upstream.get::<()>("/"));
        assert_eq!(
            call.await.expect_err("nor now").status,
            StatusCode::GATEWAY_TIMEOUT
        );
        let told = seen.recv().await.flatten().expect("it was told");
        assert!(told <= 30, "{told}");
    }
}
