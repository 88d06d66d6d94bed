//! The body of an HTTP/2 answer on its way to the client, with the account that is closed at its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::account::Account;
use super::begun::Begun;

pub(super) struct EdgeBody {
    inner: Inner,
    account: Option<Account>,
}

enum Inner {
    Stream(Begun<Incoming>),
    Full(Full<Bytes>),
}

impl EdgeBody {
    pub fn stream(body: Begun<Incoming>, account: Account) -> Self {
        // hyper does not ask for frames of a body that it knows to be empty.
        let account = (!body.is_end_stream()).then_some(account);
        Self {
            inner: Inner::Stream(body),
            account,
        }
    }

    pub fn full(bytes: Bytes, account: Account) -> Self {
        Self {
            inner: Inner::Full(Full::new(bytes)),
            account: Some(account),
        }
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
            Inner::Stream(body) => ready!(Pin::new(body).poll_frame(cx)),
            Inner::Full(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => Some(Ok(frame)),
                Some(Err(never)) => match never {},
                None => None,
            },
        };
        if frame.is_none() || self.is_end_stream() {
            self.account = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Stream(body) => body.is_end_stream(),
            Inner::Full(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Stream(body) => body.size_hint(),
            Inner::Full(body) => body.size_hint(),
        }
    }
}
