//! Where one request goes, and what is known of its way.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;

use super::account::Account;
use super::connection::Session;
use super::fault::Exchange;
use crate::connect::{Edge, Upstream};
use crate::faults::ActiveFault;
use crate::http1::response::Asked as Question;
use crate::http1::{RequestHead, head};
use crate::l4::relay::{choose, destination_name};
use crate::router::{Asked, Headers};
use crate::routes::{Resolved, Target};

/// A request that has a backend.
pub(super) struct Request {
    pub head: RequestHead,
    pub question: Question,
    /// Asked twice is as good as once (what RFC 9110 calls safe), and it has no body.
    pub repeatable: bool,
    pub edge: Edge,
    pub upstream: Upstream,
    /// As people call where it goes.
    pub target: Target,
}

/// A request that has none, and its answer.
pub(super) struct Unrouted {
    pub head: RequestHead,
    pub account: Account,
    pub status: StatusCode,
    pub message: String,
}

/// A request that has a backend, and the faults on its way, unless its first line says that none of them is about it.
pub(super) struct Routed {
    pub request: Request,
    pub account: Account,
    pub faults: Option<Arc<[Arc<ActiveFault>]>>,
}

/// Chooses the backend and opens the account.
pub(super) fn route(
    session: &mut Session,
    head: RequestHead,
    arrival: Instant,
) -> Result<Routed, Box<Unrouted>> {
    let bytes = session.client.buffer.bytes();
    let (method, path) = first_line(bytes, &head);
    let (routes, way) = session.memory.way(&session.shared, &session.destination);
    let resolved = routes.resolve_request(way, || Asked {
        host: host(bytes, &head),
        path,
        method,
        headers: Headers::Lines(&bytes[..head.len]),
    });
    let label = if session.source.is_host() {
        (method, path)
    } else {
        ("", "")
    };
    let (shared, source) = (&session.shared, &session.source);
    let mut metrics = |destination: &str| {
        session.memory.edge(destination, label, || {
            let route = if source.is_host() {
                shared.route_names.name(method, path)
            } else {
                String::new()
            };
            shared.metrics.edge(&source.workload, destination, route)
        })
    };
    let (target, missing) = match resolved {
        Resolved::To(target) => (Some(target), String::new()),
        Resolved::Missing(name) => (None, name),
        Resolved::Unmatched => {
            let account = Account::new(metrics(""), arrival, None);
            let message = format!("no rule is about {path}\n");
            let status = StatusCode::NOT_FOUND;
            return Err(Box::new(Unrouted {
                head,
                account,
                status,
                message,
            }));
        }
    };
    let chosen = target.as_ref().and_then(|target| Some((target, choose(target)?)));
    let Some((target, (upstream, in_flight))) = chosen else {
        let name = target.as_ref().map_or(missing, Target::name);
        let account = Account::new(
            metrics(target.as_ref().map_or("", Target::destination)),
            arrival,
            None,
        );
        let message = format!("no ready endpoints for {name}\n");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(Box::new(Unrouted {
            head,
            account,
            status,
            message,
        }));
    };
    let peer = upstream.peer(shared);
    let metrics = metrics(destination_name(target, &peer));
    let account = Account::new(metrics.clone(), arrival, in_flight);
    let port = upstream.backend.port;
    let faults = session.memory.faults(&shared.board, source, &peer, port);
    let faults = Exchange::may_hit(faults, method, path).then(|| faults.clone());
    let request = Request {
        question: Question::of(method.as_bytes()),
        repeatable: head.framing.is_done() && matches!(method, "GET" | "HEAD" | "OPTIONS"),
        edge: Edge {
            source: source.clone(),
            destination: peer,
            metrics,
        },
        upstream,
        target: target.clone(),
        head,
    };
    Ok(Routed {
        request,
        account,
        faults,
    })
}

/// Method and path. Both are ASCII tokens, or httparse would have refused them.
fn first_line<'a>(bytes: &'a [u8], head: &RequestHead) -> (&'a str, &'a str) {
    let text =
        |range: &std::ops::Range<usize>| std::str::from_utf8(&bytes[range.clone()]).unwrap_or_default();
    let target = text(&head.target);
    let path = match authority_and_path(target) {
        Some((_, path)) => path,
        None => target,
    };
    let end = path.bytes().position(|byte| byte == b'?');
    (text(&head.method), &path[..end.unwrap_or(path.len())])
}

/// Of a target in absolute form, which nearly none is.
fn authority_and_path(target: &str) -> Option<(&str, &str)> {
    if target.starts_with('/') {
        return None;
    }
    let (_, rest) = target.split_once("://")?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    Some((authority, rest.find('/').map_or("/", |at| &rest[at..])))
}

fn host<'a>(bytes: &'a [u8], head: &RequestHead) -> &'a str {
    let target = std::str::from_utf8(&bytes[head.target.clone()]).unwrap_or_default();
    match authority_and_path(target) {
        Some((authority, _)) => authority,
        None => head::header(&bytes[..head.len], "host")
            .and_then(|value| std::str::from_utf8(value).ok())
            .unwrap_or_default(),
    }
}
