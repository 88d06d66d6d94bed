//! Accept loops.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::l4::relay;
use crate::model::AppProtocol;
use crate::plane::Shared;
use crate::routes::{Destination, Peer};
use crate::{l7, socket};

/// How long to let descriptors come back when the process has none left.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// An open listener; dropping it closes the listener, not its connections.
#[derive(Debug)]
pub(crate) struct Accepting(JoinHandle<()>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves everything that `source` opens to `destination`.
pub(crate) fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    source: Arc<Peer>,
    destination: Destination,
) -> Accepting {
    let destination = Arc::new(destination);
    Accepting(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((client, _)) => {
                    let (here, source, destination) = (shared.clone(), source.clone(), destination.clone());
                    shared.workers.serve(client, move |client| async move {
                        serve(&here, source, destination, client).await;
                    });
                }
                Err(error) => refused(&error).await,
            }
        }
    }))
}

async fn serve(shared: &Arc<Shared>, source: Arc<Peer>, destination: Arc<Destination>, client: TcpStream) {
    socket::prepare(&client);
    let routes = shared.routes();
    match (routes.protocol(&destination), routes.resolve(&destination)) {
        (Some(AppProtocol::Http), _) => l7::serve(shared.clone(), source, destination, client).await,
        (_, Some(target)) => relay::relay(shared, source, target, client).await,
        (_, None) => relay::reset(&client),
    }
}

/// `GET /metrics` (any path, in fact) in Prometheus' text format.
pub(crate) fn serve_metrics(shared: Arc<Shared>, listener: TcpListener) -> Accepting {
    Accepting(tokio::spawn(async move {
        loop {
            let client = match listener.accept().await {
                Ok((client, _)) => client,
                Err(error) => {
                    refused(&error).await;
                    continue;
                }
            };
            let shared = shared.clone();
            tokio::spawn(async move {
                let service = service_fn(move |_request| {
                    let text = shared.metrics.text();
                    async move {
                        http::Response::builder()
                            .header(
                                "content-type",
                                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                            )
                            .body(Full::new(Bytes::from(text)))
                    }
                });
                if let Err(error) = http1::Builder::new()
                    .serve_connection(TokioIo::new(client), service)
                    .await
                {
                    tracing::debug!(%error, "a scrape ended early");
                }
            });
        }
    }))
}

async fn refused(error: &io::Error) {
    // Any other error is about one connection that ended before it was accepted.
    if matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    ) {
        tracing::warn!(%error, "cannot accept");
        tokio::time::sleep(EXHAUSTED).await;
    }
}
