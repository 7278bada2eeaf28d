//! libFuzzer's door to `bodies/install.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::install::run(data));
