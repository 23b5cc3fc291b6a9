//! libFuzzer's way into the target `engine_packet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomcast_fuzz::targets::run("engine_packet", data));
