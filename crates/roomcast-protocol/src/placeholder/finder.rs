//! [`PlaceholderFinder`]: objects that stand for attachments, found while a scanner passes them.

use std::ops::Range;

/// An object with a `_placeholder` of `true`, as it lies in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placeholder {
    /// The object, braces included.
    pub(crate) range: Range<usize>,
    /// Where its `true` begins.
    pub(super) flag: usize,
    /// The attachment that it names, if there is one with this number.
    pub(crate) number: Option<usize>,
}

impl Placeholder {
    /// The whole text, if it is one as encoders write it: the usual argument that names an attachment.
    pub(super) fn alone(text: &str, count: usize) -> Option<Self> {
        const FLAG: usize = r#"{"_placeholder":"#.len();
        let number = text.strip_prefix(r#"{"_placeholder":true,"num":"#)?.strip_suffix('}')?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { range: 0..text.len(), flag: FLAG, number: self::number(number.as_bytes(), count) })
    }
}

/// Finds placeholders while the scanner passes them. As in socket.io-parser, what is inside of a placeholder is not looked
/// at: it is replaced as a whole.
pub(crate) struct PlaceholderFinder {
    /// Attachments that there are.
    count: usize,
    /// Whether a placeholder's number names none of them.
    illegal: bool,
    /// The placeholders, in the order in which they end; `None` if nobody asks.
    found: Option<Vec<Placeholder>>,
    /// Whether those inside of others are wanted too.
    inner: bool,
    open: Vec<OpenObject>,
}

#[derive(Clone, Copy)]
struct OpenObject {
    start: usize,
    /// What was known when it opened: forgotten from there on if it is a placeholder.
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
    /// Tells only whether all placeholders name one of `count` attachments.
    pub(crate) fn checking(count: usize) -> Self {
        Self { count, illegal: false, found: None, inner: false, open: Vec::new() }
    }

    /// Collects the placeholders; `inner`: those inside of others too.
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

    // This and the three below stay out of the scanner's loop, through which most texts go without them: with them in it an
    // event without attachments costs 60 instructions more.
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

    /// A value ended, which began at `start`; an array or object has no `raw` text. The last of several equal keys counts,
    /// as in JavaScript.
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

/// The attachment that a `num` names, by the JSON text of its value: any spelling of a whole number from 0 up to the count.
/// A string never reads as a number, quotes included.
pub(crate) fn number(raw: &[u8], count: usize) -> Option<usize> {
    let number = std::str::from_utf8(raw).ok()?.parse::<f64>().ok()?;
    (number.fract() == 0.0 && (0.0..count as f64).contains(&number)).then_some(number as usize)
}

/// Whether the raw string (without its quotes) spells `name` once its escapes are undone. Only `\uXXXX` escapes can spell
/// letters, digits and `_`.
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
