//! A request and its answer, both on their way at once.

use std::io;
use std::task::{Context, Poll, ready};

use super::account::Account;
use super::client::{Client, poll_left};
use super::flow::{Broken, Flow};
use super::upstream::Connection;
use crate::http1::response::Asked;
use crate::http1::{Refused, ResponseHead};
use crate::socket::Direct;

/// Why there is no answer, or no whole one.
#[derive(Debug)]
pub(super) enum Failure {
    ClientLeft,
    BadRequest(Refused),
    /// The backend closed or failed before it answered.
    NoAnswer(io::Error),
    BadAnswer(Refused),
}

pub(super) struct Pump<'a> {
    pub client: &'a mut Client,
    pub upstream: &'a mut Connection,
    pub request: Flow,
    /// The backend took no more of the request. It may have answered all the same.
    cut: Option<io::Error>,
    asked: Asked,
}

impl<'a> Pump<'a> {
    pub fn new(client: &'a mut Client, upstream: &'a mut Connection, request: Flow, asked: Asked) -> Self {
        Self {
            client,
            upstream,
            request,
            cut: None,
            asked,
        }
    }

    /// Whether all of the request has been sent.
    pub fn is_sent(&self) -> bool {
        self.cut.is_none() && self.request.is_done()
    }

    /// Sends on; ready when there is nothing more to send.
    pub fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.cut.is_some() || self.request.is_done() {
            return Poll::Ready(Ok(()));
        }
        let client = &mut *self.client;
        let sent = self.request.poll(
            cx,
            &mut client.buffer,
            &mut Direct(&client.stream),
            &mut self.upstream.wire,
            || {},
        );
        match ready!(sent) {
            Ok(()) => {}
            Err(Broken::Receiver(error)) => self.cut = Some(error),
            Err(Broken::Sender(_)) => return Poll::Ready(Err(Failure::ClientLeft)),
            Err(Broken::Malformed(refused)) => return Poll::Ready(Err(Failure::BadRequest(refused))),
        }
        Poll::Ready(Ok(()))
    }

    /// As [`Self::poll_request`], but never ready for a good reason: watches whether anybody still waits.
    pub fn poll_alive(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if let Poll::Ready(sent) = self.poll_request(cx) {
            sent?;
            if poll_left(&self.client.stream, cx).is_ready() {
                return Err(Failure::ClientLeft);
            }
        }
        Ok(())
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        if let Poll::Ready(sent) = self.poll_request(cx) {
            sent?;
        }
        loop {
            if !self.upstream.buffer.is_empty() {
                match ResponseHead::parse(self.upstream.buffer.bytes(), self.asked) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(refused) => return Poll::Ready(Err(Failure::BadAnswer(refused))),
                }
            }
            let upstream = &mut *self.upstream;
            let failed = match upstream.buffer.poll_fill(cx, &mut upstream.wire) {
                Poll::Ready(Ok(0)) => io::ErrorKind::UnexpectedEof.into(),
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(error)) => error,
                Poll::Pending if upstream.poll_gone(cx).is_ready() => io::ErrorKind::ConnectionReset.into(),
                Poll::Pending => {
                    // Only who has to wait looks whether anybody else still does.
                    self.poll_alive(cx)?;
                    return Poll::Pending;
                }
            };
            return Poll::Ready(Err(Failure::NoAnswer(self.cut.take().unwrap_or(failed))));
        }
    }

    /// The next answer's head, interim ones included.
    pub async fn head(&mut self) -> Result<ResponseHead, Failure> {
        std::future::poll_fn(|cx| self.poll_head(cx)).await
    }

    /// Whether a failure before the answer means that the request was for a connection that was closing just then, so that
    /// another one may have it: nothing of it has gone, or sending it twice is as good as once.
    pub fn may_repeat(&self, repeatable: bool) -> bool {
        self.upstream.used
            && self.upstream.buffer.is_empty()
            && (self.request.is_untouched() || (self.request.is_kept() && repeatable))
    }

    /// Carries the answer to its end. It is counted before the client can have seen the last of it.
    pub async fn carry(&mut self, mut response: Flow, account: &mut Account) -> Result<(), Broken> {
        std::future::poll_fn(|cx| {
            let (client, upstream) = (&mut *self.client, &mut *self.upstream);
            let carried = response.poll(
                cx,
                &mut upstream.buffer,
                &mut upstream.wire,
                &mut Direct(&client.stream),
                || account.count(),
            );
            if carried.is_ready() {
                return carried;
            }
            if upstream.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Broken::Sender(io::ErrorKind::ConnectionReset.into())));
            }
            match self.poll_alive(cx) {
                Ok(()) => Poll::Pending,
                Err(Failure::BadRequest(refused)) => Poll::Ready(Err(Broken::Malformed(refused))),
                Err(_) => Poll::Ready(Err(Broken::Receiver(io::ErrorKind::ConnectionAborted.into()))),
            }
        })
        .await
    }
}
