use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn headers() -> impl Strategy<Value = HeaderList> {
    vec(("[a-z-]{1,12}", "[ -~]{0,40}"), 0..6)
}

fn frame() -> impl Strategy<Value = Frame> {
    let stream = 1u32..1000;
    prop_oneof![
        (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynStream {
            stream,
            fin,
            headers
        }),
        (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynReply {
            stream,
            fin,
            headers
        }),
        (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::Headers {
            stream,
            fin,
            headers
        }),
        (stream.clone(), any::<u32>()).prop_map(|(stream, status)| Frame::RstStream { stream, status }),
        any::<u32>().prop_map(|id| Frame::Ping { id }),
        (stream.clone(), 0u32..3).prop_map(|(last_stream, status)| Frame::GoAway { last_stream, status }),
        (stream.clone(), 1u32..1 << 31).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
        (stream, any::<bool>(), vec(any::<u8>(), 0..300)).prop_map(|(stream, fin, data)| Frame::Data {
            stream,
            fin,
            data: data.into()
        }),
    ]
}

proptest! {
    /// Whatever is written is read back, however the bytes are cut on the way.
    #[test]
    fn frames_survive_any_cut(frames in vec(frame(), 1..20), cuts in vec(1usize..64, 1..40)) {
        let mut encoder = Encoder::new();
        let bytes: Vec<u8> = frames.iter().flat_map(|f| encoder.encode(f).unwrap()).collect();
        let mut decoder = Decoder::new();
        let (mut read, mut rest, mut cuts) = (Vec::new(), bytes.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            decoder.push(head);
            rest = tail;
            while let Some(frame) = decoder.next().unwrap() {
                read.push(frame);
            }
        }
        prop_assert_eq!(read, frames);
    }

    /// Nonsense is refused or waited for; nothing panics and nothing grows without end.
    #[test]
    fn nonsense_is_harmless(bytes in vec(any::<u8>(), 0..2000)) {
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        for _ in 0..=bytes.len() / 8 {
            match decoder.next() {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// One damaged byte in a header block never passes for another block of the same length or panics.
    #[test]
    fn damage_does_not_panic(headers in headers(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let frame = Frame::SynStream { stream: 1, fin: false, headers };
        let mut bytes = Encoder::new().encode(&frame).unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        let _ = decoder.next();
    }
}

/// What Go's SPDY library sends for `kubectl port-forward`: the head of a SYN_STREAM by hand, from the protocol's text.
#[test]
fn layout_of_the_fixed_parts() {
    let mut encoder = Encoder::new();
    let ping = encoder.encode(&Frame::Ping { id: 7 }).unwrap();
    assert_eq!(&ping[..], [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 7]);
    let data = Frame::Data {
        stream: 3,
        fin: true,
        data: Bytes::from_static(b"hi"),
    };
    assert_eq!(
        &encoder.encode(&data).unwrap()[..],
        [0, 0, 0, 3, 1, 0, 0, 2, b'h', b'i']
    );
    let syn = Frame::SynStream {
        stream: 1,
        fin: false,
        headers: Vec::new(),
    };
    let syn = encoder.encode(&syn).unwrap();
    assert_eq!(syn[..4], [0x80, 3, 0, 1]);
    // zlib's head: deflate with a dictionary, named by its checksum.
    assert_eq!(
        (syn[18] & 0x0f, syn[19] & 0x20, &syn[20..24]),
        (8, 0x20, &[0xe3, 0xc6, 0xa7, 0xc2][..])
    );
}

#[test]
fn other_versions_and_giants_are_refused() {
    let mut decoder = Decoder::new();
    decoder.push(&[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
    assert_eq!(decoder.next(), Err(SpdyError::Version(2)));
    let mut decoder = Decoder::new();
    decoder.push(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]);
    assert_eq!(decoder.next(), Err(SpdyError::TooLong(0xff_ffff)));
}
