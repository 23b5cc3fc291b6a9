//! Arguments to MessagePack.

use super::error::MsgpackError;
use super::json_string::{pieces, spells};
use super::json_walk::{Then, Token, inner, walk};
use super::writer::Writer;
use crate::arguments::args::Args;
use crate::json::kind::JsonKind;
use crate::limits::MAX_PACKET_BYTES;
use crate::placeholder::finder;
use bytes::Bytes;

/// Which library's bytes are written. Both libraries use the shortest form of everything and write floats with 64 bits.
/// For what JSON can express they differ only in large integers.
///
/// An integer of up to 64 bits that a double would round (beyond 2^53) is still written exactly: JavaScript reads the
/// rounded number from it, Rust every digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// notepack.io (2 and 3): the classic and the sharded adapter, the emitter, socket.io-msgpack-parser. Whole numbers
    /// are integers from -2^63 up to 2^64. Beyond that they are floats here, where notepack writes wrong numbers by
    /// mistake.
    Notepack,
    /// @msgpack/msgpack 2.8: the streams adapter and its emitter. Whole numbers are integers up to ±(2^53 - 1) and
    /// floats beyond.
    MsgpackJs,
}

/// Writes JSON values with commas between them as MessagePack values one after another, and returns how many there
/// were. The module's documentation says what becomes of placeholders and of what MessagePack cannot hold.
///
/// The text is checked on the way and may nest at most [`MAX_DEPTH_OPTION`](crate::limits::MAX_DEPTH_OPTION) levels.
/// Everything written, including attachments, stays within [`MAX_PACKET_BYTES`], as placeholders may name one
/// attachment many times. After an error nothing has been appended.
///
/// # Errors
/// [`MsgpackError::Json`] or [`MsgpackError::TooLarge`].
pub fn from_json(
    items: &str,
    attachments: &[Bytes],
    out: &mut Vec<u8>,
    flavour: Flavour,
) -> Result<usize, MsgpackError> {
    transcribe(items, attachments, out, flavour, false)
}

/// Writes arguments as one array.
///
/// # Errors
/// As [`from_json`].
pub fn args_array(args: &Args, out: &mut Vec<u8>, flavour: Flavour) -> Result<(), MsgpackError> {
    transcribe(args.items(), args.attachments(), out, flavour, true).map(|_| ())
}

/// MessagePack puts lengths first, so the text is walked twice: once to count, and once to write.
fn transcribe(
    items: &str,
    attachments: &[Bytes],
    out: &mut Vec<u8>,
    flavour: Flavour,
    array: bool,
) -> Result<usize, MsgpackError> {
    if items.len() > MAX_PACKET_BYTES {
        return Err(MsgpackError::TooLarge);
    }
    let mut counting = Counting::new(attachments.len());
    walk(items, |token| {
        counting.token(token);
        Ok(Then::GoOn)
    })?;
    let (values, shapes) = (counting.values, counting.shapes);

    let start = out.len();
    if array {
        Writer::new(out).array(values);
    }
    let mut writing = Writing { out, start, attachments, flavour, shapes: shapes.into_iter() };
    let written = walk(items, |token| writing.token(token));
    if let Err(error) = written {
        out.truncate(start);
        return Err(error);
    }
    Ok(values)
}

/// How an array or object is written. There is one for each, in the order in which they open: eight bytes for at least
/// two of text.
#[derive(Clone, Copy)]
enum Shape {
    /// With this many elements or members.
    Entries(u32),
    /// As the attachment with this number: it is a placeholder.
    Attachment(u32),
    /// As nil: it is a placeholder that names no attachment.
    Nothing,
}

/// The first walk.
struct Counting {
    shapes: Vec<Shape>,
    open: Vec<Open>,
    /// Values at the top level.
    values: usize,
    attachments: usize,
}

/// An array or object that has not ended yet.
struct Open {
    /// Its index in the shapes.
    shape: usize,
    entries: u32,
    member: Member,
    placeholder: bool,
    number: Option<u32>,
}

/// What the member whose value comes next means in a placeholder.
#[derive(Clone, Copy)]
enum Member {
    Other,
    Placeholder,
    Number,
}

