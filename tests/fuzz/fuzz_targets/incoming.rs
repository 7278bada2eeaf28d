//! libFuzzer's door to `bodies/incoming.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::incoming::run(data));
