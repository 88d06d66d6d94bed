//! HTTP/2 with prior knowledge (gRPC): each stream is a request of its own, balanced, counted and faulted as HTTP/1.1's
//! are. A client has one connection to each backend, whose streams its own are.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::account::Account;
use super::begun::Begun;
use super::buffer::Buffer;
use super::connection::Session;
use super::fault::{Exchange, NewBody};
use super::h2_body::EdgeBody;
use crate::connect::{Edge, Upstream};
use crate::faults::Aborted;
use crate::l4::relay::{choose, destination_name};
use crate::metrics::CODE_NONE;
use crate::plane::Shared;
use crate::router::{Asked, Headers};
use crate::routes::{Destination, Peer, Resolved, Target};

/// A client that says nothing for so long is pinged; a gRPC client may be silent for hours, but it answers.
const SILENCE: Duration = Duration::from_secs(60);
/// How long it may take to answer.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// A request's body: as it comes, or as a fault made it.
type RequestBody = Either<Begun<Incoming>, Full<Bytes>>;

/// One client, and its connections to backends.
struct Caller {
    shared: Arc<Shared>,
    source: Arc<Peer>,
    destination: Arc<Destination>,
    upstreams: Mutex<HashMap<SocketAddrV4, SendRequest<RequestBody>>>,
}

/// Serves a connection whose preface is in the session's buffer.
pub(super) async fn serve(session: Session) {
    let caller = Arc::new(Caller {
        shared: session.shared,
        source: session.source,
        destination: session.destination,
        upstreams: Mutex::default(),
    });
    let client = Rewound {
        buffer: session.client.buffer,
        stream: session.client.stream,
    };
    let service = service_fn(move |request| {
        let caller = caller.clone();
        async move { exchange(&caller, request).await }
    });
    let served = server(SILENCE, SIGN_OF_LIFE).serve_connection(TokioIo::new(client), service);
    if let Err(error) = served.await {
        tracing::trace!(%error, "a client's connection ended early");
    }
}

/// How clients are served: who is silent is asked for a sign of life, and without one is let go.
fn server(silence: Duration, sign_of_life: Duration) -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(silence)
        .keep_alive_timeout(sign_of_life);
    builder
}

/// Serves one request. The error resets its stream.
async fn exchange(caller: &Caller, request: Request<Incoming>) -> Result<Response<EdgeBody>, Aborted> {
    let arrival = Instant::now();
    let Caller { shared, source, .. } = caller;
    let routes = shared.routes();
    let resolved = routes.resolve_request(&routes.way(&caller.destination), || Asked {
        host: request
            .uri()
            .authority()
            .map_or_else(|| header_host(&request), |authority| authority.as_str()),
        path: request.uri().path(),
        method: request.method().as_str(),
        headers: Headers::Map(request.headers()),
    });
    let route = if source.is_host() {
        shared
            .route_names
            .name(request.method().as_str(), request.uri().path())
    } else {
        String::new()
    };
    let metrics = |destination: &str| shared.metrics.edge(&source.workload, destination, route);
    let (target, missing) = match resolved {
        Resolved::To(target) => (Some(target), String::new()),
        Resolved::Missing(name) => (None, name),
        Resolved::Unmatched => {
            let account = Account::new(metrics(""), arrival, None);
            let message = format!("no rule is about {}\n", request.uri().path());
            return Ok(text(StatusCode::NOT_FOUND, message, account));
        }
    };
    let chosen = target.as_ref().and_then(|target| Some((target, choose(target)?)));
    let Some((target, (upstream, in_flight))) = chosen else {
        let account = Account::new(
            metrics(target.as_ref().map_or("", Target::destination)),
            arrival,
            None,
        );
        let name = target.as_ref().map_or(missing, Target::name);
        let message = format!("no ready endpoints for {name}\n");
        return Ok(text(StatusCode::SERVICE_UNAVAILABLE, message, account));
    };
    let peer = upstream.peer(shared);
    let metrics = metrics(destination_name(target, &peer));
    let mut account = Account::new(metrics.clone(), arrival, in_flight);
    let edge = Edge {
        source: source.clone(),
        destination: peer,
        metrics,
    };

    let port = upstream.backend.port;
    let faults = shared.board.http(&edge.source.uid, &edge.destination.uid, port);
    let (mut parts, body) = request.into_parts();
    let exchange = (!faults.is_empty())
        .then(|| Exchange::of(shared.board.clone(), (&edge, port), &faults, &parts, arrival));
    let body = match &exchange {
        Some(exchange) => match exchange.request(&mut parts, body).await {
            Ok(NewBody::Kept(body)) => Either::Left(Begun::untouched(body)),
            Ok(NewBody::Begun(read, rest)) => Either::Left(Begun::new(read, rest)),
            Ok(NewBody::Made(bytes)) => Either::Right(Full::new(bytes)),
            Err(aborted) => return Err(close(account, aborted)),
        },
        None => Either::Left(Begun::untouched(body)),
    };
    let method = parts.method.clone();
    let answered = send(caller, &edge, &upstream, Request::from_parts(parts, body)).await;
    match answered {
        Ok(response) => answer(exchange, &method, response, account).await,
        Err(error) => {
            tracing::debug!(source = source.workload, target = target.name(), %error, "no answer");
            account.answered(StatusCode::BAD_GATEWAY.as_u16());
            Ok(text(
                StatusCode::BAD_GATEWAY,
                format!("{}: {error}\n", target.name()),
                account,
            ))
        }
    }
}

