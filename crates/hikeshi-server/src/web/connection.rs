//! One task per connection: its TLS handshake, then HTTP until the client leaves.

use axum::Router;
use hikeshi_door::{Door, Limits, converse, handshake};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

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
                return answer(stream, router, limits, &shutdown).await;
            };
            match handshake(&acceptor, stream).await {
                Ok(stream) => answer(stream, router, limits, &shutdown).await,
                Err(error) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            }
        });
    }
    connections.close();
    connections.wait().await;
}

/// Answers a client's requests from `router`.
async fn answer<S>(stream: S, router: Router, limits: Limits, shutdown: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = move |request| {
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request).await;
            response
        }
    };
    converse(stream, answer, limits, shutdown).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let served = answer(server, router, limits, &shutdown);
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
