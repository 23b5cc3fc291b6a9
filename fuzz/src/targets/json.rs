//! The scanner that checks JSON without recursion, compared with serde_json.

use crate::heap;
use crate::input::Input;
use crate::novelty::{seen, size};
use roomcast_protocol::json::{JsonError, JsonKind, check};
use serde_json::value::RawValue;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let depth = input.choice(&[1_024, 128, 3, 1, 0]);
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    // Everything that is received is scanned, so the scanner must not allocate.
    let checked = heap::within(0, || check(text, depth));
    let valid = serde_json::from_str::<&RawValue>(text);
    seen((checked.is_ok(), valid.is_ok(), depth));
    match checked {
        Ok(kind) => {
            let raw = valid.unwrap_or_else(|error| panic!("serde_json says {error}"));
            let kind_of = match raw.get().as_bytes().first() {
                Some(b'{') => JsonKind::Object,
                Some(b'[') => JsonKind::Array,
                Some(b'"') => JsonKind::String,
                _ => kind,
            };
            assert_eq!(kind, kind_of);
            seen((kind as u8, depth, size(text.len())));
        }
        Err(JsonError::Syntax) => assert!(valid.is_err(), "serde_json takes it"),
        Err(JsonError::Depth) => {
            let brackets = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
            assert!(brackets > depth, "nested {brackets} deep at most");
        }
        Err(error) => panic!("{error} is new to this target"),
    }
    for pair in text.as_bytes().windows(2) {
        if let [first, second] = pair
            && checked.is_ok()
        {
            seen(("pair", first, second));
        }
    }
}