impl Counting {
    fn new(attachments: usize) -> Self {
        Self { shapes: Vec::new(), open: Vec::new(), values: 0, attachments }
    }

    fn token(&mut self, token: Token<'_>) {
        match token {
            Token::Open(_) => {
                self.value(None);
                let shape = self.shapes.len();
                self.shapes.push(Shape::Nothing);
                self.open.push(Open { shape, entries: 0, member: Member::Other, placeholder: false, number: None });
            }
            Token::Key(raw) => {
                // Without attachments no object is a placeholder.
                if let Some(open) = self.open.last_mut().filter(|_| self.attachments > 0) {
                    open.member = match raw {
                        raw if spells(raw, "_placeholder") => Member::Placeholder,
                        raw if spells(raw, "num") => Member::Number,
                        _ => Member::Other,
                    };
                }
            }
            Token::Scalar(_, raw) => self.value(Some(raw)),
            Token::Close => {
                let Some(open) = self.open.pop() else { return };
                if open.placeholder {
                    // The second walk passes over what is in it.
                    self.shapes.truncate(open.shape + 1);
                }
                if let Some(shape) = self.shapes.get_mut(open.shape) {
                    *shape = match (open.placeholder, open.number) {
                        (false, _) => Shape::Entries(open.entries),
                        (true, Some(number)) => Shape::Attachment(number),
                        (true, None) => Shape::Nothing,
                    };
                }
            }
        }
    }

    /// Counts a value of the innermost array or object. The last of several equal keys counts, as in JavaScript.
    fn value(&mut self, scalar: Option<&str>) {
        let Some(open) = self.open.last_mut() else {
            self.values += 1;
            return;
        };
        open.entries += 1;
        match std::mem::replace(&mut open.member, Member::Other) {
            Member::Placeholder => open.placeholder = scalar == Some("true"),
            Member::Number => {
                let number = scalar.and_then(|raw| finder::number(raw.as_bytes(), self.attachments));
                open.number = number.and_then(|number| u32::try_from(number).ok());
            }
            Member::Other => {}
        }
    }
}

/// The second walk.
struct Writing<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    attachments: &'o [Bytes],
    flavour: Flavour,
    shapes: std::vec::IntoIter<Shape>,
}

impl Writing<'_> {
    fn token(&mut self, token: Token<'_>) -> Result<Then, MsgpackError> {
        let mut writer = Writer::new(self.out);
        let mut then = Then::GoOn;
        match token {
            Token::Open(object) => match self.shapes.next() {
                Some(Shape::Entries(count)) if object => _ = writer.map(count as usize),
                Some(Shape::Entries(count)) => _ = writer.array(count as usize),
                Some(Shape::Attachment(number)) => {
                    let bytes = self.attachments.get(number as usize).map_or(&[][..], |bytes| bytes);
                    fits(&writer, self.start, bytes.len())?;
                    writer.bin(bytes);
                    then = Then::Skip;
                }
                Some(Shape::Nothing) | None => {
                    writer.nil();
                    then = Then::Skip;
                }
            },
            Token::Key(raw) => string(&mut writer, raw),
            Token::Scalar(JsonKind::String, raw) => string(&mut writer, inner(raw)),
            Token::Scalar(JsonKind::Number, raw) => number(&mut writer, raw, self.flavour),
            Token::Scalar(JsonKind::Bool, raw) => _ = writer.bool(raw == "true"),
            Token::Scalar(..) => _ = writer.nil(),
            Token::Close => {}
        }
        fits(&writer, self.start, 0)?;
        Ok(then)
    }
}

/// Whether this many more bytes fit into one packet that began at `start`.
fn fits(writer: &Writer<'_>, start: usize, more: usize) -> Result<(), MsgpackError> {
    let size = (writer.len() - start).saturating_add(more);
    if size > MAX_PACKET_BYTES { Err(MsgpackError::TooLarge) } else { Ok(()) }
}

