//! libFuzzer's way into the target `origins`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomcast_fuzz::targets::run("origins", data));
