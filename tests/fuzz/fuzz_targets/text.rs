//! libFuzzer's door to `bodies/text.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::text::run(data));
