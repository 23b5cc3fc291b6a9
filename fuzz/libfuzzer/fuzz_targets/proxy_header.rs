//! libFuzzer's way into the target `proxy_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roomcast_fuzz::targets::run("proxy_header", data));
