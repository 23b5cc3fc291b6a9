//! libFuzzer's way into the target `msgpack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomcast_fuzz::targets::run("msgpack", data));
