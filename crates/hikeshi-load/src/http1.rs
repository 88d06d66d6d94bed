//! Answers of an HTTP/1.1 server, out of bytes as they come. Pure: bytes in, answers out.

use std::ops::Range;

/// Heads with more lines than this are refused.
const MOST_LINES: usize = 64;
/// Nobody's answer is longer: what claims to be would only fill our memory.
const LONGEST: usize = 16 << 20;

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not all there yet.
    Partial,
    /// A whole answer.
    Whole {
        status: u16,
        /// Where in the buffer its body stands (chunks are moved together).
        body: Range<usize>,
        /// How many bytes of the buffer it took.
        taken: usize,
        /// Whether the connection can be used again.
        keep: bool,
    },
    /// Not HTTP/1.1, or more than anyone would send.
    Malformed,
}

/// What is known of the answer that is coming in.
#[derive(Debug, Default)]
pub struct Reader {
    head: Option<Head>,
}

#[derive(Debug)]
struct Head {
    status: u16,
    keep: bool,
    length: usize,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Length(usize),
    /// Up to the connection's end.
    Rest,
    Chunked {
        /// Bytes of the body moved together behind the head.
        together: usize,
        /// Where the next chunk's head begins.
        next: usize,
    },
}

impl Reader {
    /// Reads on. `buffer` holds all bytes since the last whole answer, `ended` says that no more will come.
    pub fn read(&mut self, buffer: &mut [u8], ended: bool) -> Answer {
        if buffer.len() > LONGEST {
            return Answer::Malformed;
        }
        let head = match &mut self.head {
            Some(head) => head,
            none => match head(buffer) {
                Ok(Some(head)) => none.insert(head),
                Ok(None) => return Answer::Partial,
                Err(()) => return Answer::Malformed,
            },
        };
        let (body, taken) = match &mut head.body {
            Body::Length(length) => match head.length.checked_add(*length) {
                Some(end) if end <= LONGEST => {
                    if buffer.len() < end {
                        return Answer::Partial;
                    }
                    (head.length..end, end)
                }
                _ => return Answer::Malformed,
            },
            Body::Rest if ended => (head.length..buffer.len(), buffer.len()),
            Body::Rest => return Answer::Partial,
            Body::Chunked { together, next } => match chunks(buffer, head.length, together, next) {
                Ok(Some(taken)) => (head.length..head.length + *together, taken),
                Ok(None) => return Answer::Partial,
                Err(()) => return Answer::Malformed,
            },
        };
        let whole = Answer::Whole {
            status: head.status,
            body,
            taken,
            keep: head.keep && !ended,
        };
        self.head = None;
        whole
    }
}

fn head(buffer: &[u8]) -> Result<Option<Head>, ()> {
    let mut skipped = 0;
    loop {
        let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
        let mut response = httparse::Response::new(&mut lines);
        let length = match response.parse(&buffer[skipped..]) {
            Ok(httparse::Status::Complete(length)) => skipped + length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(()),
        };
        let status = response.code.ok_or(())?;
        // What comes before the answer itself, such as 103 Early Hints. Nobody asked to switch protocols.
        if status == 101 {
            return Err(());
        }
        if (100..200).contains(&status) {
            skipped = length;
            continue;
        }
        let mut keep = response.version == Some(1);
        let mut body = Body::Rest;
        for line in response.headers.iter() {
            if line.name.eq_ignore_ascii_case("content-length") {
                let text = str::from_utf8(line.value).map_err(|_| ())?;
                if matches!(body, Body::Rest) {
                    body = Body::Length(text.trim().parse().map_err(|_| ())?);
                }
            } else if line.name.eq_ignore_ascii_case("transfer-encoding") {
                if !has_word(line.value, b"chunked") {
                    return Err(());
                }
                body = Body::Chunked {
                    together: 0,
                    next: length,
                };
            } else if line.name.eq_ignore_ascii_case("connection") {
                if has_word(line.value, b"close") {
                    keep = false;
                } else if has_word(line.value, b"keep-alive") {
                    keep = true;
                }
            }
        }
        if matches!(status, 204 | 304) {
            body = Body::Length(0);
        }
        keep &= !matches!(body, Body::Rest);
        return Ok(Some(Head {
            status,
            keep,
            length,
            body,
        }));
    }
}

