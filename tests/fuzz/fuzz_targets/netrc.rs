//! libFuzzer's door to `bodies/netrc.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::netrc::run(data));
