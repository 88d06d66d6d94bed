//! An answer that a fault may touch.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode, response};

use super::content::ResponseContent;
use super::edited;
use super::fault::{self, Exchange, NewBody};
use super::flow::Flow;
use super::pump::Pump;
use crate::faults::Aborted;
use crate::http1::{Framing, ResponseHead};

/// What the client gets.
pub(super) struct Answer {
    pub flow: Flow,
    pub status: u16,
    /// Its length is known, whatever the backend's was.
    pub made: bool,
    /// The backend's own answer will have been read to its end.
    pub whole: bool,
}

pub(super) enum Failed {
    Aborted,
    /// Nobody waits any more, or the answer cannot be read.
    Broken,
}

/// The answer's head is the first `len` bytes of the backend's buffer. `method` is the client's own.
pub(super) async fn response(
    pump: &mut Pump<'_>,
    len: usize,
    head: ResponseHead,
    exchange: Exchange,
    method: &Method,
) -> Result<Answer, Failed> {
    let original = Bytes::copy_from_slice(&pump.upstream.buffer.bytes()[..len]);
    let mut parts = edited::response_parts(&original, head.status).ok_or(Failed::Broken)?;
    pump.upstream.buffer.consume(len);
    let mut framing = head.framing;
    // The watch and the content take turns within one task.
    let turns = Mutex::new(&mut *pump);
    let content = ResponseContent {
        pump: &turns,
        framing: &mut framing,
    };
    let left = std::future::poll_fn(|cx| {
        let alive = turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .poll_alive(cx);
        if alive.is_err() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    });
    let changed = tokio::select! {
        changed = exchange.response(method, &mut parts, content) => changed,
        () = left => return Err(Failed::Broken),
    };
    let mut resumed = Vec::new();
    let (made, edited) = match changed {
        Ok((NewBody::Kept(_), edited)) => (None, edited),
        Ok((NewBody::Made(bytes), edited)) => (Some(bytes), edited),
        Ok((NewBody::Begun(read, _), edited)) => match framing.resumed(&read) {
            Some(bytes) => {
                resumed = bytes;
                (None, edited)
            }
            None => (Some(fault::made_of(&mut parts.headers, read)), edited),
        },
        Err(Aborted) => return Err(Failed::Aborted),
    };
    let status = parts.status.as_u16();
    if !edited {
        return Ok(Answer {
            flow: Flow::with_head(original, framing),
            status,
            made: false,
            whole: true,
        });
    }
    let (made, whole) = (reframe(&mut parts, method, made, &framing), framing.is_done());
    Ok(match made {
        Some(body) => Answer {
            flow: Flow::with_head(edited::response_bytes(&parts, &original, &body), Framing::EMPTY),
            status,
            made: true,
            whole,
        },
        None => Answer {
            flow: Flow::with_head(edited::response_bytes(&parts, &original, &resumed), framing),
            status,
            made: false,
            whole: true,
        },
    })
}

/// Makes the length headers say what will follow; returns the body when it is not the backend's own.
fn reframe(
    parts: &mut response::Parts,
    method: &Method,
    made: Option<Bytes>,
    framing: &Framing,
) -> Option<Bytes> {
    let status = parts.status;
    if status == StatusCode::NO_CONTENT || status.is_informational() {
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.remove(TRANSFER_ENCODING);
        return Some(Bytes::new());
    }
    if method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        return Some(Bytes::new());
    }
    if made.is_none() && framing.is_done() {
        // No body came (the backend's status had none, say), and the client expects one now.
        parts.headers.remove(TRANSFER_ENCODING);
        parts.headers.insert(CONTENT_LENGTH, 0.into());
        return Some(Bytes::new());
    }
    made
}
