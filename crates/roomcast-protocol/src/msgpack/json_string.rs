//! The text of JSON strings, with their escapes decoded.

use crate::json::scanner::plain_prefix;

/// The length of the text before the first escape of a JSON string, given without its quotes.
pub(super) fn plain(raw: &str) -> usize {
    plain_prefix(raw.as_bytes())
}

/// Whether a JSON string, given without its quotes, spells `name`.
pub(super) fn spells(raw: &str, name: &str) -> bool {
    if plain(raw) == raw.len() {
        return raw == name;
    }
    let mut rest = Some(name);
    pieces(raw, |piece| rest = rest.and_then(|rest| rest.strip_prefix(piece)));
    rest == Some("")
}

/// Decodes the escapes of a JSON string, given without its quotes, and passes on the text in pieces.
pub(super) fn pieces(raw: &str, mut piece: impl FnMut(&str)) {
    let mut rest = raw;
    while let Some((before, escape)) = rest.split_at_checked(plain(rest)).filter(|(_, escape)| !escape.is_empty()) {
        piece(before);
        let escape = escape.get(1..).unwrap_or_default();
        let (character, length) = unescaped(escape);
        piece(character.encode_utf8(&mut [0; 4]));
        rest = escape.get(length..).unwrap_or_default();
    }
    piece(rest);
}

/// The character of an escape, and the length of the escape after its backslash. A lone surrogate is U+FFFD, as text in
/// Rust and in MessagePack cannot hold it.
fn unescaped(escape: &str) -> (char, usize) {
    let unit = |start: usize| {
        let digits = escape.get(start..start + 4)?;
        u32::from_str_radix(digits, 16).ok()
    };
    match escape.as_bytes().first() {
        Some(b'n') => ('\n', 1),
        Some(b'r') => ('\r', 1),
        Some(b't') => ('\t', 1),
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'u') => {
            let first = unit(1).unwrap_or(0xfffd);
            let second = if escape.get(5..7) == Some("\\u") { unit(7) } else { None };
            match (first, second) {
                (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
                    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 11)
                }
                _ => (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 5),
            }
        }
        Some(byte @ (b'"' | b'\\' | b'/')) => (char::from(*byte), 1),
        // The scanner accepts nothing else.
        _ => (char::REPLACEMENT_CHARACTER, 1),
    }
}
