//! MessagePack to arguments.

use super::date;
use super::error::MsgpackError;
use super::item::Item;
use super::reader::{Reader, lossy};
use crate::arguments::args::Args;
use crate::arguments::byte_str::ByteStr;
use crate::arguments::number;
use crate::limits::{MAX_DEPTH_OPTION, MAX_PACKET_BYTES};
use bytes::Bytes;
use serde_json::ser::{CompactFormatter, Formatter};

/// Reads the next array as arguments: `[event, ...args]`, or the arguments of an answer. The array itself is one level
/// of nesting, as in a client's packet.
///
/// # Errors
/// [`MsgpackError`]; the reader's position means nothing then.
pub fn read_args(reader: &mut Reader<'_>, max_depth: usize) -> Result<Args, MsgpackError> {
    let count = reader.array_len()?;
    let max_depth = max_depth.checked_sub(1).ok_or(MsgpackError::Depth)?;
    read(reader, count, max_depth)
}

/// Reads the next value as the only argument: the answer to a broadcast, as servers send it to one another.
///
/// # Errors
/// As [`read_args`].
pub fn read_arg(reader: &mut Reader<'_>, max_depth: usize) -> Result<Args, MsgpackError> {
    read(reader, 1, max_depth)
}

fn read(reader: &mut Reader<'_>, count: usize, max_depth: usize) -> Result<Args, MsgpackError> {
    let (mut json, mut attachments) = (Vec::new(), Vec::new());
    values(reader, count, &mut json, &mut attachments, Bounds::of_servers(max_depth))?;
    // Only UTF-8 was written, so this cannot fail.
    let items = ByteStr::from_utf8(Bytes::from(json)).map_err(|_| MsgpackError::Utf8)?;
    Ok(Args::from_parts(items, attachments))
}

/// Appends the next value to `json`, spelled as by `JSON.stringify` (except that integers keep all their digits), and
/// its bytes to `attachments`; placeholders are numbered from the attachments that are already there. The module's
/// documentation says what becomes of other values that JSON cannot hold.
///
/// The text nests at most `max_depth` levels (capped at [`MAX_DEPTH_OPTION`]); a placeholder counts as a level. Text
/// and attachments of one value together stay within [`MAX_PACKET_BYTES`]. After an error nothing has been appended.
///
/// Maps that look like placeholders are disarmed only if there are attachments, in this value or before it. So for
/// several values in one text use [`read_args`], which knows all attachments.
///
/// # Errors
/// [`MsgpackError`]; the reader's position means nothing then.
pub fn to_json(
    reader: &mut Reader<'_>,
    json: &mut Vec<u8>,
    attachments: &mut Vec<Bytes>,
    max_depth: usize,
) -> Result<(), MsgpackError> {
    values(reader, 1, json, attachments, Bounds::of_servers(max_depth))
}

/// Most bytes of text for which room is made before there is text.
const MOST_AT_ONCE: usize = 1_024;

/// What one call may make, and how it reads what the versions of notepack read differently.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Levels of nesting, capped at [`MAX_DEPTH_OPTION`].
    pub(crate) max_depth: usize,
    /// Bytes of the text and the attachments together.
    pub(crate) max_bytes: usize,
    /// Whether ext −1 is a timestamp. To notepack 2 it is an extension like any other.
    pub(crate) timestamps: bool,
    /// Whether bytes are spelled out in the text, as `JSON.stringify` spells a Buffer, and not attached.
    pub(crate) spelled: bool,
}

impl Bounds {
    /// For what other servers send.
    fn of_servers(max_depth: usize) -> Self {
        Self { max_depth, max_bytes: MAX_PACKET_BYTES, timestamps: true, spelled: false }
    }
}

/// Appends `count` values with commas between them.
pub(crate) fn values(
    reader: &mut Reader<'_>,
    count: usize,
    json: &mut Vec<u8>,
    attachments: &mut Vec<Bytes>,
    bounds: Bounds,
) -> Result<(), MsgpackError> {
    let (text_start, attachments_start) = (json.len(), attachments.len());
    if count > 0 {
        // The text is a little longer than the message, which may contain a large attachment.
        let left = reader.remaining();
        json.reserve((left + left / 4).min(MOST_AT_ONCE));
    }
    let bounds = Bounds { max_depth: bounds.max_depth.min(MAX_DEPTH_OPTION), ..bounds };
    let mut transcript =
        Transcript { json, attachments, text_start, attached: 0, lookalikes: Vec::new(), levels: Vec::new(), bounds };
    for index in 0..count {
        if index > 0 {
            transcript.json.push(b',');
        }
        if let Err(error) = transcript.value(reader) {
            json.truncate(text_start);
            attachments.truncate(attachments_start);
            return Err(error);
        }
    }
    transcript.disarm();
    Ok(())
}