/// Whether a list of words has this one.
fn has_word(value: &[u8], word: &[u8]) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
}

/// Moves whole chunks together behind the head; at the last one, says how many bytes the answer took.
fn chunks(
    buffer: &mut [u8],
    head: usize,
    together: &mut usize,
    next: &mut usize,
) -> Result<Option<usize>, ()> {
    loop {
        let at = *next;
        let (begins, size) = match httparse::parse_chunk_size(&buffer[at..]) {
            Ok(httparse::Status::Complete((taken, size))) => (at + taken, size),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(()),
        };
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= LONGEST)
            .ok_or(())?;
        if size == 0 {
            return trailer(&buffer[begins..]).map(|length| length.map(|length| begins + length));
        }
        let ends = begins + size;
        if buffer.len() < ends + 2 {
            return Ok(None);
        }
        if &buffer[ends..ends + 2] != b"\r\n" {
            return Err(());
        }
        buffer.copy_within(begins..ends, head + *together);
        *together += size;
        *next = ends + 2;
    }
}

/// The length of what follows the last chunk: lines up to an empty one.
fn trailer(bytes: &[u8]) -> Result<Option<usize>, ()> {
    let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
    match httparse::parse_headers(bytes, &mut lines) {
        Ok(httparse::Status::Complete((length, _))) => Ok(Some(length)),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives the bytes piece by piece; the answer and its body.
    fn read(pieces: &[&[u8]], ended: bool) -> (Answer, Vec<u8>) {
        let (mut buffer, mut reader) = (vec![], Reader::default());
        for (place, piece) in pieces.iter().enumerate() {
            buffer.extend_from_slice(piece);
            let last = place + 1 == pieces.len();
            let answer = reader.read(&mut buffer, ended && last);
            if let Answer::Whole { body, .. } = &answer {
                let body = buffer[body.clone()].to_vec();
                return (answer, body);
            }
            if last || answer == Answer::Malformed {
                return (answer, vec![]);
            }
        }
        (Answer::Partial, vec![])
    }

    const CHUNKED: &[u8] =
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n8;x=y\r\ndefghijk\r\n0\r\nA: b\r\n\r\n";

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_answer_is_the_same(cuts in proptest::collection::vec(0..CHUNKED.len(), 0..6)) {
            let mut cuts = cuts;
            cuts.extend([0, CHUNKED.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &CHUNKED[pair[0]..pair[1]]).collect();
            let (answer, body) = read(&pieces, false);
            prop_assert_eq!(body, b"abcdefghijk");
            let whole = matches!(answer, Answer::Whole { status: 200, taken, keep: true, .. } if taken == CHUNKED.len());
            prop_assert!(whole);
        }

        #[test]
        fn nothing_that_a_server_sends_makes_it_panic(bytes: Vec<u8>, ended: bool) {
            let mut head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            head.extend_from_slice(&bytes);
            Reader::default().read(&mut head, ended);
            Reader::default().read(&mut bytes.clone(), ended);
        }
    }

    #[test]
    fn a_length_says_where_the_body_ends() {
        let (answer, body) = read(
            &[b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{", b"}HTTP"],
            false,
        );
        assert_eq!(body, b"{}");
        assert_eq!(
            answer,
            Answer::Whole {
                status: 201,
                body: 43..45,
                taken: 45,
                keep: true
            }
        );
    }

    #[test]
    fn without_one_it_goes_on_to_the_end_of_the_connection() {
        let text: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nab";
        assert_eq!(read(&[text], false).0, Answer::Partial);
        let (answer, body) = read(&[text], true);
        assert_eq!(body, b"ab");
        assert!(matches!(answer, Answer::Whole { keep: false, .. }));
    }

    #[test]
    fn who_closes_or_speaks_http_1_0_is_not_asked_again() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n", false),
            ("HTTP/1.0 200 OK\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", true),
            ("HTTP/1.1 204 No Content\r\n", true),
        ] {
            let text = format!("{head}Content-Length: 0\r\n\r\n");
            let (answer, _) = read(&[text.as_bytes()], false);
            assert!(
                matches!(answer, Answer::Whole { keep, .. } if keep == expected),
                "{head}: {answer:?}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ] {
            assert_eq!(read(&[text.as_bytes()], false).0, Answer::Malformed, "{text}");
        }
    }
}
