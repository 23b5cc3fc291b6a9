//! [`Placeholders`]: objects that stand for attachments, found while a [`Scanner`] passes them.

use crate::json::Scanner;
use crate::limits::MAX_DEPTH_OPTION;
use std::io::Write as _;
use std::ops::Range;

/// An object with a `_placeholder` of `true`, as it lies in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placeholder {
    /// The object, braces included.
    pub(crate) range: Range<usize>,
    /// Where its `true` begins.
    flag: usize,
    /// The attachment that it names, if there is one with this number.
    pub(crate) number: Option<usize>,
}

impl Placeholder {
    /// The whole text, if it is one as encoders write it: the usual argument that names an attachment.
    fn alone(text: &str, count: usize) -> Option<Self> {
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
pub(crate) struct Placeholders {
    /// Attachments that there are.
    count: usize,
    /// Whether a placeholder's number names none of them.
    illegal: bool,
    /// The placeholders, in the order of the text; `None` if nobody asks.
    found: Option<Vec<Placeholder>>,
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

impl Placeholders {
    /// Tells only whether all placeholders name one of `count` attachments.
    pub(crate) fn checking(count: usize) -> Self {
        Self { count, illegal: false, found: None, open: Vec::new() }
    }

    /// The placeholders in `items`, values with commas between them, where `count` attachments are. Text that is not JSON
    /// ends the search.
    pub(crate) fn find(items: &str, count: usize) -> Vec<Placeholder> {
        if let Some(alone) = Placeholder::alone(items, count) {
            return vec![alone];
        }
        let mut finding = Self { found: Some(Vec::new()), ..Self::checking(count) };
        let mut scanner = Scanner::new(items, MAX_DEPTH_OPTION);
        while scanner.value(Some(&mut finding)).is_ok() {
            scanner.skip_white_space();
            if !scanner.take(b',') {
                break;
            }
        }
        finding.found.unwrap_or_default()
    }

    pub(crate) fn is_illegal(&self) -> bool {
        self.illegal
    }

    pub(crate) fn open(&mut self, start: usize) {
        let found = self.found.as_ref().map_or(0, Vec::len);
        let illegal = self.illegal;
        self.open.push(OpenObject { start, illegal, found, key: Key::Other, flag: None, number: None });
    }

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

    pub(crate) fn close(&mut self, end: usize) {
        let Some(object) = self.open.pop() else { return };
        let Some(flag) = object.flag else { return };
        self.illegal = object.illegal || object.number.is_none();
        if let Some(found) = &mut self.found {
            found.truncate(object.found);
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

/// Appends `items`, whose placeholders stand for `count` attachments, to a text that has `before` attachments already:
/// each number moves up by so many. A placeholder that names nothing becomes `null`. In text without attachments an object
/// that looks like a placeholder is data; it must not come to stand for bytes now, so its `true` becomes `null`, as in
/// what comes from other servers.
pub(crate) fn renumber(items: &str, count: usize, before: usize, out: &mut Vec<u8>) {
    let mut rest = 0;
    for placeholder in Placeholders::find(items, count) {
        let data = count == 0;
        let cut = if data { placeholder.flag..placeholder.flag + 4 } else { placeholder.range };
        out.extend_from_slice(items.as_bytes().get(rest..cut.start).unwrap_or_default());
        match placeholder.number.filter(|_| !data) {
            Some(number) => write(out, number + before),
            None => out.extend_from_slice(b"null"),
        }
        rest = cut.end;
    }
    out.extend_from_slice(items.as_bytes().get(rest..).unwrap_or_default());
}

/// Writes the placeholder of the attachment with this number. Writing to a vector fails for nobody.
fn write(out: &mut Vec<u8>, number: usize) {
    let _ = write!(out, r#"{{"_placeholder":true,"num":{number}}}"#);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn found(items: &str, count: usize) -> Vec<(&str, Option<usize>)> {
        let found = Placeholders::find(items, count).into_iter();
        found.map(|placeholder| (&items[placeholder.range], placeholder.number)).collect()
    }

    #[test]
    fn placeholders_are_found_where_they_lie() {
        let (zero, one) = (r#"{"_placeholder":true,"num":0}"#, r#"{ "num":1 , "\u005fplaceholder" : true,"x":[{}] }"#);
        let items = format!(r#"1,{{"a":[{zero},{{"b":{one}}}],"num":0}} , {zero},"_placeholder""#);
        assert_eq!(found(&items, 2), [(zero, Some(0)), (one, Some(1)), (zero, Some(0))]);
        assert_eq!(found("", 1), []);
        assert_eq!(found(&format!("{zero},]{zero}"), 1), [(zero, Some(0))]);
    }

    #[test]
    fn a_number_names_an_attachment_or_none() {
        for (number, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0.0", Some(0)),
            ("1e0", Some(1)),
            ("10e-1", Some(1)),
            ("1.0", Some(1)),
            ("2", None),
            ("-1", None),
            ("0.5", None),
            ("1e400", None),
            ("9007199254740993", None),
            ("\"0\"", None),
            ("null", None),
            ("true", None),
            ("[0]", None),
            ("{}", None),
        ] {
            let text = format!(r#"{{"_placeholder":true,"num":{number}}}"#);
            assert_eq!(found(&text, 2), [(&*text, expected)], "{number}");
            let mut checking = Placeholders::checking(2);
            assert!(Scanner::new(&text, 8).value(Some(&mut checking)).is_ok());
            assert_eq!(checking.is_illegal(), expected.is_none(), "{number}");
        }
    }

    #[test]
    fn what_is_inside_of_a_placeholder_is_not_looked_at() {
        let text = r#"[{"_placeholder":true,"x":{"_placeholder":true,"num":9},"num":0}]"#;
        assert_eq!(found(text, 1), [(&text[1..text.len() - 1], Some(0))]);
        let mut checking = Placeholders::checking(1);
        assert!(Scanner::new(text, 8).value(Some(&mut checking)).is_ok());
        assert!(!checking.is_illegal());
        // What stands before it still counts.
        let mut checking = Placeholders::checking(1);
        let text = format!(r#"[{{"_placeholder":true}},{}]"#, &text[1..text.len() - 1]);
        assert!(Scanner::new(&text, 8).value(Some(&mut checking)).is_ok());
        assert!(checking.is_illegal());
    }

    #[test]
    fn numbers_move_up() {
        let renumbered = |items: &str, count| {
            let mut out = Vec::new();
            renumber(items, count, 3, &mut out);
            String::from_utf8(out).unwrap()
        };
        let moved = r#"1,{"a":{"_placeholder":true,"num":4}},{"_placeholder":true,"num":3}"#;
        let odd = r#"1,{"a":{"num":1e0,"_placeholder":true}},{"_placeholder":true,"num":0,"x":1}"#;
        assert_eq!(renumbered(odd, 2), moved);
        assert_eq!(renumbered(r#"[{"_placeholder":true,"num":2}]"#, 2), "[null]");
        assert_eq!(renumbered("", 2), "");
        assert_eq!(
            renumbered(r#"{"_placeholder":true,"num":0},{"_placeholder": true }"#, 0),
            r#"{"_placeholder":null,"num":0},{"_placeholder": null }"#
        );
    }
}
