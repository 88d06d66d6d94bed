//! What the fuzz targets demand of any bytes, here so that the seeds in fuzz/seeds are replayed by every test run.

use hikeshi_proxy::http1::response::Asked;
use hikeshi_proxy::http1::strip::strip;
use hikeshi_proxy::http1::{Chunked, RequestHead, ResponseHead};

/// A request's head: no panic, and what is accepted keeps what makes it safe to forward.
pub fn request(bytes: &[u8]) {
    let Ok(Some(head)) = RequestHead::parse(bytes) else {
        return;
    };
    let block = &bytes[..head.len];
    assert!(block.ends_with(b"\r\n\r\n"));
    assert!(!block.contains(&0));
    let feeds = block.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    for (at, _) in feeds {
        assert_eq!(block[at - 1], b'\r', "a bare line feed");
    }
    // Stripped of what is about one hop, it is still a head, of the same method and target.
    let mut stripped = block.to_vec();
    let start = strip(&mut stripped, &head.hop);
    let again = RequestHead::parse(&stripped[start..]);
    let again = again
        .expect("it was accepted before")
        .expect("it was whole before");
    assert_eq!(again.framing, head.framing);
    assert_eq!(stripped[start..][again.target], block[head.target]);
    assert!(again.hop.is_empty() || head.upgrade);
}

/// An answer's head: no panic, whatever was asked, and nothing but CR LF ends a line of what is accepted.
pub fn response(bytes: &[u8]) {
    for asked in [Asked::Head, Asked::Connect, Asked::Other] {
        let Ok(Some(head)) = ResponseHead::parse(bytes, asked) else {
            continue;
        };
        let block = &bytes[..head.len];
        assert!(block.ends_with(b"\r\n\r\n"));
        let feeds = block.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        for (at, _) in feeds {
            assert_eq!(block[at - 1], b'\r', "a bare line feed");
        }
        assert!(asked != Asked::Head || head.framing.is_done());
    }
}

/// A chunked body: no panic, and the same reading however it is cut up. The first byte says where.
pub fn chunked(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let mut whole = Chunked::default();
    let mut content = Vec::new();
    let read = whole.advance_with(bytes, |part| content.extend_from_slice(part));

    let mut pieces = Chunked::default();
    let (mut cut_content, mut used, mut failed) = (Vec::new(), 0, false);
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        match pieces.advance_with(piece, |part| cut_content.extend_from_slice(part)) {
            Ok(count) => used += count,
            Err(_) => {
                failed = true;
                break;
            }
        }
    }
    assert_eq!(read.is_err(), failed);
    if let Ok(count) = read {
        assert_eq!((count, content, whole), (used, cut_content, pieces));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn replay(target: &str, check: fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/seeds")
            .join(target);
        let files = std::fs::read_dir(&seeds)
            .unwrap()
            .map(|file| file.unwrap().path());
        let mut count = 0;
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            if std::panic::catch_unwind(|| check(&bytes)).is_err() {
                panic!("{}", file.display());
            }
            count += 1;
        }
        assert!(count > 10, "{}: {count} files", seeds.display());
    }

    #[test]
    fn requests_among_the_seeds_are_read_as_they_must_be() {
        replay("request", super::request);
    }

    #[test]
    fn answers_among_the_seeds_are_read_as_they_must_be() {
        replay("response", super::response);
    }

    #[test]
    fn chunked_bodies_among_the_seeds_are_read_as_they_must_be() {
        replay("chunked", super::chunked);
    }
}
