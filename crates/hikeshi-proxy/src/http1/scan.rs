//! What both kinds of heads have in common: lines that end properly, lengths that agree, and what is about one hop only.

use std::ops::Range;

use httparse::Header;

use super::{Chunked, Framing, Refused};

/// What the header lines say about the message and its connection.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub length: Option<u64>,
    pub chunked: bool,
    pub hosts: usize,
    pub expects_continue: bool,
    pub event_stream: bool,
    /// Connection: close.
    pub close: bool,
    /// Connection: upgrade, with an Upgrade header.
    pub upgrade: bool,
    /// The Upgrade header names h2c.
    pub h2c: bool,
    /// Lines about this hop only, in their order.
    pub hop: Vec<Range<usize>>,
}

impl Facts {
    /// `head` is the whole block, from the first line to the empty one.
    pub fn of(head: &[u8], headers: &[Header<'_>]) -> Result<Self, Refused> {
        let ends = |at: usize| matches!(head.get(..at), Some([.., b'\r', b'\n']));
        // httparse takes a bare LF for a line's end; another reader may not.
        let ragged = Refused::Malformed("a line of the head does not end in CR LF");
        if !ends(head.len()) || !ends(head.len() - 2) {
            return Err(ragged);
        }
        let (mut facts, mut connection, mut upgrade) = (Self::default(), false, false);
        for (n, header) in headers.iter().enumerate() {
            let name = header.name;
            if !ends(place(head, name.as_bytes()).start) {
                return Err(ragged);
            }
            match name.len() {
                4 if is(name, "host") => facts.hosts += 1,
                6 if is(name, "expect") => {
                    facts.expects_continue |= header.value.eq_ignore_ascii_case(b"100-continue");
                }
                7 if is(name, "upgrade") => {
                    upgrade = true;
                    facts.h2c |= words(header.value).any(|word| word.eq_ignore_ascii_case(b"h2c"));
                    facts.hop.push(line(head, headers, n));
                }
                10 if is(name, "connection") => {
                    // What nearly all say needs no second reading.
                    if header.value.eq_ignore_ascii_case(b"close") {
                        facts.close = true;
                    } else if !header.value.eq_ignore_ascii_case(b"keep-alive") {
                        connection = true;
                    }
                    facts.hop.push(line(head, headers, n));
                }
                10 if is(name, "keep-alive") => facts.hop.push(line(head, headers, n)),
                12 if is(name, "content-type") => {
                    let stream = b"text/event-stream";
                    facts.event_stream |= header
                        .value
                        .get(..stream.len())
                        .is_some_and(|kind| kind.eq_ignore_ascii_case(stream));
                }
                14 if is(name, "content-length") => {
                    // Two of them are refused even when they agree: somebody put the second one there.
                    if facts.length.is_some() {
                        return Err(Refused::Malformed("more than one Content-Length"));
                    }
                    facts.length = Some(length(header.value)?);
                }
                16 if is(name, "proxy-connection") => facts.hop.push(line(head, headers, n)),
                17 if is(name, "transfer-encoding") => {
                    if facts.chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Refused::Malformed("a Transfer-Encoding other than chunked"));
                    }
                    facts.chunked = true;
                }
                _ => {}
            }
        }
        if connection {
            facts.read_connection(head, headers, upgrade);
        }
        if facts.chunked && facts.length.is_some() {
            return Err(Refused::Malformed("both Content-Length and Transfer-Encoding"));
        }
        Ok(facts)
    }

    /// What the Connection header says, and the lines it names.
    fn read_connection(&mut self, head: &[u8], headers: &[Header<'_>], upgrade: bool) {
        let connection = headers.iter().filter(|header| is(header.name, "connection"));
        let mut named = false;
        for word in connection.flat_map(|header| words(header.value)) {
            if word.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if word.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = upgrade;
            } else if !word.eq_ignore_ascii_case(b"keep-alive") {
                for (n, header) in headers.iter().enumerate() {
                    // What frames the message is not for a hop to name: it stays.
                    let frames = is(header.name, "content-length") || is(header.name, "transfer-encoding");
                    if header.name.as_bytes().eq_ignore_ascii_case(word) && !frames {
                        self.hop.push(line(head, headers, n));
                        named = true;
                    }
                }
            }
        }
        if named {
            self.hop.sort_by_key(|line| line.start);
            self.hop.dedup();
        }
    }

    /// The body that the length headers announce; `None` without any.
    pub fn framing(&self) -> Option<Framing> {
        if self.chunked {
            return Some(Framing::Chunked(Chunked::default()));
        }
        self.length.map(Framing::Length)
    }
}

pub(super) fn is(name: &str, wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

/// Where `part` stands in `whole`, which it must be a part of.
pub(super) fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty())
}

/// The whole line of header `n`, its CR LF included.
fn line(head: &[u8], headers: &[Header<'_>], n: usize) -> Range<usize> {
    let start = |header: &Header<'_>| place(head, header.name.as_bytes()).start;
    let end = headers.get(n + 1).map_or(head.len() - 2, start);
    start(&headers[n])..end
}

fn length(value: &[u8]) -> Result<u64, Refused> {
    let more = |length: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    };
    let length = match value {
        [] => None,
        digits => digits.iter().try_fold(0, more),
    };
    length.ok_or(Refused::Malformed("a Content-Length that is no number"))
}

/// httparse's error as a reason.
pub(super) fn refused(error: httparse::Error) -> Refused {
    match error {
        httparse::Error::TooManyHeaders => Refused::TooLarge,
        httparse::Error::HeaderName => Refused::Malformed("a header's name is not followed by a colon"),
        httparse::Error::HeaderValue => Refused::Malformed("a header's value holds a control byte"),
        httparse::Error::NewLine => Refused::Malformed("a line of the head does not end in CR LF"),
        httparse::Error::Status => Refused::Malformed("the status line is malformed"),
        httparse::Error::Token => Refused::Malformed("the request line is malformed"),
        httparse::Error::Version => Refused::Malformed("neither HTTP/1.0 nor HTTP/1.1"),
    }
}
