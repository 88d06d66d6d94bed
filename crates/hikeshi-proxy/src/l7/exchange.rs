//! One request and its answer: choose a backend, forward, answer.

use std::future::poll_fn;
use std::io;

use http::header::EXPECT;
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::account::Account;
use super::client::poll_left;
use super::connection::{End, Session};
use super::content::RequestContent;
use super::edited;
use super::fault::{self, Exchange, NewBody};
use super::faulted;
use super::flow::{Broken, Flow};
use super::pump::{Failure, Pump};
use super::reject;
use super::route::{Request, Routed, Unrouted, route};
use super::tunnel;
use super::turn::others_first;
use super::upstream::Connection;
use crate::faults::Aborted;
use crate::http1::response::Asked as Question;
use crate::http1::strip::strip;
use crate::http1::{Framing, Refused, RequestHead, ResponseHead};
use crate::metrics::CODE_NONE;
use crate::plane::Shared;

/// Says to a client that waits with its body that somebody wants it.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Serves the request whose head stands at the front of the client's buffer.
pub(super) async fn exchange(session: &mut Session, head: RequestHead) -> End {
    let arrival = Instant::now();
    let (request, mut account, faults) = match route(session, head, arrival) {
        Ok(Routed {
            request,
            account,
            faults,
        }) => (request, account, faults),
        Err(unrouted) => {
            let Unrouted {
                head,
                account,
                status,
                message,
            } = *unrouted;
            let flow = Flow::new(head.len, head.framing.clone());
            return answer(session, &head, account, flow, status, &message).await;
        }
    };
    let Some(faults) = faults else {
        // Nearly every request.
        let flow = forwarded(session, &request.head);
        return deliver(session, &request, account, flow, None, request.question).await;
    };

    let bytes = &session.client.buffer.bytes()[..request.head.len];
    let (method, target) = (
        &bytes[request.head.method.clone()],
        &bytes[request.head.target.clone()],
    );
    let read = if Exchange::reads_headers(&faults) {
        bytes
    } else {
        b""
    };
    let Some(mut parts) = edited::request_parts(read, method, target) else {
        let flow = Flow::new(request.head.len, request.head.framing.clone());
        let message = "the request's target is no URI\n";
        return answer(
            session,
            &request.head,
            account,
            flow,
            StatusCode::BAD_REQUEST,
            message,
        )
        .await;
    };
    let place = (&request.edge, request.upstream.backend.port);
    let board = session.shared.board.clone();
    let exchange = Exchange::of(board, place, &faults, &parts, arrival);
    let client_method = parts.method.clone();
    if !exchange.touches_request() {
        let flow = forwarded(session, &request.head);
        let exchange = exchange.touches_response().then_some((exchange, client_method));
        return deliver(session, &request, account, flow, exchange, request.question).await;
    }
    for line in &request.head.hop {
        let line = &session.client.buffer.bytes()[line.clone()];
        if let Some(colon) = line.iter().position(|byte| *byte == b':')
            && let Ok(name) = http::HeaderName::from_bytes(&line[..colon])
        {
            parts.headers.remove(name);
        }
    }
    let edits = exchange.edits_request();
    let mut framing = request.head.framing.clone();
    let mut original = Vec::new();
    if edits {
        original.extend_from_slice(&session.client.buffer.bytes()[..request.head.len]);
        session.client.buffer.consume(request.head.len);
    }
    let client = &mut session.client;
    let stream = &client.stream;
    let content = RequestContent {
        buffer: &mut client.buffer,
        stream,
        framing: &mut framing,
        invitation: if request.head.expects_continue {
            CONTINUE
        } else {
            b""
        },
    };
    let changed = tokio::select! {
        changed = exchange.request(&mut parts, content) => changed,
        () = poll_fn(|cx| poll_left(stream, cx)) => return End::Closed,
    };
    let mut resumed = Vec::new();
    let made = match changed {
        Ok(NewBody::Kept(_)) => None,
        Ok(NewBody::Made(bytes)) => Some(bytes),
        Ok(NewBody::Begun(read, _)) => match framing.resumed(&read) {
            Some(bytes) => {
                resumed = bytes;
                None
            }
            None => Some(fault::made_of(&mut parts.headers, read)),
        },
        Err(Aborted) => {
            account.answered(CODE_NONE);
            return End::Closed;
        }
    };
    let question = Question::of(parts.method.as_str().as_bytes());
    let flow = match made {
        _ if !edits => forwarded(session, &request.head),
        None => Flow::with_head(edited::request_bytes(&parts, &original, &resumed), framing),
        Some(body) => {
            parts.headers.remove(EXPECT);
            Flow::in_place(edited::request_bytes(&parts, &original, &body), framing)
        }
    };
    let exchange = exchange.touches_response().then_some((exchange, client_method));
    deliver(session, &request, account, flow, exchange, question).await
}

