//! The body of an answer on its way to the client, and what must happen when it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::pool::Returns;
use crate::metrics::{CODE_CLIENT_CLOSED, EdgeMetrics};
use crate::routes::InFlight;

/// Counts a request when it is over, whichever way it ends.
pub(super) struct Account {
    metrics: Arc<EdgeMetrics>,
    arrival: Instant,
    code: u16,
    counted: bool,
    _in_flight: Option<InFlight>,
}

impl Account {
    /// Dropped before [`Self::answered`], it counts a client that went away.
    pub fn new(metrics: Arc<EdgeMetrics>, arrival: Instant, in_flight: Option<InFlight>) -> Self {
        Self {
            metrics,
            arrival,
            code: CODE_CLIENT_CLOSED,
            counted: false,
            _in_flight: in_flight,
        }
    }

    pub fn answered(&mut self, code: u16) {
        self.code = code;
    }

    /// Counts now; the end no longer matters.
    pub fn count(&mut self) {
        if !std::mem::replace(&mut self.counted, true) {
            self.metrics.request(self.code, self.arrival.elapsed());
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.count();
    }
}

/// An answer's body with its account; the upstream connection goes back to the pool at the body's end.
pub(crate) struct EdgeBody {
    inner: Inner,
    account: Option<Account>,
}

enum Inner {
    Stream {
        body: Incoming,
        connection: Option<Returns>,
    },
    Full(Full<Bytes>),
}

impl EdgeBody {
    pub(super) fn stream(body: Incoming, connection: Returns, account: Account) -> Self {
        let mut body = Self {
            inner: Inner::Stream {
                body,
                connection: Some(connection),
            },
            account: Some(account),
        };
        // hyper does not ask for frames of a body that it knows to be empty.
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    pub(super) fn full(bytes: Bytes, account: Option<Account>) -> Self {
        Self {
            inner: Inner::Full(Full::new(bytes)),
            account,
        }
    }

    fn finish(&mut self) {
        if let Inner::Stream { connection, .. } = &mut self.inner
            && let Some(connection) = connection.take()
        {
            connection.give_back();
        }
        self.account = None;
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match &mut self.inner {
            Inner::Stream { body, .. } => ready!(Pin::new(body).poll_frame(cx)),
            Inner::Full(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => Some(Ok(frame)),
                Some(Err(never)) => match never {},
                None => None,
            },
        };
        match &frame {
            None => self.finish(),
            Some(Ok(_)) if self.is_end_stream() => self.finish(),
            _ => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Stream { body, .. } => body.is_end_stream(),
            Inner::Full(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Stream { body, .. } => body.size_hint(),
            Inner::Full(body) => body.size_hint(),
        }
    }
}
