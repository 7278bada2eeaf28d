//! libFuzzer's door to `bodies/rules.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::rules::run(data));
