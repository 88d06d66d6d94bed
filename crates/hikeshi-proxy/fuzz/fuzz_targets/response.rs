//! An answer's head: no panic, whatever was asked, and nothing but CR LF ends a line of what is accepted.
#![no_main]

#[path = "../../tests/it/fuzzed.rs"]
#[allow(dead_code, reason = "each target asks one of its questions")]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::response(bytes));
