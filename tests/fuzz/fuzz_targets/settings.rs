//! libFuzzer's door to `bodies/settings.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::settings::run(data));
