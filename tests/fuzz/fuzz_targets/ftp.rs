//! libFuzzer's door to `bodies/ftp.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::ftp::run(data));