fn header_host(request: &Request<Incoming>) -> &str {
    let host = request.headers().get(http::header::HOST);
    host.and_then(|host| host.to_str().ok()).unwrap_or_default()
}

fn close(mut account: Account, aborted: Aborted) -> Aborted {
    account.answered(CODE_NONE);
    aborted
}

async fn answer(
    exchange: Option<Exchange>,
    method: &Method,
    response: Response<Incoming>,
    mut account: Account,
) -> Result<Response<EdgeBody>, Aborted> {
    let (mut parts, body) = response.into_parts();
    account.answered(parts.status.as_u16());
    let body = match exchange {
        Some(exchange) => match exchange.response(method, &mut parts, body).await {
            Ok((body, _)) => body,
            Err(aborted) => return Err(close(account, aborted)),
        },
        None => NewBody::Kept(body),
    };
    account.answered(parts.status.as_u16());
    // An event stream ends when somebody closes a page: its first byte is what a user waits for.
    let endless = parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if endless {
        account.count();
    }
    let body = match body {
        NewBody::Kept(body) => EdgeBody::stream(Begun::untouched(body), account),
        NewBody::Begun(read, rest) => EdgeBody::stream(Begun::new(read, rest), account),
        NewBody::Made(bytes) => EdgeBody::full(bytes, account),
    };
    Ok(Response::from_parts(parts, body))
}

async fn send(
    caller: &Caller,
    edge: &Edge,
    upstream: &Upstream,
    request: Request<RequestBody>,
) -> io::Result<Response<Incoming>> {
    let address = upstream.backend.socket_addr();
    let mut sender = {
        let mut upstreams = caller.upstreams.lock().await;
        match upstreams.get(&address).filter(|known| !known.is_closed()) {
            Some(known) => known.clone(),
            None => {
                let opened = open(&caller.shared, edge, upstream).await?;
                upstreams.insert(address, opened.clone());
                opened
            }
        }
    };
    sender.send_request(request).await.map_err(io::Error::other)
}

async fn open(shared: &Shared, edge: &Edge, upstream: &Upstream) -> io::Result<SendRequest<RequestBody>> {
    let (source_gone, destination_gone) = (edge.source.gone.clone(), edge.destination.gone.clone());
    let wire = tokio::select! {
        wire = upstream.connect(shared, edge.clone()) => wire?,
        () = destination_gone.ever() => return Err(io::ErrorKind::ConnectionReset.into()),
    };
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(wire))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::trace!(%error, "an upstream connection ended early");
            },
            () = source_gone.ever() => {}
            () = destination_gone.ever() => {}
        }
    });
    Ok(sender)
}

fn text(status: StatusCode, message: String, mut account: Account) -> Response<EdgeBody> {
    account.answered(status.as_u16());
    let mut response = Response::new(EdgeBody::full(Bytes::from(message), account));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// A stream with what has been read of it already in front.
struct Rewound {
    buffer: Buffer,
    stream: TcpStream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.buffer.len().min(buf.remaining());
        buf.put_slice(&self.buffer.bytes()[..count]);
        self.buffer.consume(count);
        self.buffer.rest();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_client_that_shows_no_sign_of_life_is_let_go_and_one_that_does_stays() {
        // Long enough for a slow machine to answer.
        let (silence, sign_of_life) = (Duration::from_millis(20), Duration::from_secs(2));
        let serve = |stream| {
            let service = service_fn(async |_: Request<Incoming>| {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
            });
            tokio::spawn(server(silence, sign_of_life).serve_connection(TokioIo::new(stream), service))
        };
        let (alive, served) = duplex(64 * 1024);
        serve(served);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(alive));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);

        let (mut mute, served) = duplex(64 * 1024);
        let serving = serve(served);
        // The preface and empty settings, then nothing: not even an answer to the server's settings.
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        mute.write_all(hello).await.unwrap();
        mute.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(serving.await.unwrap().is_err());

        // As silent for as long, but it answered.
        let answer = sender.send_request(Request::new(Full::<Bytes>::default())).await;
        assert!(answer.is_ok(), "{answer:?}");
    }
}
