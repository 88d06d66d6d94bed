//! A message's content as a body, for the faults that read it.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;

use super::buffer::Buffer;
use super::pump::Pump;
use crate::http1::Framing;
use crate::socket::Direct;

/// A request's, read from its client. Who waits to be asked for it is asked.
pub(super) struct RequestContent<'a> {
    pub buffer: &'a mut Buffer,
    pub stream: &'a TcpStream,
    pub framing: &'a mut Framing,
    /// What is still to be said to the client first.
    pub invitation: &'static [u8],
}

impl Body for RequestContent<'_> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        loop {
            if let Some(data) = take(this.buffer, this.framing)? {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if this.framing.is_done() {
                return Poll::Ready(None);
            }
            while !this.invitation.is_empty() {
                match this.stream.try_write(this.invitation) {
                    Ok(count) => this.invitation = &this.invitation[count..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(this.stream.poll_write_ready(cx))?;
                    }
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            if ready!(this.buffer.poll_fill(cx, &mut Direct(this.stream)))? == 0 {
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.framing.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        size_hint(self.framing)
    }
}

/// An answer's, read from its backend; the rest of the request goes on meanwhile.
pub(super) struct ResponseContent<'a, 'b> {
    pub pump: &'a Mutex<&'a mut Pump<'b>>,
    pub framing: &'a mut Framing,
}

impl Body for ResponseContent<'_, '_> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let mut pump = this.pump.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if pump.poll_alive(cx).is_err() {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
            }
            let upstream = &mut *pump.upstream;
            if let Some(data) = take(&mut upstream.buffer, this.framing)? {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if this.framing.is_done() {
                return Poll::Ready(None);
            }
            if ready!(upstream.buffer.poll_fill(cx, &mut upstream.wire))? == 0 {
                if *this.framing == Framing::UntilClose {
                    *this.framing = Framing::EMPTY;
                    return Poll::Ready(None);
                }
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.framing.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        size_hint(self.framing)
    }
}

fn size_hint(framing: &Framing) -> SizeHint {
    match framing {
        Framing::Length(left) => SizeHint::with_exact(*left),
        _ => SizeHint::default(),
    }
}

/// The content that has come.
fn take(buffer: &mut Buffer, framing: &mut Framing) -> io::Result<Option<Bytes>> {
    if framing.is_done() || buffer.is_empty() {
        return Ok(None);
    }
    let mut data = Vec::new();
    let used = framing
        .advance_with(buffer.bytes(), |part| data.extend_from_slice(part))
        .map_err(|refused| io::Error::new(io::ErrorKind::InvalidData, refused))?;
    buffer.consume(used);
    Ok((!data.is_empty()).then(|| data.into()))
}