fn number(writer: &mut Writer<'_>, raw: &str, flavour: Flavour) {
    /// 2^53 - 1, `Number.MAX_SAFE_INTEGER`.
    const SAFE: u64 = (1 << 53) - 1;
    const I64_END: f64 = 9_223_372_036_854_775_808.0;
    const U64_END: f64 = 18_446_744_073_709_551_616.0;

    let safe_only = flavour == Flavour::MsgpackJs;
    if let Ok(integer) = raw.parse::<i64>() {
        let double = integer as f64;
        if safe_only && integer.unsigned_abs() > SAFE && double < I64_END && double as i64 == integer {
            writer.f64(double);
        } else {
            writer.int(integer);
        }
        return;
    }
    if let Ok(integer) = raw.parse::<u64>() {
        let double = integer as f64;
        if safe_only && double < U64_END && double as u64 == integer {
            writer.f64(double);
        } else {
            writer.uint(integer);
        }
        return;
    }
    // A JSON number always parses.
    let double = raw.parse::<f64>().unwrap_or(f64::NAN);
    let whole = double.fract() == 0.0 && (!safe_only || double.abs() <= SAFE as f64);
    if whole && (0.0..U64_END).contains(&double) {
        writer.uint(double as u64);
    } else if whole && (-I64_END..0.0).contains(&double) {
        writer.int(double as i64);
    } else {
        writer.f64(double);
    }
}

