//! libFuzzer's way into the target `msgpack_from_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomcast_fuzz::targets::run("msgpack_from_json", data));
