//! libFuzzer's way into the target `socketio`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomcast_fuzz::targets::run("socketio", data));
