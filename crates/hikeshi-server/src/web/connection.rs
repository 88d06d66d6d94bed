//! One task per connection: its TLS handshake, then HTTP until the client leaves.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::door::{Door, Limits, silence};

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long requests still running at shutdown are waited for: a proxied stream may never end by itself.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Serves whoever comes to the door until `shutdown`. Handshakes run beside one another, so a silent peer delays nobody.
pub(super) async fn run(
    door: Door,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let (stream, peer, place) = tokio::select! {
            () = shutdown.cancelled() => break,
            next = door.next() => next,
        };
        // Events are small; they must not wait for a full segment.
        let _ = stream.set_nodelay(true);
        let (acceptor, router, shutdown) = (acceptor.clone(), router.clone(), shutdown.clone());
        connections.spawn(async move {
            let _place = place;
            let Some(acceptor) = acceptor else {
                return converse(stream, router, limits, &shutdown).await;
            };
            match handshake(&acceptor, stream).await {
                Ok(stream) => converse(stream, router, limits, &shutdown).await,
                Err(error) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            }
        });
    }
    connections.close();
    connections.wait().await;
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> std::io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream))
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// Answers a client's requests until it leaves, is silent for too long, or the server ends.
async fn converse<S>(stream: S, router: Router, limits: Limits, shutdown: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(Notify::new());
    let first = Arc::clone(&asked);
    let service = service_fn(move |request: http::Request<Incoming>| {
        first.notify_one();
        let router = router.clone();
        async move { router.oneshot(request).await as Result<Response, Infallible> }
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30));
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

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What a client hears that sends this and then nothing more, until the server hangs up.
    async fn heard(sent: &str) -> String {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let limits = Limits {
            first: Duration::from_millis(50),
            idle: Duration::from_millis(50),
            ..Limits::default()
        };
        let shutdown = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "ok" }));
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut text = String::new();
        let served = converse(server, router, limits, &shutdown);
        let both = async { tokio::join!(served, client.read_to_string(&mut text)) };
        let ((), read) = tokio::time::timeout(PATIENCE, both)
            .await
            .expect("the server hangs up");
        read.unwrap();
        text
    }

    #[tokio::test]
    async fn a_silent_client_is_not_waited_for() {
        let head = "GET / HTTP/1.1\r\nhost: a\r\n";
        for silent in ["", "GET / HT", head] {
            assert_eq!(heard(silent).await, "", "{silent:?}");
        }
        let said = heard(&format!("{head}\r\nGET /")).await;
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("ok"), "{said}");
    }
}
