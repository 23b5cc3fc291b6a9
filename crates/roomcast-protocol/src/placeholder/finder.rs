//! [`PlaceholderFinder`]: finds the objects that stand for attachments, while a scanner passes them.

use std::ops::Range;

/// An object in a text whose `_placeholder` is `true`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placeholder {
    /// The object with its braces.
    pub(crate) range: Range<usize>,
    /// Where its `true` begins.
    pub(super) flag: usize,
    /// The number of the attachment that it names, if there is such an attachment.
    pub(crate) number: Option<usize>,
}

impl Placeholder {
    /// The whole text, if it is a placeholder as encoders write it. That is what an argument that is an attachment
    /// usually is.
    pub(super) fn alone(text: &str, count: usize) -> Option<Self> {
        const FLAG: usize = r#"{"_placeholder":"#.len();
        let number = text.strip_prefix(r#"{"_placeholder":true,"num":"#)?.strip_suffix('}')?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { range: 0..text.len(), flag: FLAG, number: self::number(number.as_bytes(), count) })
    }
}

/// Finds placeholders while the scanner passes them. As in socket.io-parser, what is inside a placeholder does not
/// count, as it is replaced as a whole.
pub(crate) struct PlaceholderFinder {
    /// How many attachments there are.
    count: usize,
    /// Whether a placeholder names none of them.
    illegal: bool,
    /// The placeholders, in the order in which they end; `None` if they are only checked.
    found: Option<Vec<Placeholder>>,
    /// Whether to find placeholders inside others too.
    inner: bool,
    open: Vec<OpenObject>,
}

#[derive(Clone, Copy)]
struct OpenObject {
    start: usize,
    /// What was known when it opened. If it is a placeholder, what was found inside is discarded.
    illegal: bool,
    found: usize,
    key: Key,
    flag: Option<usize>,
    number: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Key {
    Other,
    Placeholder,
    Number,
}

impl PlaceholderFinder {
    /// Checks only whether all placeholders name one of `count` attachments.
    pub(crate) fn checking(count: usize) -> Self {
        Self { count, illegal: false, found: None, inner: false, open: Vec::new() }
    }

    /// Collects the placeholders; with `inner`, also those inside others.
    pub(super) fn collecting(count: usize, inner: bool) -> Self {
        Self { found: Some(Vec::new()), inner, ..Self::checking(count) }
    }

    /// The placeholders that were collected.
    pub(super) fn into_found(self) -> Vec<Placeholder> {
        self.found.unwrap_or_default()
    }

    pub(crate) fn is_illegal(&self) -> bool {
        self.illegal
    }

    // This function and the three below stay out of the scanner's loop, which most texts pass without them: inlined,
    // they would cost an event without attachments 60 instructions more.
    #[inline(never)]
    pub(crate) fn open(&mut self, start: usize) {
        let found = self.found.as_ref().map_or(0, Vec::len);
        let illegal = self.illegal;
        self.open.push(OpenObject { start, illegal, found, key: Key::Other, flag: None, number: None });
    }

    #[inline(never)]
    pub(crate) fn key(&mut self, raw: &[u8]) {
        if let Some(object) = self.open.last_mut() {
            object.key = if is_key(raw, b"_placeholder") {
                Key::Placeholder
            } else if is_key(raw, b"num") {
                Key::Number
            } else {
                Key::Other
            };
        }
    }

    /// A value that began at `start` has ended. `raw` is its text, and empty for an array or object. The last of
    /// several equal keys counts, as in JavaScript.
    #[inline(never)]
    pub(crate) fn value(&mut self, start: usize, raw: &[u8]) {
        let count = self.count;
        let Some(object) = self.open.last_mut() else { return };
        match object.key {
            Key::Placeholder => object.flag = (raw == b"true").then_some(start),
            Key::Number => object.number = number(raw, count),
            Key::Other => {}
        }
        object.key = Key::Other;
    }

    #[inline(never)]
    pub(crate) fn close(&mut self, end: usize) {
        let Some(object) = self.open.pop() else { return };
        let Some(flag) = object.flag else { return };
        self.illegal = object.illegal || object.number.is_none();
        if let Some(found) = &mut self.found {
            if !self.inner {
                found.truncate(object.found);
            }
            found.push(Placeholder { range: object.start..end, flag, number: object.number });
        }
    }
}

/// The attachment that a `num` names, from the JSON text of its value: any spelling of a whole number from 0 up to the
/// count. A string is never a number, as its text includes the quotes.
pub(crate) fn number(raw: &[u8], count: usize) -> Option<usize> {
    let number = std::str::from_utf8(raw).ok()?.parse::<f64>().ok()?;
    (number.fract() == 0.0 && (0.0..count as f64).contains(&number)).then_some(number as usize)
}

/// Whether the raw string (without its quotes) spells `name` once its escapes are decoded. Only `\uXXXX` escapes can
/// spell letters, digits and `_`.
fn is_key(raw: &[u8], name: &[u8]) -> bool {
    if !raw.contains(&b'\\') {
        return raw == name;
    }
    let mut rest = raw;
    for expected in name {
        rest = match rest {
            [b'\\', b'u', a, b, c, d, after @ ..] => {
                let digits = [*a, *b, *c, *d];
                let code = std::str::from_utf8(&digits).ok().and_then(|hex| u16::from_str_radix(hex, 16).ok());
                if code != Some(u16::from(*expected)) {
                    return false;
                }
                after
            }
            [byte, after @ ..] if byte == expected => after,
            _ => return false,
        };
    }
    rest.is_empty()
}
