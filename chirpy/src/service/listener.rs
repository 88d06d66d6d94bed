//! Connections: accepted, served, and ended in order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use crate::deadline;

/// Requests in flight are given so long when the process is to end.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// Takes the requests of a route that must be cheap, and hands all others back.
pub type Hot = Arc<dyn Fn(Request<Incoming>) -> Taken + Send + Sync>;
/// The answer to come, or the request.
pub type Taken = Result<BoxFuture<'static, Response>, Box<Request<Incoming>>>;

/// Serves until `stop` is ready, then waits for the requests in flight.
pub async fn serve(listener: TcpListener, routes: Router, hot: Hot, stop: impl Future<Output = ()>) {
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connection(stream, routes.clone(), hot.clone(), &connections),
                Err(error) => {
                    // Out of descriptors, most likely: some connection will end.
                    tracing::warn!(%error, "Cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            () = &mut stop => break,
        }
    }
    drop(listener);
    // A client that never ends its request must not hold the pod back.
    let _ = tokio::time::timeout(LAST_REQUESTS, connections.shutdown()).await;
}

fn connection(stream: TcpStream, routes: Router, hot: Hot, connections: &GracefulShutdown) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let until = deadline::told(request.headers());
        let taken = hot(request).map_err(|request| routes.clone().oneshot(request.map(Body::new)));
        async move {
            match taken {
                Ok(answer) => Ok::<_, Infallible>(deadline::until(until, answer).await),
                Err(answer) => answer.await,
            }
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "Connection ended");
        }
    });
}
