//! libFuzzer's door to `bodies/dump.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::dump::run(data));
