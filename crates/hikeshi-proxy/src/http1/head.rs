//! A request's head.

use std::mem::MaybeUninit;
use std::ops::Range;

use httparse::{Request, Status};

use super::scan::{self, Facts};
use super::{Framing, MAX_HEAD, MAX_HEADERS, Refused};

/// What the relay needs to know of a request's head. Ranges count from the head's first byte.
#[derive(Debug)]
pub struct RequestHead {
    /// Bytes, the last empty line included.
    pub len: usize,
    pub method: Range<usize>,
    pub target: Range<usize>,
    /// The method is HEAD.
    pub is_head: bool,
    /// HTTP/1.0.
    pub old: bool,
    pub framing: Framing,
    pub expects_continue: bool,
    /// The client will send nothing more on this connection.
    pub close: bool,
    /// It asks to speak something else than HTTP (not h2c: a server may ignore that, and this one does).
    pub upgrade: bool,
    /// Lines that are not for the next hop, in their order, apart from each other.
    pub hop: Vec<Range<usize>>,
}

/// The bytes of an empty line before a request, which some clients send after a body; they are not forwarded.
pub fn leading(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") { 2 } else { 0 }
}

impl RequestHead {
    /// Reads the head at the beginning of `bytes`; `None` when there is not yet all of it.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Refused> {
        let mut space = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut request = Request::new(&mut []);
        if matches!(bytes.first(), Some(b'\r' | b'\n')) {
            return Err(Refused::Malformed("an empty line in a request's place"));
        }
        let len = match request.parse_with_uninit_headers(bytes, &mut space) {
            Ok(Status::Complete(len)) if len <= MAX_HEAD => len,
            Ok(Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(_) => return Err(Refused::TooLarge),
            Err(error) => return Err(scan::refused(error)),
        };
        let (Some(method), Some(target)) = (request.method, request.path) else {
            return Err(Refused::Malformed("the request line is malformed"));
        };
        let head = &bytes[..len];
        let facts = Facts::of(head, request.headers)?;
        let old = request.version == Some(0);
        if old && facts.chunked {
            return Err(Refused::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        if facts.hosts > 1 {
            return Err(Refused::Malformed("more than one Host"));
        }
        let upgrade = facts.upgrade && !facts.h2c;
        Ok(Some(Self {
            len,
            method: scan::place(head, method.as_bytes()),
            target: scan::place(head, target.as_bytes()),
            is_head: method == "HEAD",
            old,
            framing: facts.framing().unwrap_or(Framing::EMPTY),
            expects_continue: facts.expects_continue,
            close: facts.close || old,
            upgrade,
            // Who is asked to speak something else is asked for it by the next hop's own line.
            hop: if upgrade { Vec::new() } else { facts.hop },
        }))
    }
}

/// The header lines of a head that has been accepted, names as they were written.
pub fn lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// The value of the first header with this name.
pub fn header<'a>(head: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    headers(head, wanted).next()
}

/// Every value of a header.
pub fn headers<'a>(head: &'a [u8], wanted: &str) -> impl Iterator<Item = &'a [u8]> {
    let found = lines(head).filter(move |(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
    found.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<RequestHead>, Refused> {
        RequestHead::parse(text.as_bytes())
    }

    #[test]
    fn a_head_says_what_its_connection_and_body_are() {
        let text = "POST /a?b HTTP/1.1\r\nHost: x\r\nConnection: close, X-Own\r\nx-own: 1\r\n\
                    Content-Length: 12\r\nExpect: 100-Continue\r\n\r\nbody";
        let head = parse(text).unwrap().unwrap();
        assert_eq!(
            (&text[head.method.clone()], &text[head.target.clone()]),
            ("POST", "/a?b")
        );
        assert_eq!(head.len, text.len() - 4);
        assert_eq!(head.framing, Framing::Length(12));
        assert!(head.close && head.expects_continue && !head.upgrade && !head.old);
        let hop: Vec<_> = head.hop.iter().map(|line| &text[line.clone()]).collect();
        assert_eq!(hop, ["Connection: close, X-Own\r\n", "x-own: 1\r\n"]);
        assert_eq!(header(text.as_bytes(), "HOST"), Some(&b"x"[..]));
    }

    #[test]
    fn an_upgrade_goes_on_to_the_next_hop_and_h2c_does_not() {
        let websocket = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let head = parse(websocket).unwrap().unwrap();
        assert!(head.upgrade && head.hop.is_empty());
        let h2c = "GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n";
        let head = parse(h2c).unwrap().unwrap();
        assert!(!head.upgrade);
        assert_eq!(head.hop.len(), 3);
    }

    #[test]
    fn every_prefix_of_a_head_is_incomplete() {
        let text = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for end in 1..text.len() {
            assert!(parse(&text[..end]).unwrap().is_none(), "{:?}", &text[..end]);
        }
        assert!(parse(text).unwrap().is_some());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length: -1",
            "Content-Length: 0x1",
            "Content-Length: ",
            "Content-Length: 1 1",
            "Content-Length: 18446744073709551616",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: \u{b}chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding : chunked",
            "Content-Length : 1",
            "X: a\r\n folded",
            "X: a\r\n\tfolded",
            " X: a",
            "X: a\nY: b",
            "X: a\rY: b",
            "X: a\0b",
            "X\0: a",
            "X",
            ": a",
            "Host: a\r\nHost: b",
        ] {
            let text = format!("POST / HTTP/1.1\r\n{bad}\r\n\r\n");
            assert!(parse(&text).is_err(), "{bad:?}");
        }
        for bad in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\n\n",
            "GET / HTTP/1.1\n\n",
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.10\r\n\r\n",
            "G(T / HTTP/1.1\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_head_has_its_bounds() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(parse(&many).unwrap_err(), Refused::TooLarge);
        let long = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(MAX_HEAD));
        assert_eq!(parse(&long).unwrap_err(), Refused::TooLarge);
    }
}
