//! [`Reader`]: a cursor over MessagePack.

use super::error::MsgpackError;
use super::item::Item;
use super::kind::Kind;
use crate::arguments::number;
use bytes::Bytes;
use std::borrow::Cow;

/// Reads MessagePack, one value after another.
///
/// Lengths are checked against the bytes that are there before they are used, so `dd ffffffff` is
/// [`MsgpackError::Truncated`] at once. After [`MsgpackError::Type`] the reader is still before the value; after any
/// other error its position is unspecified.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    shared: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`. Attachments are copied out of them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, shared: None }
    }

    /// A reader whose attachments share the storage of `bytes`: nothing is copied, and the whole message stays in
    /// memory as long as one of them does.
    pub fn shared(bytes: &'a Bytes) -> Self {
        Self { bytes, position: 0, shared: Some(bytes) }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Whether everything has been read.
    pub fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`MsgpackError::Trailing`].
    pub fn finish(&self) -> Result<(), MsgpackError> {
        if self.is_at_end() { Ok(()) } else { Err(MsgpackError::Trailing(self.remaining())) }
    }

    /// What comes next.
    ///
    /// # Errors
    /// [`MsgpackError::Truncated`] at the end, or if the value is cut off; [`MsgpackError::Reserved`].
    pub fn peek(&self) -> Result<Kind, MsgpackError> {
        self.clone().item().map(Item::kind)
    }

    /// The number of elements of the array that comes next. It is never more than the number of bytes left.
    ///
    /// # Errors
    /// As all the following: [`MsgpackError::Type`] if the next value is of another kind, [`MsgpackError::Truncated`]
    /// if it is cut off, or [`MsgpackError::Reserved`].
    pub fn array_len(&mut self) -> Result<usize, MsgpackError> {
        self.expect(Kind::Array, |item| match item {
            Item::Array(count) => Some(count as usize),
            _ => None,
        })
    }

    /// The number of members of the map that comes next; each is a key and a value. It is never more than half the
    /// number of bytes left.
    ///
    /// # Errors
    /// As [`Reader::array_len`].
    pub fn map_len(&mut self) -> Result<usize, MsgpackError> {
        self.expect(Kind::Map, |item| match item {
            Item::Map(count) => Some(count as usize),
            _ => None,
        })
    }

    /// A key of a map: text (with invalid UTF-8 replaced), or a number, boolean or nil as JavaScript writes it.
    ///
    /// # Errors
    /// [`MsgpackError::Key`] if it is something else; [`MsgpackError::Truncated`], [`MsgpackError::Reserved`].
    pub fn key(&mut self) -> Result<Cow<'a, str>, MsgpackError> {
        Ok(match self.item()? {
            Item::Str(bytes) => lossy(bytes),
            Item::Uint(number) => number.to_string().into(),
            Item::Int(number) => number.to_string().into(),
            Item::Float(number) if number.is_finite() => number::javascript(number).into(),
            Item::Float(number) if number.is_nan() => "NaN".into(),
            Item::Float(number) => if number > 0.0 { "Infinity" } else { "-Infinity" }.into(),
            Item::Bool(value) => if value { "true" } else { "false" }.into(),
            Item::Nil => "null".into(),
            Item::Undefined => "undefined".into(),
            _ => return Err(MsgpackError::Key),
        })
    }

    /// Text.
    ///
    /// # Errors
    /// As [`Reader::array_len`], and [`MsgpackError::Utf8`].
    pub fn str(&mut self) -> Result<&'a str, MsgpackError> {
        std::str::from_utf8(self.str_bytes()?).map_err(|_| MsgpackError::Utf8)
    }

    /// Text, with U+FFFD for what is not UTF-8: @msgpack/msgpack writes a lone surrogate in three bytes. (In notepack a
    /// lone surrogate swallows the next character, which makes valid UTF-8 that cannot be recognised.)
    ///
    /// # Errors
    /// As [`Reader::array_len`].
    pub fn str_lossy(&mut self) -> Result<Cow<'a, str>, MsgpackError> {
        self.str_bytes().map(lossy)
    }

    /// Bytes: bin, or notepack's ext 0.
    ///
    /// # Errors
    /// As [`Reader::array_len`].
    pub fn bin(&mut self) -> Result<&'a [u8], MsgpackError> {
        self.expect(Kind::Bin, |item| match item {
            Item::Bin(bytes) => Some(bytes),
            _ => None,
        })
    }

    /// An integer of at least 0. A float without a fraction counts as one, up to 2^53 - 1, as JavaScript has one type
    /// of number.
    ///
    /// # Errors
    /// As [`Reader::array_len`]. For a number that does not fit it is [`MsgpackError::Type`].
    pub fn uint(&mut self) -> Result<u64, MsgpackError> {
        self.expect(Kind::Int, |item| match item {
            Item::Uint(number) => Some(number),
            Item::Float(number) => safe_integer(number).and_then(|number| u64::try_from(number).ok()),
            _ => None,
        })
    }

    /// An integer. A float without a fraction counts as one, up to ±(2^53 - 1).
    ///
    /// # Errors
    /// As [`Reader::uint`].
    pub fn int(&mut self) -> Result<i64, MsgpackError> {
        self.expect(Kind::Int, |item| match item {
            Item::Uint(number) => i64::try_from(number).ok(),
            Item::Int(number) => Some(number),
            Item::Float(number) => safe_integer(number),
            _ => None,
        })
    }

    /// A number. Integers beyond 2^53 are rounded.
    ///
    /// # Errors
    /// As [`Reader::array_len`].
    pub fn f64(&mut self) -> Result<f64, MsgpackError> {
        self.expect(Kind::Float, |item| match item {
            Item::Uint(number) => Some(number as f64),
            Item::Int(number) => Some(number as f64),
            Item::Float(number) => Some(number),
            _ => None,
        })
    }

    /// A boolean.
    ///
    /// # Errors
    /// As [`Reader::array_len`].
    pub fn bool(&mut self) -> Result<bool, MsgpackError> {
        self.expect(Kind::Bool, |item| match item {
            Item::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// nil.
    ///
    /// # Errors
    /// As [`Reader::array_len`].
    pub fn nil(&mut self) -> Result<(), MsgpackError> {
        self.expect(Kind::Nil, |item| matches!(item, Item::Nil).then_some(()))
    }

    /// Passes over the next value and everything in it. That takes no memory, so the depth of the value is not limited.
    ///
    /// # Errors
    /// [`MsgpackError::Truncated`], [`MsgpackError::Reserved`].
    pub fn skip_value(&mut self) -> Result<(), MsgpackError> {
        let mut pending = 1u64;
        while pending > 0 {
            pending -= 1;
            match self.item()? {
                Item::Array(count) => pending += u64::from(count),
                Item::Map(count) => pending += 2 * u64::from(count),
                _ => {}
            }
            // Every value takes at least a byte. This also keeps the count from overflowing.
            if pending > self.remaining() as u64 {
                return Err(MsgpackError::Truncated);
            }
        }
        Ok(())
    }

    /// The bytes of the next value, for [`Writer::raw`](super::Writer::raw) or another reader.
    ///
    /// # Errors
    /// As [`Reader::skip_value`].
    pub fn raw_value(&mut self) -> Result<&'a [u8], MsgpackError> {
        let start = self.position;
        self.skip_value()?;
        self.bytes.get(start..self.position).ok_or(MsgpackError::Truncated)
    }

    /// The bytes of the [`Item::Bin`] or [`Item::Ext`] that was read last, as an attachment.
    pub(super) fn keep(&self, last: &[u8]) -> Bytes {
        match self.shared {
            // They end at the reader's position.
            Some(shared) => shared.slice(self.position - last.len()..self.position),
            None => Bytes::copy_from_slice(last),
        }
    }

    /// Whether notepack's `undefined` comes next, complete or cut off.
    pub(super) fn next_is_undefined(&self) -> bool {
        self.rest().starts_with(&[0xd4, 0])
    }

    pub(super) fn item(&mut self) -> Result<Item<'a>, MsgpackError> {
        let [first] = self.fixed()?;
        Ok(match first {
            0x00..=0x7f => Item::Uint(first.into()),
            0x80..=0x8f => self.map(u32::from(first & 0x0f))?,
            0x90..=0x9f => self.array(u32::from(first & 0x0f))?,
            0xa0..=0xbf => Item::Str(self.take(u32::from(first & 0x1f))?),
            0xc0 => Item::Nil,
            0xc1 => return Err(MsgpackError::Reserved(first)),
            0xc2 => Item::Bool(false),
            0xc3 => Item::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length(first - 0xc4)?;
                Item::Bin(self.take(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.length(first - 0xc7)?;
                let kind = i8::from_be_bytes(self.fixed()?);
                let bytes = self.take(length)?;
                if kind == 0 { Item::Bin(bytes) } else { Item::Ext(kind, bytes) }
            }
            0xca => Item::Float(f32::from_be_bytes(self.fixed()?).into()),
            0xcb => Item::Float(f64::from_be_bytes(self.fixed()?)),
            0xcc => Item::Uint(u8::from_be_bytes(self.fixed()?).into()),
            0xcd => Item::Uint(u16::from_be_bytes(self.fixed()?).into()),
            0xce => Item::Uint(u32::from_be_bytes(self.fixed()?).into()),
            0xcf => Item::Uint(u64::from_be_bytes(self.fixed()?)),
            0xd0 => signed(i8::from_be_bytes(self.fixed()?).into()),
            0xd1 => signed(i16::from_be_bytes(self.fixed()?).into()),
            0xd2 => signed(i32::from_be_bytes(self.fixed()?).into()),
            0xd3 => signed(i64::from_be_bytes(self.fixed()?)),
            0xd4..=0xd8 => {
                let kind = i8::from_be_bytes(self.fixed()?);
                let bytes = self.take(1 << (first - 0xd4))?;
                match (kind, <[u8; 8]>::try_from(bytes)) {
                    (0, _) if first == 0xd4 => Item::Undefined,
                    (0, Ok(bytes)) => Item::Date(i64::from_be_bytes(bytes)),
                    _ => Item::Ext(kind, bytes),
                }
            }
            0xd9..=0xdb => {
                let length = self.length(first - 0xd9)?;
                Item::Str(self.take(length)?)
            }
            0xdc | 0xdd => {
                let count = self.length(first - 0xdc + 1)?;
                self.array(count)?
            }
            0xde | 0xdf => {
                let count = self.length(first - 0xde + 1)?;
                self.map(count)?
            }
            0xe0..=0xff => Item::Int(i8::from_be_bytes([first]).into()),
        })
    }

    fn array(&self, count: u32) -> Result<Item<'a>, MsgpackError> {
        if count as usize > self.remaining() { Err(MsgpackError::Truncated) } else { Ok(Item::Array(count)) }
    }

    fn map(&self, count: u32) -> Result<Item<'a>, MsgpackError> {
        if count as usize > self.remaining() / 2 { Err(MsgpackError::Truncated) } else { Ok(Item::Map(count)) }
    }

    /// A length of 1, 2 or 4 bytes, by the power of two.
    fn length(&mut self, power: u8) -> Result<u32, MsgpackError> {
        Ok(match power {
            0 => u8::from_be_bytes(self.fixed()?).into(),
            1 => u16::from_be_bytes(self.fixed()?).into(),
            _ => u32::from_be_bytes(self.fixed()?),
        })
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], MsgpackError> {
        let bytes = self.rest().first_chunk().ok_or(MsgpackError::Truncated)?;
        self.position += N;
        Ok(*bytes)
    }

    fn take(&mut self, length: u32) -> Result<&'a [u8], MsgpackError> {
        let bytes = self.rest().get(..length as usize).ok_or(MsgpackError::Truncated)?;
        self.position += bytes.len();
        Ok(bytes)
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    fn str_bytes(&mut self) -> Result<&'a [u8], MsgpackError> {
        self.expect(Kind::Str, |item| match item {
            Item::Str(bytes) => Some(bytes),
            _ => None,
        })
    }

    fn expect<T>(&mut self, expected: Kind, take: impl FnOnce(Item<'a>) -> Option<T>) -> Result<T, MsgpackError> {
        let start = self.position;
        let item = self.item()?;
        take(item).ok_or_else(|| {
            self.position = start;
            MsgpackError::Type { expected, found: item.kind() }
        })
    }
}

