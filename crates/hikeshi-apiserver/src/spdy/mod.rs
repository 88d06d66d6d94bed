//! SPDY/3.1 framing, as far as `kubectl port-forward` speaks it inside its websocket. Pure: bytes in, frames out.
//!
//! Format: SPDY protocol draft 3.1, section 2. A control frame is `1 | version:15 | type:16 | flags:8 | length:24`, a data
//! frame `0 | stream:31 | flags:8 | length:24`, all big endian. Header blocks of one direction share one zlib stream.

mod headers;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub(crate) use headers::HeaderList;
use headers::{Deflater, Inflater};

/// Longer frames are refused: kubectl sends at most 32 KiB in one.
const MAX_FRAME: usize = 4 << 20;
const VERSION: u16 = 3;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// RST_STREAM: the stream broke a rule.
pub(crate) const PROTOCOL_ERROR: u32 = 1;
/// RST_STREAM: the stream is not (or no longer) open.
pub(crate) const INVALID_STREAM: u32 = 2;
/// RST_STREAM: the stream was turned down before anything was done for it.
pub(crate) const REFUSED_STREAM: u32 = 3;

/// One frame. `fin` closes the sender's half of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    SynStream {
        stream: u32,
        fin: bool,
        headers: HeaderList,
    },
    SynReply {
        stream: u32,
        fin: bool,
        headers: HeaderList,
    },
    RstStream {
        stream: u32,
        status: u32,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last_stream: u32,
        status: u32,
    },
    Headers {
        stream: u32,
        fin: bool,
        headers: HeaderList,
    },
    WindowUpdate {
        stream: u32,
        delta: u32,
    },
    Data {
        stream: u32,
        fin: bool,
        data: Bytes,
    },
    /// A control frame of a type that asks nothing of us (SETTINGS and extensions).
    Other {
        kind: u16,
    },
}

/// Why the bytes are no SPDY. The connection cannot go on: header blocks depend on one another.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SpdyError {
    #[error("SPDY version {0} is not spoken here, only 3")]
    Version(u16),
    #[error("a SPDY frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("a SPDY frame of type {0} is cut short")]
    Short(u16),
    #[error("a SPDY header block is damaged")]
    Headers,
}

/// Takes frames out of a byte stream that arrives in any pieces.
pub(crate) struct Decoder {
    buffer: BytesMut,
    inflater: Inflater,
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder {
            buffer: BytesMut::new(),
            inflater: Inflater::new(),
        }
    }

    /// Adds what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until more bytes arrive.
    pub fn next(&mut self) -> Result<Option<Frame>, SpdyError> {
        let Some(head) = self.buffer.first_chunk::<8>() else {
            return Ok(None);
        };
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if length > MAX_FRAME {
            return Err(SpdyError::TooLong(length));
        }
        if self.buffer.len() < 8 + length {
            return Ok(None);
        }
        self.buffer.advance(8);
        let body = self.buffer.split_to(length).freeze();
        let fin = flags & FIN != 0;
        if first >> 31 == 0 {
            return Ok(Some(Frame::Data {
                stream: first,
                fin,
                data: body,
            }));
        }
        let (version, kind) = (((first >> 16) & 0x7fff) as u16, (first & 0xffff) as u16);
        if version != VERSION {
            return Err(SpdyError::Version(version));
        }
        self.control(kind, fin, body).map(Some)
    }

    fn control(&mut self, kind: u16, fin: bool, mut body: Bytes) -> Result<Frame, SpdyError> {
        let needed = match kind {
            SYN_STREAM => 10,
            RST_STREAM | GOAWAY | WINDOW_UPDATE => 8,
            SYN_REPLY | PING | HEADERS => 4,
            _ => return Ok(Frame::Other { kind }),
        };
        if body.len() < needed {
            return Err(SpdyError::Short(kind));
        }
        let first = body.get_u32();
        let stream = first & 0x7fff_ffff;
        Ok(match kind {
            SYN_STREAM => {
                // The associated stream, the priority and the credential slot say nothing to us.
                body.advance(6);
                let headers = self.inflater.read(&body)?;
                Frame::SynStream { stream, fin, headers }
            }
            SYN_REPLY => {
                let headers = self.inflater.read(&body)?;
                Frame::SynReply { stream, fin, headers }
            }
            HEADERS => {
                let headers = self.inflater.read(&body)?;
                Frame::Headers { stream, fin, headers }
            }
            RST_STREAM => Frame::RstStream {
                stream,
                status: body.get_u32(),
            },
            GOAWAY => Frame::GoAway {
                last_stream: stream,
                status: body.get_u32(),
            },
            WINDOW_UPDATE => Frame::WindowUpdate {
                stream,
                delta: body.get_u32() & 0x7fff_ffff,
            },
            _ => Frame::Ping { id: first },
        })
    }
}

/// Writes frames. One per connection: header blocks depend on those before.
pub(crate) struct Encoder {
    deflater: Deflater,
}

impl Encoder {
    pub fn new() -> Encoder {
        Encoder {
            deflater: Deflater::new(),
        }
    }

    /// The frame's bytes. `Other` has none: we send no such frame.
    pub fn encode(&mut self, frame: &Frame) -> Result<Bytes, SpdyError> {
        let mut body = BytesMut::new();
        let (kind, fin) = match frame {
            Frame::Data { stream, fin, data } => {
                let mut out = BytesMut::with_capacity(8 + data.len());
                out.put_u32(stream & 0x7fff_ffff);
                put_length(&mut out, *fin, data.len())?;
                out.put_slice(data);
                return Ok(out.freeze());
            }
            Frame::SynStream { stream, fin, headers } => {
                body.put_u32(*stream);
                body.put_slice(&[0; 6]);
                body.put_slice(&self.deflater.write(headers)?);
                (SYN_STREAM, *fin)
            }
            Frame::SynReply { stream, fin, headers } => {
                body.put_u32(*stream);
                body.put_slice(&self.deflater.write(headers)?);
                (SYN_REPLY, *fin)
            }
            Frame::Headers { stream, fin, headers } => {
                body.put_u32(*stream);
                body.put_slice(&self.deflater.write(headers)?);
                (HEADERS, *fin)
            }
            Frame::RstStream { stream, status } => {
                body.put_u32(*stream);
                body.put_u32(*status);
                (RST_STREAM, false)
            }
            Frame::Ping { id } => {
                body.put_u32(*id);
                (PING, false)
            }
            Frame::GoAway { last_stream, status } => {
                body.put_u32(*last_stream);
                body.put_u32(*status);
                (GOAWAY, false)
            }
            Frame::WindowUpdate { stream, delta } => {
                body.put_u32(*stream);
                body.put_u32(*delta);
                (WINDOW_UPDATE, false)
            }
            Frame::Other { .. } => return Ok(Bytes::new()),
        };
        let mut out = BytesMut::with_capacity(8 + body.len());
        out.put_u16(0x8000 | VERSION);
        out.put_u16(kind);
        put_length(&mut out, fin, body.len())?;
        out.put_slice(&body);
        Ok(out.freeze())
    }
}

fn put_length(out: &mut BytesMut, fin: bool, length: usize) -> Result<(), SpdyError> {
    if length > MAX_FRAME {
        return Err(SpdyError::TooLong(length));
    }
    out.put_u8(if fin { FIN } else { 0 });
    out.put_slice(&(length as u32).to_be_bytes()[1..]);
    Ok(())
}

#[cfg(test)]
mod tests;
