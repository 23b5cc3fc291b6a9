//! libFuzzer's way into the target `headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomcast_fuzz::targets::run("headers", data));
