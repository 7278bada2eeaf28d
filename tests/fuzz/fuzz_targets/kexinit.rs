//! libFuzzer's door to `bodies/kexinit.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::kexinit::run(data));
