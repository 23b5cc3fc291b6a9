//! libFuzzer's way into the target `requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomcast_fuzz::targets::run("requests", data));
