//! Arguments to MessagePack.

use super::error::MsgpackError;
use super::json_string::{pieces, plain, spells};
use super::json_walk::{Token, inner, walk};
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
    let start = out.len();
    // Most text is shorter as MessagePack.
    out.reserve(items.len());
    if array {
        out.push(0);
    }
    let open = Vec::new();
    let mut writing = Writing { out, start, attachments, flavour, open, headers: LongHeaders::default(), values: 0 };
    let written = walk(items, |token| writing.token(token)).and_then(|()| writing.finish(array));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// MessagePack puts lengths first, and they are known last. So each array and map begins with a byte that is set when it
/// ends. That byte is the whole header of up to 15 entries; longer headers are made in the end, for all at once.
struct Writing<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    attachments: &'o [Bytes],
    flavour: Flavour,
    open: Vec<Open>,
    headers: LongHeaders,
    /// Values at the top level.
    values: usize,
}

/// An array or object that has not ended yet.
struct Open {
    /// Where its header is.
    at: usize,
    object: bool,
    entries: usize,
    member: Member,
    placeholder: bool,
    number: Option<usize>,
    /// The long headers before it.
    headers: usize,
}

/// What the member whose value comes next means in a placeholder.
#[derive(Clone, Copy)]
enum Member {
    Other,
    Placeholder,
    Number,
}

impl Writing<'_> {
    fn token(&mut self, token: Token<'_>) -> Result<(), MsgpackError> {
        match token {
            Token::Open(object) => {
                self.value(None);
                let (at, headers) = (self.out.len(), self.headers.0.len());
                self.open.push(Open {
                    at,
                    object,
                    entries: 0,
                    member: Member::Other,
                    placeholder: false,
                    number: None,
                    headers,
                });
                self.out.push(0);
            }
            Token::Key(raw) => {
                // Without attachments no object is a placeholder.
                if let Some(open) = self.open.last_mut().filter(|_| !self.attachments.is_empty()) {
                    open.member = match raw {
                        raw if spells(raw, "_placeholder") => Member::Placeholder,
                        raw if spells(raw, "num") => Member::Number,
                        _ => Member::Other,
                    };
                }
                string(&mut Writer::new(self.out), raw);
            }
            Token::Scalar(kind, raw) => {
                self.value(Some(raw));
                let mut writer = Writer::new(self.out);
                match kind {
                    JsonKind::String => string(&mut writer, inner(raw)),
                    JsonKind::Number => number(&mut writer, raw, self.flavour),
                    JsonKind::Bool => _ = writer.bool(raw == "true"),
                    _ => _ = writer.nil(),
                }
            }
            Token::Close => {
                if let Some(open) = self.open.pop() {
                    if open.placeholder {
                        self.placeholder(&open)?;
                    } else {
                        self.headers.set(self.out, open.at, open.object, open.entries);
                    }
                }
            }
        }
        self.fits(0)
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
                open.number = scalar.and_then(|raw| finder::number(raw.as_bytes(), self.attachments.len()));
            }
            Member::Other => {}
        }
    }

    /// Replaces an object that was a placeholder by its attachment, or by nil if it names none.
    fn placeholder(&mut self, open: &Open) -> Result<(), MsgpackError> {
        self.out.truncate(open.at);
        self.headers.0.truncate(open.headers);
        match open.number.and_then(|number| self.attachments.get(number)) {
            Some(bytes) => {
                self.fits(bytes.len())?;
                Writer::new(self.out).bin(bytes);
            }
            None => _ = Writer::new(self.out).nil(),
        }
        Ok(())
    }

    /// Completes the headers. Returns the number of values.
    fn finish(&mut self, array: bool) -> Result<usize, MsgpackError> {
        if array {
            self.headers.set(self.out, self.start, false, self.values);
        }
        self.fits(0)?;
        self.headers.insert(self.out);
        Ok(self.values)
    }

    /// Whether this many more bytes fit into one packet.
    fn fits(&self, more: usize) -> Result<(), MsgpackError> {
        let size = (self.out.len() - self.start + self.headers.more()).saturating_add(more);
        if size > MAX_PACKET_BYTES { Err(MsgpackError::TooLarge) } else { Ok(()) }
    }
}

/// The headers that are longer than one byte: where the one byte is, what it must become, and how many bytes all so far
/// need besides.
#[derive(Default)]
struct LongHeaders(Vec<LongHeader>);

struct LongHeader {
    at: usize,
    object: bool,
    entries: usize,
    more: usize,
}

impl LongHeaders {
    /// Sets the byte of a header, or notes that it is longer.
    fn set(&mut self, out: &mut [u8], at: usize, object: bool, entries: usize) {
        match (entries, out.get_mut(at)) {
            (0..=15, Some(byte)) => *byte = if object { 0x80 } else { 0x90 } | entries as u8,
            _ => {
                let more = self.more() + if entries > 0xffff { 4 } else { 2 };
                self.0.push(LongHeader { at, object, entries, more });
            }
        }
    }

    fn more(&self) -> usize {
        self.0.last().map_or(0, |last| last.more)
    }

    /// Makes room for them, from the last to the first, so that every byte moves once.
    fn insert(&mut self, out: &mut Vec<u8>) {
        let mut moved = out.len();
        out.resize(moved + self.more(), 0);
        let mut end = out.len();
        self.0.sort_unstable_by_key(|header| header.at);
        for LongHeader { at, object, entries, .. } in self.0.drain(..).rev() {
            let mut header = Vec::with_capacity(5);
            let mut writer = Writer::new(&mut header);
            if object {
                writer.map(entries)
            } else {
                writer.array(entries)
            };
            let begin = end - (moved - (at + 1));
            out.copy_within(at + 1..moved, begin);
            (moved, end) = (at, begin - header.len());
            out.iter_mut().skip(end).zip(header).for_each(|(to, byte)| *to = byte);
        }
    }
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
    if plain(raw) == raw.len() {
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

    /// Headers of one, three and five bytes in one another, and what is before, between and after them.
    #[test]
    fn long_headers_in_one_another() {
        let (map16, array16, array32) = (&b"\xde\x00\x10"[..], &b"\xdc\x00\x10"[..], &b"\xdd\x00\x01\x00\x00"[..]);
        let zeros = |count: usize| vec!["0"; count].join(",");
        let members = (b'b'..=b'p').map(|name| format!("\"{}\":1", char::from(name))).collect::<Vec<_>>().join(",");
        let json = format!(r#"7,[8,{{"a":[[{}],[{}]],{members}}},{}],9"#, zeros(65_535), zeros(65_536), zeros(14));
        let rest: Vec<u8> = (b'b'..=b'p').flat_map(|name| [0xa1, name, 1]).collect();
        let expected = [
            &b"\x07"[..],
            array16,
            b"\x08",
            map16,
            b"\xa1a\x92\xdc\xff\xff",
            &[0; 65_535],
            array32,
            &[0; 65_536],
            &rest,
            &[0; 14],
            b"\x09",
        ];
        let mut out = b"before".to_vec();
        assert_eq!(from_json(&json, &[], &mut out, Flavour::Notepack), Ok(3));
        assert_eq!(out, [&b"before"[..], &expected.concat()].concat());
        // Those in a placeholder are gone with it.
        let placeholder = format!(r#"{{"x":[[{}]],"_placeholder":true,"num":0}}"#, zeros(16));
        let json = format!("[{placeholder},[{}],{}]", zeros(16), zeros(14));
        let expected = [array16, b"\xc4\x01a", array16, &[0; 16 + 14]].concat();
        assert_eq!(msgpack(&json, &[Bytes::from_static(b"a")]), expected);
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
