//! One request: choose a backend, forward, answer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, request};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::body::{Account, EdgeBody};
use super::fault::{Exchange, NewBody};
use super::pool::{RequestBody, Returns};
use super::upgrade;
use crate::connect::{Edge, Upstream};
use crate::faults::Aborted;
use crate::metrics::CODE_NONE;
use crate::plane::Shared;
use crate::relay::{choose, destination_name};
use crate::routes::{Asked, Destination, Peer, Resolved, Target};

/// Serves one request. The error closes the client's connection without an answer.
pub(super) async fn exchange(
    shared: Arc<Shared>,
    source: Arc<Peer>,
    destination: Arc<Destination>,
    mut request: Request<Incoming>,
) -> Result<Response<EdgeBody>, Aborted> {
    let arrival = Instant::now();
    let resolved = shared.routes().resolve_request(&destination, || Asked {
        host: request
            .uri()
            .host()
            .or_else(|| request.headers().get(http::header::HOST)?.to_str().ok())
            .unwrap_or_default(),
        path: request.uri().path(),
    });
    let (target, missing) = match resolved {
        Resolved::To(target) => (Some(target), String::new()),
        Resolved::Missing(name) => (None, name),
        Resolved::Unmatched => (None, "this path".into()),
    };
    let route = if source.is_host() {
        shared.route_names.name(request.method(), request.uri().path())
    } else {
        String::new()
    };
    let chosen = target
        .as_ref()
        .and_then(|target| Some((target, choose(&shared, target)?)));
    let Some((target, (upstream, in_flight))) = chosen else {
        let name = target
            .as_ref()
            .map_or(missing, Target::name);
        let metrics = shared.metrics.edge(
            &source.workload,
            target.as_ref().map_or("", Target::destination),
            route,
        );
        let account = Account::new(metrics, arrival, None);
        return Ok(text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no ready endpoints for {name}\n"),
            account,
        ));
    };
    let peer = upstream.peer(&shared);
    let metrics = shared
        .metrics
        .edge(&source.workload, destination_name(target, &peer), route);
    let mut account = Account::new(metrics.clone(), arrival, in_flight);
    let edge = Edge {
        source,
        destination: peer,
        metrics,
    };

    let client = (request.headers().contains_key(UPGRADE)).then(|| hyper::upgrade::on(&mut request));
    let faults = shared
        .board
        .http(&edge.source.uid, &edge.destination.uid, upstream.backend.port);
    let (mut parts, body) = request.into_parts();
    let exchange = (!faults.is_empty()).then(|| Exchange::of(shared.board.clone(), faults, &parts, arrival));
    let body = match &exchange {
        Some(exchange) => match exchange.request(&mut parts, body).await {
            Ok(NewBody::Kept(body)) => Either::Left(body),
            Ok(NewBody::Made(bytes)) => Either::Right(Full::new(bytes)),
            Err(aborted) => return Err(close(account, aborted)),
        },
        None => Either::Left(body),
    };
    for_the_next_hop(&mut parts, client.is_some());
    let method = parts.method.clone();
    let answered = send(&shared, &edge, &upstream, Request::from_parts(parts, body)).await;
    let (response, connection) = match answered {
        Ok(answered) => answered,
        Err(error) => {
            tracing::debug!(source = edge.source.workload, target = target.name(), %error, "no answer");
            return Ok(text(
                StatusCode::BAD_GATEWAY,
                format!("{}: {error}\n", target.name()),
                account,
            ));
        }
    };
    account.answered(response.status().as_u16());
    let answered = answer(exchange, &method, response, connection, account, |upstream| {
        if let Some(client) = client {
            upgrade::join(edge, client, upstream);
        }
    });
    answered.await
}

fn close(mut account: Account, aborted: Aborted) -> Aborted {
    account.answered(CODE_NONE);
    aborted
}

async fn answer(
    exchange: Option<Exchange>,
    method: &Method,
    mut response: Response<Incoming>,
    connection: Returns,
    mut account: Account,
    upgraded: impl FnOnce(OnUpgrade),
) -> Result<Response<EdgeBody>, Aborted> {
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switching {
        upgraded(hyper::upgrade::on(&mut response));
    }
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    strip(&mut parts.headers, switching);
    let body = match exchange {
        Some(exchange) => match exchange.response(method, &mut parts, body).await {
            Ok(body) => body,
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
    if endless || switching {
        account.count();
    }
    let body = match body {
        NewBody::Kept(body) => EdgeBody::stream(body, connection, account),
        // The upstream's own body was not read: its connection is dropped.
        NewBody::Made(bytes) => EdgeBody::full(bytes, Some(account)),
    };
    Ok(Response::from_parts(parts, body))
}

/// Sends on an idle connection, else on a new one. A request that an idle connection, closing just then, never wrote is
/// sent once more; nothing else is repeated.
async fn send(
    shared: &Shared,
    edge: &Edge,
    upstream: &Upstream,
    mut request: Request<RequestBody>,
) -> io::Result<(Response<Incoming>, Returns)> {
    if let Some(mut connection) = shared.pool.take(edge, upstream) {
        match connection.sender.try_send_request(request).await {
            Ok(response) => return Ok((response, connection)),
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => request = unsent,
                None => return Err(io::Error::other(failed.into_error())),
            },
        }
    }
    let mut connection = shared.pool.open(shared, edge.clone(), upstream).await?;
    let response = connection
        .sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    Ok((response, connection))
}

fn for_the_next_hop(parts: &mut request::Parts, upgrade: bool) {
    parts.version = Version::HTTP_11;
    strip(&mut parts.headers, upgrade);
}

/// Removes what is about one hop only. The framing headers stay: hyper reads and keeps them.
fn strip(headers: &mut HeaderMap, upgrade: bool) {
    if upgrade {
        return;
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    headers.remove(UPGRADE);
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

fn text(status: StatusCode, message: String, mut account: Account) -> Response<EdgeBody> {
    account.answered(status.as_u16());
    let mut response = Response::new(EdgeBody::full(Bytes::from(message), Some(account)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
