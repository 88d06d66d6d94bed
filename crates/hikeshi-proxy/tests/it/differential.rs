//! The relay's reading of a message against hyper's.

use bytes::Bytes;
use hikeshi_proxy::http1::framing::Framing;
use hikeshi_proxy::http1::head::lines;
use hikeshi_proxy::http1::response::Asked;
use hikeshi_proxy::http1::{Refused, RequestHead, ResponseHead};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::traffic;

/// What a message says: first line's words, headers (names in lower case, in order), content.
#[derive(Debug, Default, PartialEq)]
struct Meaning {
    first: Vec<String>,
    headers: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
}

fn sorted(mut headers: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    headers.sort();
    headers
}

fn own_headers(head: &[u8]) -> Vec<(String, Vec<u8>)> {
    let lower = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
    sorted(
        lines(head)
            .map(|(name, value)| (lower(name), value.to_vec()))
            .collect(),
    )
}

/// Reads the body that comes in two pieces; returns the content and how many bytes it took.
fn own_body(framing: &mut Framing, bytes: &[u8], split: usize) -> Result<(Vec<u8>, usize), Refused> {
    let (mut content, mut used) = (Vec::new(), 0);
    for end in [split.min(bytes.len()), bytes.len()] {
        used += framing.advance_with(&bytes[used..end], |part| content.extend_from_slice(part))?;
    }
    Ok((content, used))
}

/// The relay's reading of a request that comes in two pieces.
fn own_request(bytes: &[u8], split: usize) -> Result<Meaning, Refused> {
    let early = RequestHead::parse(&bytes[..split])?;
    let head = match early {
        Some(head) => head,
        None => RequestHead::parse(bytes)?.ok_or(Refused::Malformed("incomplete"))?,
    };
    let mut framing = head.framing.clone();
    let (content, used) = own_body(&mut framing, &bytes[head.len..], split.saturating_sub(head.len))?;
    assert!(
        framing.is_done() && used == bytes.len() - head.len,
        "it ends elsewhere"
    );
    let text = |range: &std::ops::Range<usize>| String::from_utf8_lossy(&bytes[range.clone()]).into_owned();
    Ok(Meaning {
        first: vec![text(&head.method), text(&head.target)],
        headers: own_headers(&bytes[..head.len]),
        content,
    })
}

/// hyper's reading, as a server.
async fn hypers_request(bytes: &[u8]) -> Option<Meaning> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (told, mut meanings) = tokio::sync::mpsc::unbounded_channel();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let told = told.clone();
        async move {
            let (parts, body) = request.into_parts();
            let content = body.collect().await?.to_bytes().to_vec();
            let headers = parts.headers.iter();
            let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
            let meaning = Meaning {
                first: vec![parts.method.to_string(), parts.uri.to_string()],
                headers: sorted(headers.collect()),
                content,
            };
            let _ = told.send(meaning);
            Ok::<_, hyper::Error>(hyper::Response::new(Full::new(Bytes::new())))
        }
    });
    let server = tokio::spawn(async move {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), service)
            .await;
    });
    let (mut read, mut write) = tokio::io::split(near);
    write.write_all(bytes).await.ok()?;
    let mut scrap = [0; 1024];
    let meaning = tokio::select! {
        meaning = meanings.recv() => meaning,
        _ = async { while read.read(&mut scrap).await.is_ok_and(|count| count > 0) {} } => None,
    };
    server.abort();
    meaning
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_request_means_what_hyper_says_wherever_it_is_split(message in traffic::request()) {
        let hypers = runtime().block_on(hypers_request(&message.bytes)).expect("hyper refuses it");
        prop_assert_eq!(&hypers.content, &message.content);
        for split in 0..=message.bytes.len() {
            let own = own_request(&message.bytes, split);
            prop_assert_eq!(own.as_ref(), Ok(&hypers), "split at {}", split);
        }
    }

    /// One byte of a proper request becomes another: where the relay lets it through, hyper reads the same.
    #[test]
    fn what_is_let_through_means_the_same_to_hyper(
        message in traffic::request(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), Just(b':'), Just(b'\t'), Just(0), any::<u8>()],
    ) {
        let mut bytes = message.bytes;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let Ok(Some(head)) = RequestHead::parse(&bytes) else { return Ok(()) };
        // A upgrade or an early end would need more than one exchange to compare.
        let mut framing = head.framing.clone();
        let Ok((content, used)) = own_body(&mut framing, &bytes[head.len..], 0) else { return Ok(()) };
        if !framing.is_done() {
            return Ok(());
        }
        let whole = head.len + used;
        if let Some(hypers) = runtime().block_on(hypers_request(&bytes[..whole])) {
            prop_assert_eq!(hypers.content, content);
            prop_assert_eq!(hypers.headers, own_headers(&bytes[..head.len]));
        }
    }

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic_and_the_same_in_pieces(
        bytes in prop::collection::vec(prop_oneof![
            Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b';'), Just(b':'), any::<u8>()
        ], 0..200),
        split in any::<prop::sample::Index>(),
    ) {
        let split = if bytes.is_empty() { 0 } else { split.index(bytes.len()) };
        let _ = RequestHead::parse(&bytes);
        for asked in [Asked::Head, Asked::Connect, Asked::Other] {
            let _ = ResponseHead::parse(&bytes, asked);
        }
        let chunked = || Framing::Chunked(Default::default());
        let (mut whole, mut pieces) = (chunked(), chunked());
        let whole_read = own_body(&mut whole, &bytes, 0);
        prop_assert_eq!(&whole_read, &own_body(&mut pieces, &bytes, split));
        if whole_read.is_ok() {
            prop_assert_eq!(whole, pieces);
        }
    }

    #[test]
    fn an_answer_ends_where_it_was_written_to_end(message in traffic::response(false)) {
        let mut at = 0;
        let head = loop {
            let head = ResponseHead::parse(&message.bytes[at..], Asked::Other).unwrap().unwrap();
            at += head.len;
            if head.status >= 200 {
                break head;
            }
        };
        for split in at..=message.bytes.len() {
            let mut framing = head.framing.clone();
            let (content, used) = own_body(&mut framing, &message.bytes[at..], split - at).unwrap();
            prop_assert!(framing.is_done());
            prop_assert_eq!(at + used, message.bytes.len());
            prop_assert_eq!(&content, &message.content);
        }
    }
}
