//! A chunked body: no panic, and the same reading however it is cut up. The first byte says where.
#![no_main]

use hikeshi_proxy::http1::Chunked;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
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
});
