//! libFuzzer's door to `bodies/follow.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::follow::run(data));
