//! libFuzzer's door to `bodies/filter.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::filter::run(data));
