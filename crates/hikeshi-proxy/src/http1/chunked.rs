//! Where a chunked body ends (RFC 9112, section 7.1), read as it comes, its bytes left as they are.

use super::Refused;

/// Most bytes of extensions in one body, and most bytes of trailers.
pub const MOST_EXTRA: usize = 16 * 1024;
/// 16 digits are all that fit in 64 bits.
const MOST_DIGITS: u8 = 16;

/// A reader of one chunked body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    state: State,
    /// Of the chunk at hand: what its size line says so far, then what is still to come.
    left: u64,
    digits: u8,
    extra: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    /// White space after the size: an extension must follow.
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer's line, or of the empty line that ends the body.
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::Size,
            left: 0,
            digits: 0,
            extra: 0,
        }
    }
}

impl Chunked {
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on; returns how many of `bytes` belong to the body (all of them, unless it ends among them).
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        self.advance_with(bytes, |_| {})
    }

    /// As [`Self::advance`]; hands on what the chunks hold.
    pub fn advance_with(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, Refused> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let here = (bytes.len() - at).min(usize::try_from(self.left).unwrap_or(usize::MAX));
                data(&bytes[at..at + here]);
                at += here;
                self.left -= here as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    /// `read` as a chunk that makes the bytes still to come a body again: see [`super::Framing::resumed`].
    pub(super) fn resumed(&self, read: &[u8]) -> Option<Vec<u8>> {
        let (rest_of_chunk, after) = match self.state {
            State::Data => (self.left, String::new()),
            State::DataCr => (0, String::new()),
            State::DataLf => (0, "\r".to_owned()),
            State::Size if self.digits == 0 => (0, "\r\n".to_owned()),
            State::Size => (0, format!("\r\n{:x}", self.left)),
            State::SizeSpace => (0, format!("\r\n{:x} ", self.left)),
            State::Extension => (0, format!("\r\n{:x};", self.left)),
            State::SizeLf => (0, format!("\r\n{:x}\r", self.left)),
            State::LineStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::EndLf
            | State::Done => return None,
        };
        let mut bytes = format!("{:x}\r\n", read.len() as u64 + rest_of_chunk).into_bytes();
        bytes.extend_from_slice(read);
        bytes.extend_from_slice(after.as_bytes());
        Some(bytes)
    }

    fn step(&mut self, byte: u8) -> Result<State, Refused> {
        let next = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digits += 1;
                if self.digits > MOST_DIGITS {
                    return Err(Refused::Malformed("a chunk's size has too many digits"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.left = self.left << 4 | u64::from(digit);
                State::Size
            }
            (State::Size, _) if self.digits == 0 => {
                return Err(Refused::Malformed("a chunk begins without a size"));
            }
            (State::Size | State::SizeSpace, b' ' | b'\t') => {
                self.more()?;
                State::SizeSpace
            }
            (State::Size | State::SizeSpace, b';') => {
                self.more()?;
                State::Extension
            }
            (State::Size | State::Extension, b'\r') => State::SizeLf,
            (State::Size | State::SizeSpace, _) => {
                return Err(Refused::Malformed("a chunk's size is no hexadecimal number"));
            }
            (State::Extension, byte) if is_text(byte) => {
                self.more()?;
                State::Extension
            }
            (State::Extension, _) => {
                return Err(Refused::Malformed("a chunk's extension holds a control byte"));
            }
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 {
                    self.extra = 0;
                    State::LineStart
                } else {
                    State::Data
                }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::LineStart, b'\r') => State::EndLf,
            (State::LineStart | State::TrailerName, byte) if is_token(byte) => {
                self.more()?;
                State::TrailerName
            }
            (State::TrailerName, b':') => {
                self.more()?;
                State::TrailerValue
            }
            (State::LineStart | State::TrailerName, _) => {
                return Err(Refused::Malformed("a trailer's name is not followed by a colon"));
            }
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, byte) if is_text(byte) => {
                self.more()?;
                State::TrailerValue
            }
            (State::TrailerValue, _) => return Err(Refused::Malformed("a trailer holds a control byte")),
            (State::TrailerLf, b'\n') => State::LineStart,
            (State::EndLf, b'\n') => State::Done,
            (State::DataCr | State::DataLf, _) => {
                return Err(Refused::Malformed("a chunk is longer than its size"));
            }
            _ => {
                return Err(Refused::Malformed(
                    "a line of a chunked body does not end in CR LF",
                ));
            }
        };
        Ok(next)
    }

    fn more(&mut self) -> Result<(), Refused> {
        self.extra += 1;
        if self.extra > MOST_EXTRA {
            return Err(Refused::Malformed(
                "a chunked body's extensions or trailers are too long",
            ));
        }
        Ok(())
    }
}

/// What may stand in a field's value: no control bytes but the tab.
pub(super) fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// What may stand in a field's name (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(usize, bool), Refused> {
        let mut body = Chunked::default();
        let used = body.advance(bytes)?;
        Ok((used, body.is_done()))
    }

    #[test]
    fn extensions_and_trailers_belong_to_the_body_and_what_follows_does_not() {
        let body = b"3;a=\"b c\"\r\nabc\r\n0A ;x\r\n0123456789\r\n0\r\nExpires: never\r\nX:\r\n\r\n";
        let followed = [&body[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(read(&followed), Ok((body.len(), true)));
        assert_eq!(read(&body[..body.len() - 1]), Ok((body.len() - 1, false)));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"1\n",
            b"1;a\nb",
            b"1;\0",
            b"00000000000000001\r\n",
            b"10000000000000000\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1\rX",
            b"0\r\n\n",
            b"0\r\n folded: 1\r\n",
            b"0\r\nname : 1\r\n",
            b"0\r\nname\r\n",
            b"0\r\nname: a\nb\r\n",
            b"0\r\nname: \0\r\n",
        ] {
            assert!(read(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn what_was_read_and_the_rest_are_the_same_body_wherever_it_was_cut() {
        let body = b"3;a=b\r\nabc\r\n0A ;x\r\n0123456789\r\n0\r\nExpires: never\r\n\r\n";
        let content = |bytes: &[u8]| {
            let (mut chunked, mut content) = (Chunked::default(), Vec::new());
            let used = chunked.advance_with(bytes, |part| content.extend_from_slice(part));
            assert_eq!((used, chunked.is_done()), (Ok(bytes.len()), true), "{bytes:?}");
            content
        };
        let trailers = body.windows(5).position(|five| five == b"\r\n0\r\n").unwrap() + 5;
        for cut in 0..body.len() {
            let (mut chunked, mut read) = (Chunked::default(), Vec::new());
            chunked
                .advance_with(&body[..cut], |part| read.extend_from_slice(part))
                .unwrap();
            match chunked.resumed(&read) {
                // A chunk of nothing would be the body's end: who has read nothing has nothing to resume.
                Some(_) if read.is_empty() => {}
                Some(ahead) => assert_eq!(content(&[&ahead, &body[cut..]].concat()), b"abc0123456789"),
                None => assert!(cut >= trailers, "cut at {cut}"),
            }
        }
    }

    #[test]
    fn extensions_without_end_are_cut_off() {
        let endless = [b"1;", vec![b'a'; MOST_EXTRA].as_slice()].concat();
        assert!(read(&endless).is_err());
    }
}