struct Transcript<'o> {
    json: &'o mut Vec<u8>,
    attachments: &'o mut Vec<Bytes>,
    /// Where the text of this call begins.
    text_start: usize,
    /// Bytes of the attachments of this call.
    attached: usize,
    /// Where the text has `true` as the value of `"_placeholder"` in a map from the other server. Each takes 14 bytes
    /// of input.
    lookalikes: Vec<usize>,
    /// Arrays and maps that are open.
    levels: Vec<Level>,
    bounds: Bounds,
}

struct Level {
    map: bool,
    started: bool,
    /// Elements or members that are still to come.
    left: u32,
}

impl Transcript<'_> {
    fn value(&mut self, reader: &mut Reader<'_>) -> Result<(), MsgpackError> {
        loop {
            self.opening(reader)?;
            if self.json.len() - self.text_start + self.attached > self.bounds.max_bytes {
                return Err(MsgpackError::TooLarge);
            }
            if !self.next(reader)? {
                return Ok(());
            }
        }
    }

    /// Writes a scalar, or the opening bracket of an array or map.
    fn opening(&mut self, reader: &mut Reader<'_>) -> Result<(), MsgpackError> {
        match reader.item()? {
            Item::Bool(true) => self.json.extend_from_slice(b"true"),
            Item::Bool(false) => self.json.extend_from_slice(b"false"),
            // Writing to a vector cannot fail, here and below.
            Item::Uint(value) => _ = CompactFormatter.write_u64(self.json, value),
            Item::Int(value) => _ = CompactFormatter.write_i64(self.json, value),
            Item::Float(value) if value.is_finite() => _ = number::write_f64(self.json, value),
            Item::Float(_) | Item::Nil | Item::Undefined => self.json.extend_from_slice(b"null"),
            Item::Str(text) => self.string(&lossy(text)),
            Item::Bin(bytes) => self.bytes(reader, bytes, 0)?,
            Item::Ext(kind, bytes) if kind != -1 || !self.bounds.timestamps => self.ext(reader, kind, bytes)?,
            item @ (Item::Date(_) | Item::Ext(..)) => match (date::milliseconds(item), item) {
                (Some(milliseconds), _) => date::write_date(self.json, milliseconds),
                (None, Item::Ext(kind, bytes)) => self.ext(reader, kind, bytes)?,
                _ => self.json.extend_from_slice(b"null"),
            },
            Item::Array(left) => self.open(Level { map: false, started: false, left })?,
            Item::Map(left) => self.open(Level { map: true, started: false, left })?,
        }
        Ok(())
    }

    fn open(&mut self, level: Level) -> Result<(), MsgpackError> {
        self.nest(1)?;
        self.json.push(if level.map { b'{' } else { b'[' });
        self.levels.push(level);
        Ok(())
    }

    /// Checks that this many more levels are allowed here.
    fn nest(&self, levels: usize) -> Result<(), MsgpackError> {
        if self.levels.len() + levels > self.bounds.max_depth { Err(MsgpackError::Depth) } else { Ok(()) }
    }

    /// After a value: closes what is complete, and writes what comes before the next value. Returns `false` if there is
    /// none.
    fn next(&mut self, reader: &mut Reader<'_>) -> Result<bool, MsgpackError> {
        while let Some(level) = self.levels.last_mut() {
            let map = level.map;
            if level.left == 0 {
                self.levels.pop();
                self.json.push(if map { b'}' } else { b']' });
                continue;
            }
            level.left -= 1;
            if !map {
                if level.started {
                    self.json.push(b',');
                }
                level.started = true;
                return Ok(true);
            }
            let key = reader.key()?;
            if reader.next_is_undefined() {
                reader.skip_value()?;
                continue;
            }
            if level.started {
                self.json.push(b',');
            }
            level.started = true;
            self.string(&key);
            self.json.push(b':');
            if key == "_placeholder" && reader.clone().bool() == Ok(true) {
                self.lookalikes.push(self.json.len());
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn string(&mut self, text: &str) {
        let _ = serde_json::to_writer(&mut *self.json, text);
    }

    /// An extension as notepack decodes it: its type and its bytes.
    fn ext(&mut self, reader: &Reader<'_>, kind: i8, bytes: &[u8]) -> Result<(), MsgpackError> {
        self.json.push(b'[');
        let _ = CompactFormatter.write_i64(self.json, kind.into());
        self.json.push(b',');
        self.bytes(reader, bytes, 1)?;
        self.json.push(b']');
        Ok(())
    }

    /// The bytes that the reader read last, inside so many levels that are not in the list.
    fn bytes(&mut self, reader: &Reader<'_>, bytes: &[u8], inside: usize) -> Result<(), MsgpackError> {
        if self.bounds.spelled {
            self.nest(inside + 2)?;
            self.spell(bytes);
        } else {
            self.nest(inside + 1)?;
            self.attachment(reader.keep(bytes));
        }
        Ok(())
    }

    /// Writes bytes as `Buffer.prototype.toJSON` does: at most four bytes of text for each.
    fn spell(&mut self, bytes: &[u8]) {
        self.json.extend_from_slice(br#"{"type":"Buffer","data":["#);
        for (at, byte) in bytes.iter().enumerate() {
            if at > 0 {
                self.json.push(b',');
            }
            let _ = CompactFormatter.write_u8(self.json, *byte);
        }
        self.json.extend_from_slice(b"]}");
    }

    fn attachment(&mut self, bytes: Bytes) {
        self.json.extend_from_slice(br#"{"_placeholder":true,"num":"#);
        let _ = CompactFormatter.write_u64(self.json, self.attachments.len() as u64);
        self.json.push(b'}');
        self.attached += bytes.len();
        self.attachments.push(bytes);
    }

    /// Overwrites the `true` of each lookalike with `null`, which has the same length.
    fn disarm(&mut self) {
        if self.attachments.is_empty() {
            return;
        }
        for start in &self.lookalikes {
            if let Some(value) = self.json.get_mut(*start..*start + 4) {
                value.copy_from_slice(b"null");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Writer};
    use super::*;
    use crate::limits::MAX_DEPTH;

    fn transcribed(bytes: &[u8]) -> Result<(String, Vec<Bytes>), MsgpackError> {
        let (mut json, mut attachments) = (b"-".to_vec(), Vec::new());
        let mut reader = Reader::new(bytes);
        let result = to_json(&mut reader, &mut json, &mut attachments, MAX_DEPTH);
        if let Err(error) = result {
            assert_eq!((&json[..], attachments.len()), (&b"-"[..], 0), "an error leaves nothing behind");
            return Err(error);
        }
        reader.finish()?;
        Ok((String::from_utf8(json).unwrap().split_off(1), attachments))
    }

    fn json(bytes: &[u8]) -> String {
        transcribed(bytes).unwrap().0
    }

    #[test]
    fn scalars_as_json_stringify_spells_them() {
        for (bytes, expected) in [
            (&b"\xc0"[..], "null"),
            (b"\xc3", "true"),
            (b"\x05", "5"),
            (b"\xff", "-1"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xcf\x00\x20\x00\x00\x00\x00\x00\x01", "9007199254740993"),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
            (b"\xcb\x40\x08\x00\x00\x00\x00\x00\x00", "3"),
            (b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", "0"),
            (b"\xcb\x44\x4b\x1a\xe4\xd6\xe2\xef\x50", "1e+21"),
            (b"\xca\x3f\x80\x00\x00", "1"),
            (b"\xca\x3d\xcc\xcc\xcd", "0.10000000149011612"),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
            (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "null"),
            (b"\xa6\"\\\n\x01\x7fx", "\"\\\"\\\\\\n\\u0001\x7fx\""),
            (b"\xa3\xed\xa0\x80", "\"\u{fffd}\u{fffd}\u{fffd}\""),
        ] {
            assert_eq!(json(bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn arrays_and_maps_nest() {
        assert_eq!(json(b"\x93\x90\x80\x92\x01\x91\xc0"), "[[],{},[1,[null]]]");
        assert_eq!(json(b"\x82\xa1a\x81\xa1b\x90\x07\x02"), r#"{"a":{"b":[]},"7":2}"#);
    }

    #[test]
    fn undefined_is_null_and_no_member() {
        assert_eq!(json(b"\xd4\x00\x00"), "null");
        assert_eq!(json(b"\x92\xd4\x00\x00\x01"), "[null,1]");
        assert_eq!(json(b"\x83\xa1a\xd4\x00\x00\xa1b\x01\xa1c\xd4\x00\x00"), r#"{"b":1}"#);
        assert_eq!(json(b"\x82\xa1a\xd4\x00\x00\xa1b\x80"), r#"{"b":{}}"#);
        assert_eq!(json(b"\x81\xa1a\xd4\x00\x00"), "{}");
    }

    #[test]
    fn dates_are_their_iso_text() {
        assert_eq!(json(b"\xd6\xff\x65\x93\x7d\x25"), r#""2024-01-02T03:04:05.000Z""#);
        assert_eq!(json(b"\xd7\xff\xa1\xa5\xd6\x00\x65\x93\x7d\x25"), r#""2024-01-02T03:04:05.678Z""#);
        assert_eq!(json(b"\xd7\x00\x00\x00\x01\x8b\xcf\xe5\x68\x7b"), r#""2023-11-14T22:13:20.123Z""#);
        assert_eq!(json(b"\xd7\x00\x7f\xff\xff\xff\xff\xff\xff\xff"), "null");
    }

    #[test]
    fn bytes_become_attachments_in_order() {
        let (text, attachments) = transcribed(b"\x93\xc4\x01a\x81\xa1k\xc7\x02\x00bc\xd5\x05de").unwrap();
        assert_eq!(
            text,
            r#"[{"_placeholder":true,"num":0},{"k":{"_placeholder":true,"num":1}},[5,{"_placeholder":true,"num":2}]]"#
        );
        assert_eq!(attachments, [&b"a"[..], b"bc", b"de"]);

        let (mut text, mut attachments) = (Vec::new(), vec![Bytes::new(); 3]);
        to_json(&mut Reader::new(b"\xc4\x01a"), &mut text, &mut attachments, 1).unwrap();
        assert_eq!(text, br#"{"_placeholder":true,"num":3}"#);
    }

    #[test]
    fn a_map_that_looks_like_a_placeholder_stands_for_no_bytes() {
        let lookalike = b"\x82\xac_placeholder\xc3\xa3num\x00";
        assert_eq!(json(lookalike), r#"{"_placeholder":true,"num":0}"#);
        let disarmed = r#"{"_placeholder":null,"num":0}"#;
        let real = r#"{"_placeholder":true,"num":0}"#;
        assert_eq!(json(&[b"\x92", &lookalike[..], b"\xc4\x01a"].concat()), format!("[{disarmed},{real}]"));
        assert_eq!(json(&[b"\x92\xc4\x01a", &lookalike[..]].concat()), format!("[{real},{disarmed}]"));
        let twice = [b"\x92\xc4\x00\x82\xac_placeholder\xc2\xac_placeholder", &b"\xc3"[..]].concat();
        assert_eq!(json(&twice), format!(r#"[{real},{{"_placeholder":false,"_placeholder":null}}]"#));
        // As arguments: the lookalike and the bytes are different values of one text.
        let message = [b"\x92", &lookalike[..], b"\xc4\x01a"].concat();
        let args = read_args(&mut Reader::new(&message), MAX_DEPTH).unwrap();
        assert_eq!(args.items(), format!("{disarmed},{real}"));
    }

    #[test]
    fn arguments_of_an_array_and_of_one_value() {
        let args = read_args(&mut Reader::new(b"\x93\xa1e\x01\xc4\x01a"), MAX_DEPTH).unwrap();
        assert_eq!(args.items(), r#""e",1,{"_placeholder":true,"num":0}"#);
        assert_eq!(args.attachments(), [&b"a"[..]]);
        assert!(read_args(&mut Reader::new(b"\x90"), MAX_DEPTH).unwrap().is_empty());
        let wrong = MsgpackError::Type { expected: Kind::Array, found: Kind::Map };
        assert_eq!(read_args(&mut Reader::new(b"\x80"), MAX_DEPTH), Err(wrong));
        assert_eq!(read_arg(&mut Reader::new(b"\x91\xc0"), MAX_DEPTH).unwrap().items(), "[null]");
    }

    #[test]
    fn depth_at_the_limit_and_one_past_it() {
        for (open, close) in [(&b"\x91"[..], "]"), (b"\x81\xa1k", "}")] {
            let nested = |depth: usize| [open.repeat(depth), b"\xc0".to_vec()].concat();
            assert!(json(&nested(MAX_DEPTH)).ends_with(&close.repeat(MAX_DEPTH)));
            assert_eq!(transcribed(&nested(MAX_DEPTH + 1)), Err(MsgpackError::Depth));
        }
        // A placeholder is an object, and an unknown extension an array around one.
        let around = |depth: usize, inner: &[u8]| [&vec![0x91; depth][..], inner].concat();
        assert!(transcribed(&around(MAX_DEPTH - 1, b"\xc4\x00")).is_ok());
        assert_eq!(transcribed(&around(MAX_DEPTH, b"\xc4\x00")), Err(MsgpackError::Depth));
        assert!(transcribed(&around(MAX_DEPTH - 2, b"\xd4\x05\x00")).is_ok());
        assert_eq!(transcribed(&around(MAX_DEPTH - 1, b"\xd4\x05\x00")), Err(MsgpackError::Depth));
        let nested = |depth: usize| around(depth, b"\xc0");
        assert!(read_args(&mut Reader::new(&nested(MAX_DEPTH)), MAX_DEPTH).is_ok());
        assert_eq!(read_args(&mut Reader::new(&nested(MAX_DEPTH + 1)), MAX_DEPTH), Err(MsgpackError::Depth));
        assert_eq!(read_args(&mut Reader::new(b"\x90"), 0), Err(MsgpackError::Depth));
        let (mut json, mut attachments) = (Vec::new(), Vec::new());
        let mut read = |depth| to_json(&mut Reader::new(&nested(depth)), &mut json, &mut attachments, usize::MAX);
        assert_eq!(read(MAX_DEPTH_OPTION), Ok(()));
        assert_eq!(read(MAX_DEPTH_OPTION + 1), Err(MsgpackError::Depth));
    }

    #[test]
    fn size_at_the_limit_and_one_past_it() {
        let message = |len: usize| {
            let mut out = Vec::new();
            Writer::new(&mut out).bin(&vec![0; len]);
            Bytes::from(out)
        };
        let placeholder = br#"{"_placeholder":true,"num":0}"#.len();
        let read = |message: &Bytes| read_arg(&mut Reader::shared(message), MAX_DEPTH).map(|_| ());
        assert_eq!(read(&message(MAX_PACKET_BYTES - placeholder)), Ok(()));
        assert_eq!(read(&message(MAX_PACKET_BYTES - placeholder + 1)), Err(MsgpackError::TooLarge));
        // Two bytes become some thirty, so a few megabytes of them are refused too.
        let mut out = Vec::new();
        Writer::new(&mut out).array(3_000_000).raw(&b"\xc4\x00".repeat(3_000_000));
        assert_eq!(transcribed(&out), Err(MsgpackError::TooLarge));
    }

    /// Room is made for what is left of the message, and never for a large attachment.
    #[test]
    fn room_at_the_limit_and_past_it() {
        for (bytes, room) in [(100, 128), (MOST_AT_ONCE, MOST_AT_ONCE), (1_000_000, MOST_AT_ONCE)] {
            let mut message = Vec::new();
            super::super::Writer::new(&mut message).bin(&vec![0; bytes]);
            let (mut json, mut attachments) = (Vec::new(), Vec::new());
            to_json(&mut Reader::new(&message), &mut json, &mut attachments, MAX_DEPTH).unwrap();
            assert!(json.capacity() <= room, "{bytes}: {}", json.capacity());
            assert_eq!(attachments.first().map(Bytes::len), Some(bytes));
        }
    }

    #[test]
    fn keys_that_are_no_text_are_refused() {
        assert_eq!(transcribed(b"\x81\x90\x01"), Err(MsgpackError::Key));
    }
}
