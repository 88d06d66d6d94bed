//! An answer's head: no panic, whatever was asked, and nothing but CR LF ends a line of what is accepted.
#![no_main]

use hikeshi_proxy::http1::ResponseHead;
use hikeshi_proxy::http1::response::Asked;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for asked in [Asked::Head, Asked::Connect, Asked::Other] {
        let Ok(Some(head)) = ResponseHead::parse(bytes, asked) else { continue };
        let block = &bytes[..head.len];
        assert!(block.ends_with(b"\r\n\r\n"));
        let feeds = block.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        for (at, _) in feeds {
            assert_eq!(block[at - 1], b'\r', "a bare line feed");
        }
        assert!(asked != Asked::Head || head.framing.is_done());
    }
});
