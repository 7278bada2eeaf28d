//! libFuzzer's door to `bodies/known_hosts.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| auto_dispatcher_fuzz::known_hosts::run(data));
