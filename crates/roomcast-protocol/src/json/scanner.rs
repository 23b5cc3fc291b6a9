//! [`Scanner`]: checks JSON text, bounds its nesting and finds its parts, without a tree and without recursion.
//!
//! It accepts what JavaScript's `JSON.parse` accepts, including lone surrogate escapes and numbers beyond a double, so
//! that text that a JavaScript client may send passes through unchanged.

use crate::json::error::JsonError;
use crate::json::kind::JsonKind;
use crate::limits::MAX_DEPTH_OPTION;
use crate::placeholder::finder::PlaceholderFinder;

/// Checks that `text` is one JSON value, apart from white space around it, with at most `max_depth` levels of nesting
/// (capped at [`MAX_DEPTH_OPTION`]), and returns its kind.
///
/// # Errors
/// [`JsonError`] if it is not.
pub fn check(text: &str, max_depth: usize) -> Result<JsonKind, JsonError> {
    let mut scanner = Scanner::new(text, max_depth);
    let kind = scanner.value(None)?;
    scanner.end()?;
    Ok(kind)
}

/// Walks over JSON text.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
    max_depth: usize,
}

enum Expect {
    Value,
    FirstKey,
    Key,
    AfterValue,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str, max_depth: usize) -> Self {
        Self { bytes: text.as_bytes(), position: 0, max_depth: max_depth.min(MAX_DEPTH_OPTION) }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    /// The text that is still to come.
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// The text from `start` to here.
    fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.position).unwrap_or_default()
    }

    pub(crate) fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.position += 1;
        }
    }

    /// Takes `byte` if it comes next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.position += usize::from(taken);
        taken
    }

    /// Checks that only white space is left.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        self.skip_white_space();
        if self.position == self.bytes.len() { Ok(()) } else { Err(JsonError::Syntax) }
    }

    /// Passes over one value and white space before it.
    pub(crate) fn value(&mut self, mut placeholders: Option<&mut PlaceholderFinder>) -> Result<JsonKind, JsonError> {
        // Most arguments are scalars, and need no stack.
        self.skip_white_space();
        if !matches!(self.peek(), Some(b'[' | b'{')) {
            return self.opening();
        }
        // One bit for each level: 1 is an object, 0 an array.
        let mut stack = [0u64; MAX_DEPTH_OPTION / 64];
        let mut depth = 0;
        let mut expect = Expect::Value;
        let mut kind = None;
        loop {
            self.skip_white_space();
            match expect {
                Expect::Value => {
                    let start = self.position;
                    let found = self.opening()?;
                    kind = kind.or(Some(found));
                    match found {
                        JsonKind::Object | JsonKind::Array => {
                            if depth == self.max_depth {
                                return Err(JsonError::Depth);
                            }
                            let bit = 1 << (depth % 64);
                            // The stack has room for `max_depth`.
                            let word = stack.get_mut(depth / 64).ok_or(JsonError::Depth)?;
                            if found == JsonKind::Object {
                                *word |= bit;
                                if let Some(placeholders) = placeholders.as_deref_mut() {
                                    placeholders.open(start);
                                }
                                expect = Expect::FirstKey;
                            } else {
                                *word &= !bit;
                                self.skip_white_space();
                                expect = if self.peek() == Some(b']') { Expect::AfterValue } else { Expect::Value };
                            }
                            depth += 1;
                        }
                        _ => {
                            if let Some(placeholders) = placeholders.as_deref_mut()
                                && top_is_object(&stack, depth)
                            {
                                placeholders.value(start, self.since(start));
                            }
                            expect = Expect::AfterValue;
                        }
                    }
                }
                Expect::FirstKey | Expect::Key => {
                    if matches!(expect, Expect::FirstKey) && self.peek() == Some(b'}') {
                        expect = Expect::AfterValue;
                        continue;
                    }
                    let start = self.position;
                    if !self.take(b'"') {
                        return Err(JsonError::Syntax);
                    }
                    self.string()?;
                    if let (Some(placeholders), [_, key @ .., _]) = (placeholders.as_deref_mut(), self.since(start)) {
                        placeholders.key(key);
                    }
                    self.skip_white_space();
                    if !self.take(b':') {
                        return Err(JsonError::Syntax);
                    }
                    expect = Expect::Value;
                }
                Expect::AfterValue => {
                    if depth == 0 {
                        break;
                    }
                    let object = top_is_object(&stack, depth);
                    if self.take(b',') {
                        expect = if object { Expect::Key } else { Expect::Value };
                    } else if self.take(if object { b'}' } else { b']' }) {
                        depth -= 1;
                        if let Some(placeholders) = placeholders.as_deref_mut() {
                            if object {
                                placeholders.close(self.position);
                            }
                            if top_is_object(&stack, depth) {
                                placeholders.value(self.position, b"");
                            }
                        }
                    } else {
                        return Err(JsonError::Syntax);
                    }
                }
            }
            if depth == 0 {
                break;
            }
        }
        kind.ok_or(JsonError::Syntax)
    }

    /// Passes over a scalar, or over the opening bracket of an array or object.
    fn opening(&mut self) -> Result<JsonKind, JsonError> {
        match self.peek() {
            Some(b'"') => {
                self.position += 1;
                self.string()?;
                Ok(JsonKind::String)
            }
            Some(b'{') => {
                self.position += 1;
                Ok(JsonKind::Object)
            }
            Some(b'[') => {
                self.position += 1;
                Ok(JsonKind::Array)
            }
            Some(b't') => self.literal(b"true", JsonKind::Bool),
            Some(b'f') => self.literal(b"false", JsonKind::Bool),
            Some(b'n') => self.literal(b"null", JsonKind::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(JsonError::Syntax),
        }
    }

    fn literal(&mut self, literal: &[u8], kind: JsonKind) -> Result<JsonKind, JsonError> {
        if self.rest().starts_with(literal) {
            self.position += literal.len();
            Ok(kind)
        } else {
            Err(JsonError::Syntax)
        }
    }

    fn number(&mut self) -> Result<JsonKind, JsonError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(JsonKind::Number)
    }

    /// Passes over one or more digits.
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.position;
        while let Some(b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
        if self.position > start { Ok(()) } else { Err(JsonError::Syntax) }
    }

    /// Passes over the rest of a string after its opening quote.
    fn string(&mut self) -> Result<(), JsonError> {
        loop {
            self.position += plain_prefix(self.rest());
            match self.peek() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.position += 1;
                    self.escape()?;
                }
                // A control character must be escaped.
                _ => return Err(JsonError::Syntax),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let length = match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 1,
            Some(b'u') => {
                let digits = self.bytes.get(self.position + 1..self.position + 5).ok_or(JsonError::Syntax)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(JsonError::Syntax);
                }
                5
            }
            _ => return Err(JsonError::Syntax),
        };
        self.position += length;
        Ok(())
    }
}

