//! libFuzzer's door to `bodies/logger.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::logger::run(data));
