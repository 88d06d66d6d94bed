//! A request's head: no panic, and what is accepted keeps what makes it safe to forward.
#![no_main]

use hikeshi_proxy::http1::RequestHead;
use hikeshi_proxy::http1::strip::strip;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(head)) = RequestHead::parse(bytes) else { return };
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
    let again = again.expect("it was accepted before").expect("it was whole before");
    assert_eq!(again.framing, head.framing);
    assert_eq!(stripped[start..][again.target], block[head.target]);
    assert!(again.hop.is_empty() || head.upgrade);
});