/// The request as it came, without what is about the client's connection.
fn forwarded(session: &mut Session, head: &RequestHead) -> Flow {
    let removed = strip(&mut session.client.buffer.bytes_mut()[..head.len], &head.hop);
    session.client.buffer.consume(removed);
    if head.framing.is_done() {
        Flow::kept(head.len - removed)
    } else {
        Flow::new(head.len - removed, head.framing.clone())
    }
}

/// Sends on the client's own connection, else on one that nobody has, else on a new one; then sees the answer through.
async fn deliver(
    session: &mut Session,
    request: &Request,
    mut account: Account,
    mut flow: Flow,
    mut exchange: Option<(Exchange, Method)>,
    question: Question,
) -> End {
    let mut fresh = false;
    loop {
        let known = if fresh {
            None
        } else {
            session.idle_connection(request)
        };
        let mut connection = match known {
            Some(connection) => connection,
            None => match open(&session.shared, &session.client.stream, request).await {
                Some(Ok(connection)) => connection,
                Some(Err(error)) => return unanswered(session, request, account, flow, &error).await,
                None => return End::Closed,
            },
        };
        // Whoever else has asked is read first: a backend is woken once for what many of its clients want.
        others_first().await;
        let mut pump = Pump::new(&mut session.client, &mut connection, flow, question);
        let failure = match answer_head(&mut pump, &request.head).await {
            Ok(head) => {
                let (end, reusable) =
                    see_through(&mut pump, request, &mut account, head, exchange.take()).await;
                if reusable {
                    session.kept.keep(connection, &session.shared.pool);
                }
                return end;
            }
            Err(failure) => failure,
        };
        let repeat = pump.may_repeat(request.repeatable);
        flow = pump.request;
        match failure {
            Failure::NoAnswer(_) if repeat => {
                flow.rewind();
                fresh = true;
            }
            Failure::NoAnswer(error) => return unanswered(session, request, account, flow, &error).await,
            Failure::BadAnswer(refused) => {
                return unanswered(session, request, account, flow, &io::Error::other(refused)).await;
            }
            Failure::BadRequest(refused) => {
                account.answered(StatusCode::BAD_REQUEST.as_u16());
                return End::Farewell(reject::refused(refused));
            }
            Failure::ClientLeft => return End::Closed,
        }
    }
}

/// `None` when the client has left meanwhile: through a partition this takes minutes.
async fn open(shared: &Shared, client: &TcpStream, request: &Request) -> Option<io::Result<Box<Connection>>> {
    tokio::select! {
        opened = Connection::open(shared, request.edge.clone(), &request.upstream) => Some(opened),
        () = poll_fn(|cx| poll_left(client, cx)) => None,
    }
}

/// The final answer's head. Interim ones go straight to the client, if it can know them.
async fn answer_head(pump: &mut Pump<'_>, request: &RequestHead) -> Result<ResponseHead, Failure> {
    loop {
        let head = pump.head().await?;
        if head.status == 101 && !request.upgrade {
            return Err(Failure::BadAnswer(Refused::Malformed(
                "it switches protocols unasked",
            )));
        }
        if head.status == 101 || head.status >= 200 {
            pump.request.release(&mut pump.client.buffer);
            return Ok(head);
        }
        let interim = clean(pump, &head);
        if !request.old {
            let bytes = &pump.upstream.buffer.bytes()[..interim];
            let written = pump.client.stream.write_all(bytes).await;
            written.map_err(|_| Failure::ClientLeft)?;
        }
        pump.upstream.buffer.consume(interim);
    }
}