fn signed(number: i64) -> Item<'static> {
    u64::try_from(number).map_or(Item::Int(number), Item::Uint)
}

/// What `Number.isSafeInteger` accepts.
fn safe_integer(number: f64) -> Option<i64> {
    const LIMIT: f64 = ((1u64 << 53) - 1) as f64;
    (number.fract() == 0.0 && number.abs() <= LIMIT).then_some(number as i64)
}

/// Text, with U+FFFD for what is not UTF-8. Nearly all text is UTF-8, and checking that first is quicker.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: fn(Kind, Kind) -> MsgpackError = |expected, found| MsgpackError::Type { expected, found };

    #[test]
    fn each_form_is_read_by_its_method() {
        let mut reader = Reader::new(b"\x93\xa3abc\xd9\x01d\xda\x00\x01e");
        assert_eq!(reader.array_len(), Ok(3));
        assert_eq!((reader.str(), reader.str(), reader.str()), (Ok("abc"), Ok("d"), Ok("e")));
        assert_eq!(reader.finish(), Ok(()));
        let mut reader = Reader::new(b"\xc4\x02ab\xc5\x00\x01c\xc6\x00\x00\x00\x00\xc7\x01\x00d");
        assert_eq!([(); 4].map(|()| reader.bin()), [Ok(&b"ab"[..]), Ok(b"c"), Ok(b""), Ok(b"d")]);
        let mut reader = Reader::new(b"\xc0\xc2\xc3\x80\xde\x00\x00\xdf\x00\x00\x00\x00");
        assert_eq!((reader.nil(), reader.bool(), reader.bool()), (Ok(()), Ok(false), Ok(true)));
        assert_eq!([(); 3].map(|()| reader.map_len()), [Ok(0); 3]);
        assert!(reader.is_at_end());
    }

    #[test]
    fn integers_are_read_whatever_their_form() {
        for (bytes, number) in [
            (&b"\x7f"[..], 127),
            (b"\xe0", -32),
            (b"\xcc\xff", 255),
            (b"\xcd\xff\xff", 65_535),
            (b"\xce\xff\xff\xff\xff", 4_294_967_295),
            (b"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", i64::MAX),
            (b"\xd0\x80", -128),
            (b"\xd0\x05", 5),
            (b"\xd1\x80\x00", -32_768),
            (b"\xd2\x80\x00\x00\x00", -2_147_483_648),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", i64::MIN),
            (b"\xcb\x40\x00\x00\x00\x00\x00\x00\x00", 2),
            (b"\xca\xc0\x00\x00\x00", -2),
        ] {
            assert_eq!(Reader::new(bytes).int(), Ok(number), "{bytes:x?}");
            let unsigned = u64::try_from(number).ok();
            assert_eq!(Reader::new(bytes).uint().ok(), unsigned, "{bytes:x?}");
            assert_eq!(Reader::new(bytes).f64(), Ok(number as f64), "{bytes:x?}");
        }
        assert_eq!(Reader::new(&[0xcf, 255, 255, 255, 255, 255, 255, 255, 255]).uint(), Ok(u64::MAX));
        let wide = [0xcf, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(Reader::new(&wide).int(), Err(WRONG(Kind::Int, Kind::Int)));
        for float in [2.5, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0] {
            let bytes = [&[0xcb], &float.to_be_bytes()[..]].concat();
            assert_eq!(Reader::new(&bytes).int(), Err(WRONG(Kind::Int, Kind::Float)));
        }
    }

    #[test]
    fn a_wrong_type_leaves_the_reader_where_it_was() {
        let mut reader = Reader::new(b"\xa1a\x01");
        assert_eq!(reader.int(), Err(WRONG(Kind::Int, Kind::Str)));
        assert_eq!(reader.map_len(), Err(WRONG(Kind::Map, Kind::Str)));
        assert_eq!((reader.peek(), reader.position()), (Ok(Kind::Str), 0));
        assert_eq!(reader.str(), Ok("a"));
        assert_eq!(reader.finish(), Err(MsgpackError::Trailing(1)));
        assert_eq!(reader.str(), Err(WRONG(Kind::Str, Kind::Int)));
    }

    #[test]
    fn kinds_of_notepacks_own_extensions() {
        let kind = |bytes: &[u8]| Reader::new(bytes).peek();
        assert_eq!(kind(b"\xd4\x00\x00"), Ok(Kind::Undefined));
        assert_eq!(kind(b"\xd4\x00\x2a"), Ok(Kind::Undefined));
        assert_eq!(kind(b"\xd4\x01\x00"), Ok(Kind::Ext));
        assert_eq!(kind(b"\xc7\x01\x00\x2a"), Ok(Kind::Bin));
        assert_eq!(kind(b"\xd7\x00abcdefgh"), Ok(Kind::Ext));
        assert_eq!(kind(b"\xc1"), Err(MsgpackError::Reserved(0xc1)));
        assert_eq!(kind(b""), Err(MsgpackError::Truncated));
    }

    #[test]
    fn broken_text_is_an_error_or_replaced() {
        // What notepack makes of "\ud800x", and @msgpack/msgpack of "\ud800".
        let bytes = b"\xa4\xf0\x90\x81\xb8\xa3\xed\xa0\x80";
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.str_lossy().as_deref(), Ok("\u{10078}"));
        assert_eq!(reader.clone().str(), Err(MsgpackError::Utf8));
        assert_eq!(reader.str_lossy().as_deref(), Ok("\u{fffd}\u{fffd}\u{fffd}"));
    }

    #[test]
    fn keys_are_text_or_spelled_as_text() {
        for (bytes, key) in [
            (&b"\xa1k"[..], "k"),
            (b"\x05", "5"),
            (b"\xff", "-1"),
            (b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "1.5"),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "NaN"),
            (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "-Infinity"),
            (b"\xc3", "true"),
            (b"\xc0", "null"),
            (b"\xd4\x00\x00", "undefined"),
        ] {
            assert_eq!(Reader::new(bytes).key().as_deref(), Ok(key));
        }
        for bytes in [&b"\x90"[..], b"\x80", b"\xc4\x00", b"\xd4\x05\x00"] {
            assert_eq!(Reader::new(bytes).key(), Err(MsgpackError::Key));
        }
    }

    /// socketioxide #810: the type byte of an extension was forgotten, and all that followed was misread.
    #[test]
    fn values_that_nobody_asked_for_are_skipped_whole() {
        for unknown in [
            &b"\xc7\x03\x05abc"[..],
            b"\xc8\x00\x03\x05abc",
            b"\xc9\x00\x00\x00\x03\x05abc",
            b"\xd8\x050123456789abcdef",
            b"\x93\x01\x82\xa1a\x91\xc0\xa1b\xc4\x01x\xcb\x00\x00\x00\x00\x00\x00\x00\x00",
        ] {
            let mut message = b"\x82\xa1x".to_vec();
            message.extend_from_slice(unknown);
            message.extend_from_slice(b"\xa3nsp\xa1/");
            let mut reader = Reader::new(&message);
            assert_eq!(reader.map_len(), Ok(2));
            assert_eq!(reader.key().as_deref(), Ok("x"));
            assert_eq!(reader.clone().raw_value(), Ok(unknown));
            assert_eq!(reader.skip_value(), Ok(()));
            assert_eq!((reader.key().as_deref(), reader.str()), (Ok("nsp"), Ok("/")));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn skipping_does_not_care_how_deep_it_gets() {
        let mut deep = vec![0x91; 1_000_000];
        assert_eq!(Reader::new(&deep).skip_value(), Err(MsgpackError::Truncated));
        deep.push(0xc0);
        let mut reader = Reader::new(&deep);
        assert_eq!(reader.skip_value(), Ok(()));
        assert!(reader.is_at_end());
    }

    #[test]
    fn counts_that_the_bytes_cannot_hold_are_refused_at_the_header() {
        assert_eq!(Reader::new(b"\x92\xc0").array_len(), Err(MsgpackError::Truncated));
        assert_eq!(Reader::new(b"\x91\xc0").array_len(), Ok(1));
        assert_eq!(Reader::new(b"\x81\xc0").map_len(), Err(MsgpackError::Truncated));
        assert_eq!(Reader::new(b"\x81\xc0\xc0").map_len(), Ok(1));
    }

    #[test]
    fn kept_bytes_share_the_message() {
        let message = Bytes::from_static(b"\xc4\x03abc");
        let mut reader = Reader::shared(&message);
        let bytes = reader.bin().unwrap();
        let kept = reader.keep(bytes);
        assert_eq!((&kept[..], kept.as_ptr()), (&b"abc"[..], message[2..].as_ptr()));
        let mut reader = Reader::new(&message);
        let bytes = reader.bin().unwrap();
        assert_eq!(reader.keep(bytes), kept);
    }
}
