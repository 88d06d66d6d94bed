//! Header blocks: names and values with their lengths, in a zlib stream that begins with a dictionary both sides know.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::SpdyError;

/// Headers in the order sent; names are lower case.
pub(crate) type HeaderList = Vec<(String, String)>;

/// A block that unpacks to more than this is refused: a few bytes could otherwise fill the memory.
const MAX_BLOCK: usize = 64 << 10;

/// SPDY/3's dictionary: frequent words with their lengths, then frequent values as one text.
static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
        accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
        content-length content-location content-md5 content-range content-type date etag expect expires from host \
        if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
        proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
        user-agent vary via warning www-authenticate method get status";
    const LATER: [&str; 7] = [
        "200 OK",
        "version",
        "HTTP/1.1",
        "url",
        "public",
        "set-cookie",
        "keep-alive",
    ];
    const VALUES: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
        203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
        403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
        Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
        chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
        text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
    let words = WORDS.split_ascii_whitespace().chain(LATER).chain(["origin"]);
    let mut bytes = Vec::new();
    for word in words {
        put_text(&mut bytes, word);
    }
    bytes.extend_from_slice(VALUES.as_bytes());
    bytes
});

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) struct Inflater {
    zlib: Decompress,
}

impl Inflater {
    pub fn new() -> Inflater {
        Inflater {
            zlib: Decompress::new(true),
        }
    }

    /// Unpacks one block.
    pub fn read(&mut self, block: &[u8]) -> Result<HeaderList, SpdyError> {
        parse(&self.unpack(block)?).ok_or(SpdyError::Headers)
    }

    fn unpack(&mut self, mut block: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let mut plain = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let (taken, given) = (self.zlib.total_in(), self.zlib.total_out());
            let result = self.zlib.decompress(block, &mut chunk, FlushDecompress::Sync);
            let consumed = (self.zlib.total_in() - taken) as usize;
            let produced = (self.zlib.total_out() - given) as usize;
            block = block.get(consumed..).unwrap_or_default();
            match result {
                Ok(status) => {
                    plain.extend_from_slice(&chunk[..produced]);
                    if plain.len() > MAX_BLOCK || status == Status::StreamEnd {
                        return Err(SpdyError::Headers);
                    }
                    if consumed == 0 && produced == 0 {
                        break;
                    }
                }
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib
                        .set_dictionary(&DICTIONARY)
                        .map_err(|_| SpdyError::Headers)?;
                }
                Err(_) => return Err(SpdyError::Headers),
            }
        }
        if block.is_empty() {
            Ok(plain)
        } else {
            Err(SpdyError::Headers)
        }
    }
}

fn parse(mut plain: &[u8]) -> Option<HeaderList> {
    fn number(from: &mut &[u8]) -> Option<usize> {
        let (head, rest) = from.split_first_chunk::<4>()?;
        *from = rest;
        usize::try_from(u32::from_be_bytes(*head)).ok()
    }
    fn text(from: &mut &[u8]) -> Option<String> {
        let length = number(from)?;
        let (head, rest) = from.split_at_checked(length)?;
        *from = rest;
        String::from_utf8(head.to_vec()).ok()
    }
    let count = number(&mut plain)?;
    // Each header takes eight bytes at least, so a wild count ends with the block, not with the memory.
    let mut headers = Vec::new();
    for _ in 0..count {
        headers.push((text(&mut plain)?, text(&mut plain)?));
    }
    plain.is_empty().then_some(headers)
}

pub(super) struct Deflater {
    zlib: Compress,
    started: bool,
}

impl Deflater {
    pub fn new() -> Deflater {
        Deflater {
            zlib: Compress::new(Compression::default(), true),
            started: false,
        }
    }

    /// Packs one block, up to a point where the other side can read all of it.
    pub fn write(&mut self, headers: &[(String, String)]) -> Result<Vec<u8>, SpdyError> {
        if !self.started {
            self.zlib
                .set_dictionary(&DICTIONARY)
                .map_err(|_| SpdyError::Headers)?;
            self.started = true;
        }
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for (name, value) in headers {
            put_text(&mut plain, name);
            put_text(&mut plain, value);
        }
        let mut rest = plain.as_slice();
        let mut packed = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let (taken, given) = (self.zlib.total_in(), self.zlib.total_out());
            self.zlib
                .compress(rest, &mut chunk, FlushCompress::Sync)
                .map_err(|_| SpdyError::Headers)?;
            let produced = (self.zlib.total_out() - given) as usize;
            rest = rest
                .get((self.zlib.total_in() - taken) as usize..)
                .unwrap_or_default();
            packed.extend_from_slice(&chunk[..produced]);
            if rest.is_empty() && produced < chunk.len() {
                return Ok(packed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in DICTIONARY.iter() {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        // Every SPDY/3 stream names it by this checksum (Adler-32).
        assert_eq!((DICTIONARY.len(), (b << 16) | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn a_block_that_swells_is_refused() {
        let huge = vec![("a".to_owned(), "x".repeat(MAX_BLOCK + 1))];
        let packed = Deflater::new().write(&huge).unwrap();
        assert_eq!(Inflater::new().read(&packed), Err(SpdyError::Headers));
    }
}