/// Takes what is not for the client out of the answer's head, and says HTTP/1.1. Returns the head's new length.
fn clean(pump: &mut Pump<'_>, head: &ResponseHead) -> usize {
    let bytes = &mut pump.upstream.buffer.bytes_mut()[..head.len];
    if head.old {
        bytes["HTTP/1.".len()] = b'1';
    }
    let removed = strip(bytes, &head.hop);
    pump.upstream.buffer.consume(removed);
    head.len - removed
}

/// Carries the answer to the client. Besides the end, whether the backend's connection can be used again.
async fn see_through(
    pump: &mut Pump<'_>,
    request: &Request,
    account: &mut Account,
    head: ResponseHead,
    exchange: Option<(Exchange, Method)>,
) -> (End, bool) {
    account.answered(head.status);
    let len = clean(pump, &head);
    let connected = request.question == Question::Connect && (200..300).contains(&head.status);
    if head.status == 101 || connected {
        account.count();
        if pump.carry(Flow::new(len, Framing::EMPTY), account).await.is_ok() {
            Box::pin(tunnel::join(&request.edge, pump.client, pump.upstream)).await;
        }
        return (End::Closed, false);
    }
    let mut reusable = !head.close;
    let mut until_close = head.framing == Framing::UntilClose;
    let mut event_stream = head.event_stream;
    let flow = match exchange {
        None => Flow::new(len, head.framing),
        Some((exchange, method)) => {
            match Box::pin(faulted::response(pump, len, head, exchange, &method)).await {
                Ok(answer) => {
                    account.answered(answer.status);
                    event_stream &= !answer.made;
                    until_close &= !answer.made;
                    reusable &= answer.whole;
                    answer.flow
                }
                Err(failure) => {
                    if let faulted::Failed::Aborted = failure {
                        account.answered(CODE_NONE);
                    }
                    return (End::Closed, false);
                }
            }
        }
    };
    // An event stream ends when somebody closes a page: its first byte is what a user waits for.
    if event_stream {
        account.count();
    }
    others_first().await;
    match pump.carry(flow, account).await {
        Ok(()) if !pump.is_sent() => (End::Farewell(Vec::new()), false),
        Ok(()) => {
            let reusable = reusable && !until_close && pump.upstream.buffer.is_empty();
            let end = if request.head.close || until_close {
                End::Closed
            } else {
                End::Next
            };
            (end, reusable)
        }
        Err(Broken::Receiver(_)) => (End::Closed, false),
        // Half an answer must not look like a whole one.
        Err(broken) => {
            tracing::debug!(target = request.target.name(), %broken, "half an answer");
            (End::Reset, false)
        }
    }
}

async fn unanswered(
    session: &mut Session,
    request: &Request,
    account: Account,
    flow: Flow,
    error: &io::Error,
) -> End {
    let target = request.target.name();
    tracing::debug!(source = request.edge.source.workload, target, %error, "no answer");
    let message = format!("{target}: {error}\n");
    answer(
        session,
        &request.head,
        account,
        flow,
        StatusCode::BAD_GATEWAY,
        &message,
    )
    .await
}

/// Answers in the backend's place.
async fn answer(
    session: &mut Session,
    head: &RequestHead,
    mut account: Account,
    flow: Flow,
    status: StatusCode,
    message: &str,
) -> End {
    account.answered(status.as_u16());
    let client = &mut session.client;
    let asked_head = head.is_head;
    let close = !flow.abandon(&mut client.buffer) || head.close;
    let bytes = reject::answer(status, message, asked_head, close);
    if close {
        return End::Farewell(bytes);
    }
    account.count();
    match client.stream.write_all(&bytes).await {
        Ok(()) => End::Next,
        Err(_) => End::Closed,
    }
}
