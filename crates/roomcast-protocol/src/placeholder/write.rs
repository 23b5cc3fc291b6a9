//! Placeholders in what is emitted: written, renumbered, and distinguished from data that looks like them.

use crate::placeholder::finder::Placeholder;
use crate::placeholder::search::{find, find_nested};
use std::io::{self, Write as _};
use std::ops::Range;

/// Marks each placeholder that is written here, until [`remove_marks`] removes it. UTF-8 never contains this byte.
const MARK: u8 = 0xff;

/// Writes the placeholder of the attachment with this number.
pub(crate) fn write_placeholder<W: io::Write + ?Sized>(out: &mut W, number: usize) -> io::Result<()> {
    out.write_all(&[MARK])?;
    write!(out, r#"{{"_placeholder":true,"num":{number}}}"#)
}

/// Appends `items`, whose placeholders stand for `count` attachments, to a text that has `before` attachments already:
/// each number is increased by `before`. A placeholder that names no attachment becomes `null`.
pub(crate) fn renumber(items: &str, count: usize, before: usize, out: &mut Vec<u8>) {
    let mut rest = 0;
    for Placeholder { range, number, .. } in find(items, count) {
        out.extend_from_slice(items.as_bytes().get(rest..range.start).unwrap_or_default());
        // Writing to a vector cannot fail.
        let _ = match number {
            Some(number) => write_placeholder(out, number + before),
            None => out.write_all(b"null"),
        };
        rest = range.end;
    }
    out.extend_from_slice(items.as_bytes().get(rest..).unwrap_or_default());
}

/// Removes the marks from a text with attachments. Everything else in it that looks like a placeholder is data: it must
/// not stand for an attachment, nor for a missing one, which would end the connection of every client that reads it. So
/// its `true` becomes `null`, as in what comes from other servers. `relayed` is the part of the text whose placeholders
/// came with their attachments.
pub(crate) fn remove_marks(marked: Vec<u8>, relayed: &Range<usize>) -> Vec<u8> {
    let (mut json, mut own) = (marked, Vec::new());
    if json.contains(&MARK) {
        let mut pieces = json.split(|byte| *byte == MARK);
        let mut unmarked = pieces.next().unwrap_or_default().to_vec();
        for piece in pieces {
            own.push(unmarked.len());
            unmarked.extend_from_slice(piece);
        }
        json = unmarked;
    }
    for flag in lookalikes(&json, &own, relayed) {
        if let Some(value) = json.get_mut(flag..flag + 4) {
            value.copy_from_slice(b"null");
        }
    }
    json
}

/// The positions of the `true` in objects that only look like placeholders: not in those that begin at `own` or are
/// `relayed`.
fn lookalikes(json: &[u8], own: &[usize], relayed: &Range<usize>) -> Vec<usize> {
    let Ok(text) = std::str::from_utf8(json) else { return Vec::new() };
    // For most texts a count of the word shows that there are none.
    let others = [text.get(..relayed.start), text.get(relayed.end..)].map(Option::unwrap_or_default);
    let words: usize = others.iter().map(|other| other.matches("_placeholder").count()).sum();
    if words == own.len() && !others.iter().any(|other| other.contains("\\u00")) {
        return Vec::new();
    }
    let all = find_nested(text);
    let lookalikes = all.iter().filter(|found| !relayed.contains(&found.flag) && !own.contains(&found.range.start));
    lookalikes.map(|found| found.flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_move_up() {
        let renumbered = |items: &str, count| {
            let mut out = Vec::new();
            renumber(items, count, 3, &mut out);
            String::from_utf8(remove_marks(out, &(0..0))).unwrap()
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
        write_placeholder(&mut own, 0).unwrap();
        let unmarked = |before: &str, after: &str, relayed: Range<usize>| {
            let marked = [before.as_bytes(), &own, after.as_bytes()].concat();
            String::from_utf8(remove_marks(marked, &relayed)).unwrap()
        };
        assert_eq!(unmarked("[", "]", 0..0), format!("[{}]", one(0)));
        // The word alone, and escapes.
        assert_eq!(unmarked("\"_placeholder\",", "", 0..0), format!("\"_placeholder\",{}", one(0)));
        let after = r#",{"\u005fplaceholder":true,"x":{"_placeholder":true}}"#;
        assert_eq!(unmarked("", after, 0..0), one(0) + &after.replace("true", "null"));
        let around = r#"0,{"_placeholder":true,"x":["#;
        let expected = format!(r#"0,{{"_placeholder":null,"x":[{}]}}"#, one(0));
        assert_eq!(unmarked(around, "]}", 0..0), expected);
        // What was relayed is kept.
        let relayed = one(7);
        let before = format!("{relayed},{relayed},");
        let kept = format!("{relayed},{},{}", one(7).replace("true", "null"), one(0));
        assert_eq!(unmarked(&before, "", 0..relayed.len()), kept);
    }
}
