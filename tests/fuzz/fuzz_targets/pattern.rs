//! libFuzzer's door to `bodies/pattern.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::pattern::run(data));
