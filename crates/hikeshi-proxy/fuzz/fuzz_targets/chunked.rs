//! A chunked body: no panic, and the same reading however it is cut up. The first byte says where.
#![no_main]

#[path = "../../tests/it/fuzzed.rs"]
#[allow(dead_code, reason = "each target asks one of its questions")]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::chunked(bytes));
