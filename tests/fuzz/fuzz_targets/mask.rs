//! libFuzzer's door to `bodies/mask.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::mask::run(data));
