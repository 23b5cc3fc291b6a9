//! [`Placeholders`]: objects that stand for attachments, found while a [`Scanner`] passes them.

use crate::json::Scanner;
use crate::limits::MAX_DEPTH_OPTION;
use std::io::{self, Write as _};
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

impl Placeholders {
    /// Tells only whether all placeholders name one of `count` attachments.
    pub(crate) fn checking(count: usize) -> Self {
        Self { count, illegal: false, found: None, inner: false, open: Vec::new() }
    }

    /// The placeholders in `items`, values with commas between them, where `count` attachments are. Text that is not JSON
    /// ends the search.
    pub(crate) fn find(items: &str, count: usize) -> Vec<Placeholder> {
        if let Some(alone) = Placeholder::alone(items, count) {
            return vec![alone];
        }
        Self { found: Some(Vec::new()), ..Self::checking(count) }.search(items)
    }

    fn search(mut self, items: &str) -> Vec<Placeholder> {
        let mut scanner = Scanner::new(items, MAX_DEPTH_OPTION);
        while scanner.value(Some(&mut self)).is_ok() {
            scanner.skip_white_space();
            if !scanner.take(b',') {
                break;
            }
        }
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

/// Stands before each placeholder that is written here, until [`settle`] takes it out. No text has this byte.
const MARK: u8 = 0xff;

/// Writes the placeholder of the attachment with this number.
pub(crate) fn write<W: io::Write + ?Sized>(out: &mut W, number: usize) -> io::Result<()> {
    out.write_all(&[MARK])?;
    write!(out, r#"{{"_placeholder":true,"num":{number}}}"#)
}

/// Appends `items`, whose placeholders stand for `count` attachments, to a text that has `before` attachments already:
/// each number moves up by so many. A placeholder that names nothing becomes `null`.
pub(crate) fn renumber(items: &str, count: usize, before: usize, out: &mut Vec<u8>) {
    let mut rest = 0;
    for Placeholder { range, number, .. } in Placeholders::find(items, count) {
        out.extend_from_slice(items.as_bytes().get(rest..range.start).unwrap_or_default());
        // Writing to a vector fails for nobody.
        let _ = match number {
            Some(number) => write(out, number + before),
            None => out.write_all(b"null"),
        };
        rest = range.end;
    }
    out.extend_from_slice(items.as_bytes().get(rest..).unwrap_or_default());
}

/// Takes the marks out of a text with attachments. Whatever else in it looks like a placeholder is data, and must not stand
/// for bytes, or for none, which would end the connection of everybody who reads it: its `true` becomes `null`, as in what
/// comes from other servers. `relayed` is the part of the text whose placeholders came with their attachments.
pub(crate) fn settle(marked: Vec<u8>, relayed: &Range<usize>) -> Vec<u8> {
    let (mut json, mut own) = (marked, Vec::new());
    if json.contains(&MARK) {
        let mut pieces = json.split(|byte| *byte == MARK);
        let mut settled = pieces.next().unwrap_or_default().to_vec();
        for piece in pieces {
            own.push(settled.len());
            settled.extend_from_slice(piece);
        }
        json = settled;
    }
    for flag in lookalikes(&json, &own, relayed) {
        if let Some(value) = json.get_mut(flag..flag + 4) {
            value.copy_from_slice(b"null");
        }
    }
    json
}

/// Where the text has the `true` of objects that look like placeholders: not those that begin at `own`, nor `relayed` ones.
fn lookalikes(json: &[u8], own: &[usize], relayed: &Range<usize>) -> Vec<usize> {
    let Ok(text) = std::str::from_utf8(json) else { return Vec::new() };
    // Most texts are seen to have none by their words alone.
    let others = [text.get(..relayed.start), text.get(relayed.end..)].map(Option::unwrap_or_default);
    let words: usize = others.iter().map(|other| other.matches("_placeholder").count()).sum();
    if words == own.len() && !others.iter().any(|other| other.contains("\\u00")) {
        return Vec::new();
    }
    let all = Placeholders { found: Some(Vec::new()), inner: true, ..Placeholders::checking(0) }.search(text);
    let lookalikes = all.iter().filter(|found| !relayed.contains(&found.flag) && !own.contains(&found.range.start));
    lookalikes.map(|found| found.flag).collect()
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
            String::from_utf8(settle(out, &(0..0))).unwrap()
        };
        let moved = r#"1,{"a":{"_placeholder":true,"num":4}},{"_placeholder":true,"num":3}"#;
        let odd = r#"1,{"a":{"num":1e0,"_placeholder":true}},{"_placeholder":true,"num":0,"x":1}"#;
        assert_eq!(renumbered(odd, 2), moved);
        assert_eq!(renumbered(r#"[{"_placeholder":true,"num":2}]"#, 2), "[null]");
        assert_eq!(renumbered("", 2), "");
    }

    #[test]
    fn what_only_looks_like_a_placeholder_stands_for_nothing() {
        let one = |number| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
        let mut own = Vec::new();
        write(&mut own, 0).unwrap();
        let settled = |before: &str, after: &str, relayed: Range<usize>| {
            let marked = [before.as_bytes(), &own, after.as_bytes()].concat();
            String::from_utf8(settle(marked, &relayed)).unwrap()
        };
        assert_eq!(settled("[", "]", 0..0), format!("[{}]", one(0)));
        // Words alone, and escapes.
        assert_eq!(settled("\"_placeholder\",", "", 0..0), format!("\"_placeholder\",{}", one(0)));
        let after = r#",{"\u005fplaceholder":true,"x":{"_placeholder":true}}"#;
        assert_eq!(settled("", after, 0..0), one(0) + &after.replace("true", "null"));
        let around = r#"0,{"_placeholder":true,"x":["#;
        let expected = format!(r#"0,{{"_placeholder":null,"x":[{}]}}"#, one(0));
        assert_eq!(settled(around, "]}", 0..0), expected);
        // What was relayed is right as it is.
        let relayed = one(7);
        let before = format!("{relayed},{relayed},");
        let kept = format!("{relayed},{},{}", one(7).replace("true", "null"), one(0));
        assert_eq!(settled(&before, "", 0..relayed.len()), kept);
    }
}
