//! An answer's head.

use std::mem::MaybeUninit;
use std::ops::Range;

use httparse::{Response, Status};

use super::scan::{self, Facts};
use super::{Framing, MAX_HEAD, MAX_HEADERS, Refused};

/// The question, as far as the answer's body depends on it (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Head,
    Connect,
    Other,
}

impl Asked {
    /// By the method's name.
    pub fn of(method: &[u8]) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// What the relay needs to know of an answer's head. Ranges count from the head's first byte.
#[derive(Debug)]
pub struct ResponseHead {
    /// Bytes, the last empty line included.
    pub len: usize,
    pub status: u16,
    /// HTTP/1.0.
    pub old: bool,
    pub framing: Framing,
    /// The server will answer nothing more on this connection.
    pub close: bool,
    /// text/event-stream.
    pub event_stream: bool,
    /// Lines that are not for the client, in their order, apart from each other.
    pub hop: Vec<Range<usize>>,
}

impl ResponseHead {
    /// Reads the head at the beginning of `bytes`; `None` when there is not yet all of it.
    pub fn parse(bytes: &[u8], asked: Asked) -> Result<Option<Self>, Refused> {
        let mut space = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = Response::new(&mut []);
        if matches!(bytes.first(), Some(b'\r' | b'\n')) {
            return Err(Refused::Malformed("an empty line in an answer's place"));
        }
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            &mut space,
        );
        let len = match parsed {
            Ok(Status::Complete(len)) if len <= MAX_HEAD => len,
            Ok(Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(_) => return Err(Refused::TooLarge),
            Err(error) => return Err(scan::refused(error)),
        };
        let facts = Facts::of(&bytes[..len], response.headers)?;
        let status = response.code.filter(|code| *code >= 100);
        let status = status.ok_or(Refused::Malformed("the status line is malformed"))?;
        let old = response.version == Some(0);
        if old && facts.chunked {
            return Err(Refused::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        let bodiless = asked == Asked::Head
            || matches!(status, 100..=199 | 204 | 304)
            || (asked == Asked::Connect && (200..300).contains(&status));
        let framing = if bodiless {
            Framing::EMPTY
        } else {
            facts.framing().unwrap_or(Framing::UntilClose)
        };
        Ok(Some(Self {
            len,
            status,
            old,
            framing,
            // HTTP/1.0 may be asked to stay, but this relay does not ask.
            close: facts.close || old,
            event_stream: facts.event_stream,
            // Whoever switches protocols says to which.
            hop: if status == 101 { Vec::new() } else { facts.hop },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(text: &str, asked: Asked) -> Framing {
        ResponseHead::parse(text.as_bytes(), asked)
            .unwrap()
            .unwrap()
            .framing
    }

    #[test]
    fn a_body_depends_on_the_question_and_the_status() {
        let five = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(framing(five, Asked::Other), Framing::Length(5));
        assert_eq!(framing(five, Asked::Head), Framing::EMPTY);
        assert_eq!(framing(five, Asked::Connect), Framing::EMPTY);
        for status in [100, 204, 304] {
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
            assert_eq!(framing(&text, Asked::Other), Framing::EMPTY, "{status}");
        }
        assert_eq!(framing("HTTP/1.1 200\r\n\r\n", Asked::Other), Framing::UntilClose);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert!(matches!(framing(chunked, Asked::Other), Framing::Chunked(_)));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(
                ResponseHead::parse(bad.as_bytes(), Asked::Other).is_err(),
                "{bad:?}"
            );
        }
    }
}
