//! A request's head: no panic, and what is accepted keeps what makes it safe to forward.
#![no_main]

#[path = "../../tests/it/fuzzed.rs"]
#[allow(dead_code, reason = "each target asks one of its questions")]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::request(bytes));
