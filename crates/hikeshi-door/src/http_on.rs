//! HTTP/1.1 and HTTP/2 on one connection, after its TLS handshake if it has one.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::Limits;

/// A client has this long to finish its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests still running at shutdown are waited for. Our own streams end with the same token; a proxied one may
/// never end by itself.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Finishes a client's handshake.
///
/// # Errors
/// What the client did wrong, or that it took too long.
pub async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Answers a client's requests until it leaves, is silent for too long, or the server ends.
pub async fn converse<S, A, F>(stream: S, answer: A, limits: Limits, shutdown: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(http::Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let asked = Arc::new(Notify::new());
    let first = Arc::clone(&asked);
    let service = service_fn(move |request: http::Request<Incoming>| {
        first.notify_one();
        let answered = answer(request);
        async move { Ok::<Response, Infallible>(answered.await) }
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(limits.streams);
    let serving = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = silence(&asked, limits.first) => return tracing::debug!("no request came"),
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(LAST_REQUESTS, serving.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Returns when `limit` has passed without a first request.
async fn silence(asked: &Notify, limit: Duration) {
    if tokio::time::timeout(limit, asked.notified()).await.is_ok() {
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What a client hears that sends this and then nothing more, until the server hangs up.
    async fn heard(sent: &[u8]) -> String {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let limits = Limits {
            first: Duration::from_millis(50),
            idle: Duration::from_millis(50),
            ..Limits::default()
        };
        let shutdown = CancellationToken::new();
        let answer = |_| std::future::ready("ok".into_response());
        client.write_all(sent).await.unwrap();
        let served = async {
            converse(server, answer, limits, &shutdown).await;
        };
        let mut text = Vec::new();
        let both = async { tokio::join!(served, client.read_to_end(&mut text)) };
        let (_, read) = tokio::time::timeout(PATIENCE, both)
            .await
            .expect("the server hangs up");
        read.unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn a_silent_client_is_not_waited_for() {
        let head = "GET / HTTP/1.1\r\nhost: a\r\n";
        for silent in ["", "GET / HT", head, "PRI * HTTP/2.0\r\n\r\n"] {
            assert_eq!(heard(silent.as_bytes()).await, "", "{silent:?}");
        }
        let said = heard(format!("{head}\r\nGET /").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("ok"), "{said}");
    }
}
