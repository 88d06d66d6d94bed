//! One message on its way from one connection to the other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::buffer::Buffer;
use crate::http1::{Framing, Refused};

/// Why a message did not get through.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("its sender closed or failed: {0}")]
    Sender(io::Error),
    #[error("its receiver closed or failed: {0}")]
    Receiver(io::Error),
    #[error("{0}")]
    Malformed(Refused),
}

/// How far a message has got. Its bytes stand at the front of its sender's buffer.
#[derive(Debug)]
pub(super) struct Flow {
    /// Goes first: what was made in place of what came.
    made: Bytes,
    /// Bytes in the buffer that belong to the message.
    known: usize,
    /// Of these, how many have been sent.
    sent: usize,
    rest: Framing,
    /// The bytes stay in the buffer when sent, to be sent again.
    keep: bool,
    /// The sender's bytes are read and thrown away.
    discard: bool,
}

impl Flow {
    /// A message whose head is the buffer's first `head` bytes.
    pub fn new(head: usize, body: Framing) -> Self {
        Self {
            made: Bytes::new(),
            known: head,
            sent: 0,
            rest: body,
            keep: false,
            discard: false,
        }
    }

    /// `made` in place of the head, which is consumed already; then the body as it comes.
    pub fn with_head(made: Bytes, body: Framing) -> Self {
        Self {
            made,
            ..Self::new(0, body)
        }
    }

    /// `made` in place of the whole message, whose body is read and thrown away.
    pub fn in_place(made: Bytes, body: Framing) -> Self {
        Self {
            discard: true,
            ..Self::with_head(made, body)
        }
    }

    /// A message without a body: as long as nobody says [`Self::release`], it can be sent again.
    pub fn kept(head: usize) -> Self {
        Self {
            keep: true,
            ..Self::new(head, Framing::EMPTY)
        }
    }

    /// Whether nothing of the message has been sent.
    pub fn is_untouched(&self) -> bool {
        self.keep && self.sent == 0
    }

    /// Whether it could be sent again from its beginning.
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    pub fn rewind(&mut self) {
        if self.keep {
            self.sent = 0;
        }
    }

    /// What was kept is no longer needed.
    pub fn release(&mut self, buffer: &mut Buffer) {
        if std::mem::take(&mut self.keep) {
            buffer.consume(self.sent);
            self.known -= self.sent;
            self.sent = 0;
        }
    }

    /// Forgets a message that goes nowhere. Whether all of it has come, so that what follows is another one.
    pub fn abandon(mut self, buffer: &mut Buffer) -> bool {
        buffer.consume(self.known);
        match self.rest.advance(buffer.bytes()) {
            Ok(used) => {
                buffer.consume(used);
                self.rest.is_done()
            }
            Err(_) => false,
        }
    }

    pub fn is_done(&self) -> bool {
        self.made.is_empty() && self.sent == self.known && self.rest.is_done()
    }

    /// Moves what can be moved; ready when all of it has been.
    pub fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
        from: &mut R,
        to: &mut W,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.made.is_empty() {
                let count =
                    ready!(Pin::new(&mut *to).poll_write(cx, &self.made)).map_err(Broken::Receiver)?;
                self.made.advance(count);
            }
            if !self.rest.is_done() && buffer.len() > self.known {
                let known = self.known;
                self.known += self
                    .rest
                    .advance(&buffer.bytes()[known..])
                    .map_err(Broken::Malformed)?;
            }
            if self.discard {
                buffer.consume(self.known);
                self.known = 0;
            }
            if self.sent < self.known {
                let bytes = &buffer.bytes()[self.sent..self.known];
                let count = ready!(Pin::new(&mut *to).poll_write(cx, bytes)).map_err(Broken::Receiver)?;
                if self.keep {
                    self.sent += count;
                } else {
                    buffer.consume(count);
                    self.known -= count;
                }
                continue;
            }
            if self.rest.is_done() {
                return Poll::Ready(Ok(()));
            }
            match buffer.poll_fill(cx, from) {
                Poll::Ready(Ok(0)) if self.rest == Framing::UntilClose => {
                    self.rest = Framing::EMPTY;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Broken::Sender(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Sender(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
