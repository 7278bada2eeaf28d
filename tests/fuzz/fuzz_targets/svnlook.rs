//! libFuzzer's door to `bodies/svnlook.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::svnlook::run(data));
