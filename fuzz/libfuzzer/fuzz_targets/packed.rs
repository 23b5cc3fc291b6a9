//! libFuzzer's way into the target `packed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomcast_fuzz::targets::run("packed", data));
