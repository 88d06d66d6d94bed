//! L7: HTTP/1.1, request by request.

mod body;
mod exchange;
mod fault;
pub(crate) mod pool;
mod upgrade;

use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::plane::Shared;
use crate::relay;
use crate::routes::{Destination, Peer};

/// What begins an HTTP/2 connection of a client that does not ask first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2";

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    source: Arc<Peer>,
    destination: Arc<Destination>,
    client: TcpStream,
) {
    if speaks_http2(&client, &source).await {
        if let Some(target) = shared.routes().resolve(&destination) {
            relay::relay(&shared, source, target, client).await;
        }
        return;
    }
    let gone = source.gone.clone();
    let service = service_fn(move |request| {
        exchange::exchange(shared.clone(), source.clone(), destination.clone(), request)
    });
    let connection = http1::Builder::new()
        .preserve_header_case(true)
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(client), service)
        .with_upgrades();
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::trace!(%error, "a client's connection ended early");
        },
        () = gone.cancelled() => {}
    }
}

/// How long a client may take over the first four bytes.
const ODD_CLIENT_MILLIS: u32 = 1000;

/// HTTP/2 with prior knowledge (gRPC) is carried as bytes: no faults or metrics per request.
async fn speaks_http2(client: &TcpStream, source: &Peer) -> bool {
    let mut start = [0u8; HTTP2_PREFACE.len()];
    for _ in 0..ODD_CLIENT_MILLIS {
        let peeked = tokio::select! {
            peeked = client.peek(&mut start) => peeked,
            () = source.gone.cancelled() => return false,
        };
        match peeked {
            // Every method that begins with P differs in its second letter or (PROPFIND) in its fourth.
            Ok(n) if n >= 4 || n == 0 || start[..n] != HTTP2_PREFACE[..n] => {
                return n >= 4 && start[..n] == HTTP2_PREFACE[..n];
            }
            // A first packet of less than four bytes, all of the preface so far: an odd client, worth a short wait.
            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            Err(_) => return false,
        }
    }
    // Its end would never show behind what it sent; hyper reads both.
    false
}