/// Writes the text of a JSON string that the scanner has checked, given without its quotes.
fn string(writer: &mut Writer<'_>, raw: &str) {
    if !raw.contains('\\') {
        writer.str(raw);
        return;
    }
    let mut length = 0;
    pieces(raw, |piece| length += piece.len());
    if writer.str_head(length) {
        pieces(raw, |piece| _ = writer.raw(piece.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::error::JsonError;
    use crate::limits::MAX_DEPTH_OPTION;

    const BOTH: [Flavour; 2] = [Flavour::Notepack, Flavour::MsgpackJs];

    fn written(items: &str, attachments: &[Bytes], flavour: Flavour) -> Result<Vec<u8>, MsgpackError> {
        let mut out = b"-".to_vec();
        let result = from_json(items, attachments, &mut out, flavour);
        if result.is_err() {
            assert_eq!(out, b"-", "an error leaves nothing behind");
        }
        result.map(|_| out.split_off(1))
    }

    /// What both flavours write.
    fn msgpack(items: &str, attachments: &[Bytes]) -> Vec<u8> {
        let [notepack, msgpack_js] = BOTH.map(|flavour| written(items, attachments, flavour).unwrap());
        assert_eq!(notepack, msgpack_js, "{items}");
        notepack
    }

    #[test]
    fn values_take_their_shortest_form() {
        assert_eq!(msgpack("", &[]), b"");
        assert_eq!(msgpack(" null , true , false ", &[]), b"\xc0\xc3\xc2");
        assert_eq!(msgpack("[]", &[]), b"\x90");
        assert_eq!(msgpack("{ }", &[]), b"\x80");
        assert_eq!(msgpack(r#"[1,[ ],{"a":[{}]}]"#, &[]), b"\x93\x01\x90\x81\xa1a\x91\x80");
        assert_eq!(msgpack(r#"{"a" : 1 , "b" : {"c":2} }"#, &[]), b"\x82\xa1a\x01\xa1b\x81\xa1c\x02");
        let many = format!("[{}]", ["0"; 16].join(","));
        assert_eq!(msgpack(&many, &[]), [&b"\xdc\x00\x10"[..], &[0; 16]].concat());
    }

    #[test]
    fn the_number_of_values_is_told_and_an_array_has_it() {
        for (items, count) in [("", 0), (" ", 0), ("1", 1), ("1,[2,3],{\"a\":4}", 3)] {
            let mut out = Vec::new();
            assert_eq!(from_json(items, &[], &mut out, Flavour::Notepack), Ok(count));
            let args = Args::from_parts(items.into(), Vec::new());
            let mut array = Vec::new();
            args_array(&args, &mut array, Flavour::Notepack).unwrap();
            assert_eq!((array[0], &array[1..]), (0x90 | count as u8, &out[..]));
        }
    }

    #[test]
    fn numbers_are_what_javascript_reads() {
        for (json, expected) in [
            ("0", &b"\x00"[..]),
            ("-0", b"\x00"),
            ("-0.0", b"\x00"),
            ("1.0", b"\x01"),
            ("1e3", b"\xcd\x03\xe8"),
            ("-1.28E2", b"\xd0\x80"),
            ("1.5", b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"),
            ("1e400", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"),
            ("-1e400", b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00"),
            ("1e-400", b"\x00"),
            ("9007199254740991", b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff"),
            // JavaScript would round these. Here all digits are kept.
            ("9007199254740993", b"\xcf\x00\x20\x00\x00\x00\x00\x00\x01"),
            ("-9007199254740993", b"\xd3\xff\xdf\xff\xff\xff\xff\xff\xff"),
            ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
            ("18446744073709551616", b"\xcb\x43\xf0\x00\x00\x00\x00\x00\x00"),
            ("1e21", b"\xcb\x44\x4b\x1a\xe4\xd6\xe2\xef\x50"),
        ] {
            assert_eq!(msgpack(json, &[]), expected, "{json}");
        }
        for (json, notepack, msgpack_js) in [
            ("9007199254740992", &b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00"[..], 9_007_199_254_740_992f64),
            ("9007199254740992.0", b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00", 9_007_199_254_740_992.0),
            ("-9007199254740992", b"\xd3\xff\xe0\x00\x00\x00\x00\x00\x00", -9_007_199_254_740_992.0),
            ("9223372036854775808", b"\xcf\x80\x00\x00\x00\x00\x00\x00\x00", 9_223_372_036_854_775_808.0),
            ("-9223372036854775808", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", -9_223_372_036_854_775_808.0),
            ("1e19", b"\xcf\x8a\xc7\x23\x04\x89\xe8\x00\x00", 1e19),
        ] {
            assert_eq!(written(json, &[], Flavour::Notepack).unwrap(), notepack, "{json}");
            let float = [&[0xcb], &msgpack_js.to_be_bytes()[..]].concat();
            assert_eq!(written(json, &[], Flavour::MsgpackJs).unwrap(), float, "{json}");
        }
    }

    #[test]
    fn escapes_are_undone() {
        for (json, expected) in [
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""a\u0041\u00e9\u20acz""#, "aA\u{e9}\u{20ac}z"),
            (r#""\ud83d\ude00!""#, "\u{1f600}!"),
            (r#""\uD83D""#, "\u{fffd}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83dx\u0000""#, "\u{fffd}x\0"),
        ] {
            let mut out = Vec::new();
            Writer::new(&mut out).str(expected);
            assert_eq!(msgpack(json, &[]), out, "{json}");
            let object = format!("{{{json}:0}}");
            assert_eq!(msgpack(&object, &[]), [b"\x81", &out[..], b"\x00"].concat());
        }
        // The length is that of the text, not of its escapes.
        let many = format!("\"{}\"", r"\u0061".repeat(31));
        assert_eq!(msgpack(&many, &[])[0], 0xa0 | 31);
    }

    #[test]
    fn placeholders_are_their_attachments() {
        let attachments = [Bytes::from_static(b"a"), Bytes::from_static(b"bc")];
        let one = r#"{"_placeholder":true,"num":1}"#;
        assert_eq!(msgpack(one, &attachments), b"\xc4\x02bc");
        assert_eq!(msgpack(&format!(r#"{{"k":[{one},{one},1],"l":2}}"#), &attachments), {
            b"\x82\xa1k\x93\xc4\x02bc\xc4\x02bc\x01\xa1l\x02"
        });
        for spelled in [
            r#"{"num":0,"_placeholder":true}"#,
            r#"{ "\u005fplaceholder" : true , "n\u0075m" : 0e5 }"#,
            r#"{"_placeholder":1,"num":[],"num":0,"_placeholder":true}"#,
            r#"{"_placeholder":true,"x":[{},[{"_placeholder":true,"num":1}]],"num":0}"#,
        ] {
            // The array after it shows that no count is off.
            assert_eq!(msgpack(&format!("{spelled},[1]"), &attachments), b"\xc4\x01a\x91\x01", "{spelled}");
        }
    }

    #[test]
    fn a_placeholder_that_names_nothing_is_nil() {
        let attachments = [Bytes::from_static(b"a")];
        for number in ["1", "-1", "0.5", "1e400", "\"0\"", "null", "[0]", "{}"] {
            let items = format!(r#"{{"_placeholder":true,"num":{number}}},[1]"#);
            assert_eq!(msgpack(&items, &attachments), b"\xc0\x91\x01", "{number}");
        }
        assert_eq!(msgpack(r#"{"_placeholder":true},[]"#, &attachments), b"\xc0\x90");
    }

    #[test]
    fn what_is_no_placeholder_is_a_map() {
        let attachments = [Bytes::from_static(b"a")];
        for value in ["false", "\"true\"", "[true]", "null", "true,\"_placeholder\":0"] {
            let items = format!(r#"{{"_placeholder":{value},"num":0}}"#);
            assert_eq!(msgpack(&items, &attachments)[0] & 0xf0, 0x80, "{value}");
        }
        let nested = r#"{"a":{"_placeholder":true,"num":0},"num":0}"#;
        assert_eq!(msgpack(nested, &attachments), b"\x82\xa1a\xc4\x01a\xa3num\x00");
        let alone = r#"{"_placeholder":true,"num":0}"#;
        assert_eq!(msgpack(alone, &[]), b"\x82\xac_placeholder\xc3\xa3num\x00");
    }

    #[test]
    fn text_that_is_not_json_is_refused() {
        for items in [
            ",",
            "1,",
            "1 2",
            "[",
            "]",
            "[1",
            "[1,]",
            "[1}",
            "{",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "nul",
            "01",
            "\"a",
            "\"\\x\"",
            "[1]]",
            "{,}",
            "{[]:1}",
            "{\"_placeholder\":true,\"num\":0",
        ] {
            for attachments in [&[][..], &[Bytes::new()]] {
                let result = written(items, attachments, Flavour::Notepack);
                assert_eq!(result, Err(JsonError::Syntax.into()), "{items}");
            }
        }
    }

    #[test]
    fn depth_at_the_limit_and_one_past_it() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let deepest = [vec![0x91; MAX_DEPTH_OPTION - 1], vec![0x90]].concat();
        assert_eq!(msgpack(&nested(MAX_DEPTH_OPTION), &[]), deepest);
        let result = written(&nested(MAX_DEPTH_OPTION + 1), &[], Flavour::Notepack);
        assert_eq!(result, Err(JsonError::Depth.into()));
        let objects = "{\"a\":".repeat(MAX_DEPTH_OPTION) + "1" + &"}".repeat(MAX_DEPTH_OPTION);
        assert!(written(&objects, &[], Flavour::Notepack).is_ok());
        let result = written(&format!("[{objects}]"), &[], Flavour::Notepack);
        assert_eq!(result, Err(JsonError::Depth.into()));
    }

    #[test]
    fn expansion_at_the_limit_and_one_past_it() {
        const SHARE: usize = MAX_PACKET_BYTES / 16;
        // Each costs five bytes of its own.
        let mut attachments = vec![Bytes::from(vec![0; SHARE - 5])];
        let items = vec![r#"{"_placeholder":true,"num":0}"#; 16].join(",");
        assert_eq!(written(&items, &attachments, Flavour::Notepack).unwrap().len(), MAX_PACKET_BYTES);
        let more = items.clone() + ",0";
        assert_eq!(written(&more, &attachments, Flavour::Notepack), Err(MsgpackError::TooLarge));
        attachments[0] = Bytes::from(vec![0; SHARE - 4]);
        assert_eq!(written(&items, &attachments, Flavour::Notepack), Err(MsgpackError::TooLarge));
        // The header of the array may be what exceeds the limit.
        attachments[0] = Bytes::from(vec![0; SHARE - 5]);
        let args = Args::from_parts(items.as_str().into(), attachments);
        let mut out = Vec::new();
        assert_eq!(args_array(&args, &mut out, Flavour::Notepack), Err(MsgpackError::TooLarge));
        assert!(out.is_empty());
        let text = " ".repeat(MAX_PACKET_BYTES + 1);
        assert_eq!(written(&text, &[], Flavour::Notepack), Err(MsgpackError::TooLarge));
    }
}