fn top_is_object(stack: &[u64], depth: usize) -> bool {
    let Some(top) = depth.checked_sub(1) else { return false };
    stack.get(top / 64).is_some_and(|word| word & (1 << (top % 64)) != 0)
}

/// The number of bytes before the first quote, backslash or control character. It looks at eight bytes at a time.
pub(crate) fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = 0;
    let (chunks, tail) = bytes.as_chunks();
    for chunk in chunks {
        let word = u64::from_le_bytes(*chunk);
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        // A borrow can only change bytes above the first hit, so the lowest set bit is right.
        let hit = quote | backslash | control;
        if hit != 0 {
            return at + (hit.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_DEPTH;
    use proptest::prelude::*;

    #[test]
    fn what_json_parse_accepts_is_accepted() {
        for (text, kind) in [
            ("{}", JsonKind::Object),
            (" [ ] ", JsonKind::Array),
            (r#"{"a":[1,2,{"b":null}],"c":"d"}"#, JsonKind::Object),
            (r#""\ud800""#, JsonKind::String),
            ("1e400", JsonKind::Number),
            ("-0", JsonKind::Number),
            ("true\n", JsonKind::Bool),
            ("null", JsonKind::Null),
            ("[[],{},[{}],\"]\"]", JsonKind::Array),
        ] {
            assert_eq!(check(text, MAX_DEPTH), Ok(kind), "{text}");
        }
    }

    #[test]
    fn what_json_parse_refuses_is_refused() {
        for text in [
            "",
            " ",
            "[",
            "]",
            "{",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "NaN",
            "tru",
            "nulll",
            "[1]x",
            "[1 2]",
            "{\"a\" 1}",
            "[}",
            "{]",
        ] {
            assert_eq!(check(text, MAX_DEPTH), Err(JsonError::Syntax), "{text}");
        }
    }

    #[test]
    fn depth_at_the_limit_and_one_past_it() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(check(&nested(MAX_DEPTH), MAX_DEPTH), Ok(JsonKind::Array));
        assert_eq!(check(&nested(MAX_DEPTH + 1), MAX_DEPTH), Err(JsonError::Depth));
        assert_eq!(check(&nested(MAX_DEPTH_OPTION), usize::MAX), Ok(JsonKind::Array));
        assert_eq!(check(&nested(MAX_DEPTH_OPTION + 1), usize::MAX), Err(JsonError::Depth));
        let objects = "{\"a\":".repeat(MAX_DEPTH) + "1" + &"}".repeat(MAX_DEPTH);
        assert_eq!(check(&objects, MAX_DEPTH), Ok(JsonKind::Object));
        assert_eq!(check(&objects, MAX_DEPTH - 1), Err(JsonError::Depth));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:,"\\ 0-9a-fntrulse.+-]{0,24}"#) {
            let expected = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(check(&text, MAX_DEPTH).is_ok(), expected, "{}", text);
        }

        #[test]
        fn strings_of_any_bytes(text in ".{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(check(&json, MAX_DEPTH), Ok(JsonKind::String));
            prop_assert!(check(&json[..json.len() - 1], MAX_DEPTH).is_err());
        }
    }
}
