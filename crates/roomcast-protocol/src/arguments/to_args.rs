//! Values into arguments: serde to JSON text, with bytes extracted as attachments.

use crate::arguments::args::Args;
use crate::arguments::attachment::lent;
use crate::arguments::byte_str::ByteStr;
use crate::arguments::number;
use crate::arguments::tuple::is_tuple;
use crate::limits::MAX_PACKET_BYTES;
use crate::placeholder::write::{remove_marks, renumber, write_placeholder};
use bytes::Bytes;
use serde::Serialize;
use serde::ser::{self, Impossible, Serializer};
use serde_json::ser::Formatter;
use std::io;
use std::ops::Range;

/// What can be emitted: every [`Serialize`] type, and [`Args`] themselves (relayed as they are).
///
/// A tuple is several arguments, `()` is none, and anything else is one argument, including a fixed array, a tuple
/// struct, `null` and `None`. A type that is several arguments without being a tuple implements this trait, with
/// [`ArgsWriter::push_value`].
///
/// Bytes (everything that serialises through `serialize_bytes`: [`Attachment`](crate::Attachment), [`bytes::Bytes`],
/// `serde_bytes`) become attachments, at any depth. An `Attachment` is shared, everything else is copied. If there are
/// attachments, an object of the value's own that looks like a placeholder gets `null` in place of its `true`, so that
/// it cannot stand for bytes.
#[diagnostic::on_unimplemented(message = "`{Self}` cannot be emitted", label = "implement `serde::Serialize` for it")]
pub trait ToArgs {
    /// Writes the arguments.
    ///
    /// # Errors
    /// [`ToArgsError`].
    fn to_args(&self, writer: &mut ArgsWriter) -> Result<(), ToArgsError>;
}

/// Why a value could not be made into arguments.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToArgsError {
    /// The value's own `Serialize` failed, or JSON cannot hold it (a map with keys that are not strings).
    #[error("the value cannot be written as JSON: {0}")]
    Value(#[from] serde_json::Error),
    /// Text and attachments together are larger than [`MAX_PACKET_BYTES`].
    #[error("larger than the {MAX_PACKET_BYTES} bytes of one packet")]
    TooLarge,
}

impl<T: Serialize + ?Sized> ToArgs for T {
    fn to_args(&self, writer: &mut ArgsWriter) -> Result<(), ToArgsError> {
        if !is_tuple::<T>() {
            return writer.push_value(self);
        }
        match self.serialize(Spread(writer)) {
            Ok(()) => Ok(()),
            Err(Shape::One) => writer.push_value(self),
            Err(Shape::Failed(error)) => Err(error),
        }
    }
}

impl Args {
    /// The arguments that `value` stands for: a tuple is several, `()` is none, anything else is one.
    ///
    /// # Errors
    /// [`ToArgsError`] when `value` refuses to be serialised or is too large.
    pub fn of<T: ToArgs + ?Sized>(value: &T) -> Result<Self, ToArgsError> {
        let mut writer = ArgsWriter::default();
        value.to_args(&mut writer)?;
        writer.finish()
    }

    /// The data of an event packet: its name, then the arguments.
    ///
    /// # Errors
    /// As [`Args::of`].
    pub fn event<T: ToArgs + ?Sized>(name: &str, value: &T) -> Result<Self, ToArgsError> {
        let mut writer = ArgsWriter::default();
        writer.push_value(name)?;
        value.to_args(&mut writer)?;
        writer.finish()
    }
}

impl ToArgs for &Args {
    fn to_args(&self, writer: &mut ArgsWriter) -> Result<(), ToArgsError> {
        (**self).to_args(writer)
    }
}

impl ToArgs for Args {
    fn to_args(&self, writer: &mut ArgsWriter) -> Result<(), ToArgsError> {
        if self.is_empty() {
            return Ok(());
        }
        writer.separate();
        let (start, before, count) = (writer.json.len(), writer.attachments.len(), self.attachments().len());
        if before == 0 || count == 0 {
            writer.json.extend_from_slice(self.items_bytes());
        } else {
            renumber(self.items(), count, before, &mut writer.json);
        }
        if before == 0 && count > 0 {
            writer.relayed = start..writer.json.len();
        }
        writer.attachments.extend_from_slice(self.attachments());
        Ok(())
    }
}

/// The bytes of JSON for which room is made at first. Most events are shorter; from nothing the text would be moved for
/// every doubling, which costs a quarter of encoding an event.
const TYPICAL: usize = 128;

/// Collects arguments.
#[derive(Debug, Default)]
pub struct ArgsWriter {
    json: Vec<u8>,
    attachments: Vec<Bytes>,
    /// The text of relayed arguments that came with the first attachments, placeholders and all.
    relayed: Range<usize>,
}

impl ArgsWriter {
    /// Adds one argument.
    ///
    /// # Errors
    /// [`ToArgsError`].
    pub fn push_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ToArgsError> {
        if self.json.capacity() == 0 {
            self.json.reserve(TYPICAL);
        }
        self.separate();
        let formatter = Extracting { attachments: &mut self.attachments };
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut self.json, formatter))?;
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Args, ToArgsError> {
        let json = if self.attachments.is_empty() { self.json } else { remove_marks(self.json, &self.relayed) };
        // The final size: the marks, which are gone now, made the text longer.
        let size = self.attachments.iter().fold(json.len(), |size, bytes| size.saturating_add(bytes.len()));
        if size > MAX_PACKET_BYTES {
            return Err(ToArgsError::TooLarge);
        }
        // serde_json writes only UTF-8, so this cannot fail.
        let items = ByteStr::from_utf8(Bytes::from(json)).map_err(ser::Error::custom).map_err(ToArgsError::Value)?;
        Ok(Args::from_parts(items, self.attachments))
    }

    fn separate(&mut self) {
        if !self.json.is_empty() {
            self.json.push(b',');
        }
    }
}

/// Writes JSON as `JSON.stringify` does, with numbers in JavaScript's spelling, and bytes as placeholders.
struct Extracting<'a> {
    attachments: &'a mut Vec<Bytes>,
}

impl Formatter for Extracting<'_> {
    fn write_byte_array<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        let number = self.attachments.len();
        self.attachments.push(lent(value).unwrap_or_else(|| Bytes::copy_from_slice(value)));
        write_placeholder(writer, number)
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        number::write_f64(writer, value)
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        number::write_f32(writer, value)
    }
}

/// Spreads a tuple into several arguments. For anything else it writes nothing and returns [`Shape::One`], so that
/// serde_json then writes the value as one argument.
struct Spread<'a>(&'a mut ArgsWriter);

#[derive(Debug, thiserror::Error)]
enum Shape {
    #[error("one value")]
    One,
    #[error(transparent)]
    Failed(#[from] ToArgsError),
}

impl ser::Error for Shape {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Failed(ToArgsError::Value(ser::Error::custom(message)))
    }
}

macro_rules! one {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$ok, Shape> {
            Err(Shape::One)
        })*
    };
}

impl<'a> Serializer for Spread<'a> {
    type Ok = ();
    type Error = Shape;
    type SerializeSeq = Impossible<(), Shape>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Impossible<(), Shape>;
    type SerializeTupleVariant = Impossible<(), Shape>;
    type SerializeMap = Impossible<(), Shape>;
    type SerializeStruct = Impossible<(), Shape>;
    type SerializeStructVariant = Impossible<(), Shape>;

    one! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_i128(i128) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_u128(u128) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn serialize_unit(self) -> Result<(), Shape> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Shape> {
        Err(Shape::One)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<(), Shape> {
        Err(Shape::One)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Shape> {
        Err(Shape::One)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Shape> {
        Ok(self)
    }
}

impl ser::SerializeTuple for Spread<'_> {
    type Ok = ();
    type Error = Shape;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Shape> {
        Ok(self.0.push_value(value)?)
    }

    fn end(self) -> Result<(), Shape> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attachment;
    use serde_bytes::Bytes as Binary;
    use serde_json::json;

    fn items<T: ToArgs + ?Sized>(value: &T) -> String {
        Args::of(value).unwrap().items().to_owned()
    }

    #[derive(Serialize)]
    struct Pair(u8, u8);

    #[derive(Serialize)]
    struct Wrapped((u8, u8));

    #[test]
    fn tuples_spread_and_everything_else_is_one_argument() {
        assert_eq!(items(&()), "");
        assert_eq!(items("a"), r#""a""#);
        assert_eq!(items(&(1, "b", true)), r#"1,"b",true"#);
        assert_eq!(items(&&(1, 2)), "1,2");
        assert_eq!(items(&(1, (2, 3))), "1,[2,3]");
        assert_eq!(items(&[1, 2]), "[1,2]");
        assert_eq!(items(&[0u8; 0]), "[]");
        assert_eq!(items(&Pair(1, 2)), "[1,2]");
        assert_eq!(items(&Wrapped((1, 2))), "[1,2]");
        assert_eq!(items(&Box::new((1, 2))), "[1,2]");
        assert_eq!(items(&vec![1, 2]), "[1,2]");
        assert_eq!(items(&vec![(1, 2)]), "[[1,2]]");
        assert_eq!(items(&Some((1, 2))), "[1,2]");
        assert_eq!(items(&None::<u8>), "null");
        assert_eq!(items(&json!(null)), "null");
        assert_eq!(items(&(json!(null),)), "null");
        assert_eq!(items(&json!({"a": [1, null]})), r#"{"a":[1,null]}"#);
        let raw = serde_json::value::RawValue::from_string("{ \"k\" : 1e400 }".to_owned()).unwrap();
        assert_eq!(items(&raw), "{ \"k\" : 1e400 }");
        assert_eq!(items(&(raw, ())), "{ \"k\" : 1e400 },null");
    }

    #[test]
    fn bytes_become_attachments_in_depth_first_order() {
        #[derive(Serialize)]
        struct Nested<'a> {
            a: Vec<&'a Binary>,
            b: u8,
        }
        let nested = Nested { a: vec![Binary::new(&[1]), Binary::new(&[])], b: 2 };
        let args = Args::event("n", &(nested, Binary::new(&[3]))).unwrap();
        assert_eq!(
            args.items(),
            r#""n",{"a":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}],"b":2},{"_placeholder":true,"num":2}"#
        );
        assert_eq!(args.attachments(), [&[1][..], &[], &[3]]);
        assert_eq!(Args::of(Binary::new(&[9])).unwrap().attachments(), [&[9][..]]);
    }

    #[test]
    fn relayed_arguments_are_not_touched() {
        let args = Args::of(&(Binary::new(&[1]), 2)).unwrap();
        let relayed = Args::event("x", &args).unwrap();
        assert_eq!(relayed.items(), r#""x",{"_placeholder":true,"num":0},2"#);
        assert_eq!(relayed.attachments(), args.attachments());
        assert_eq!(Args::event("x", &Args::none()).unwrap().items(), r#""x""#);
    }

    /// Several arguments that are not a tuple: bytes, what was relayed, and bytes.
    struct Behind<'a>(&'a [u8], &'a Args);

    impl ToArgs for Behind<'_> {
        fn to_args(&self, writer: &mut ArgsWriter) -> Result<(), ToArgsError> {
            writer.push_value(Binary::new(self.0))?;
            self.1.to_args(writer)?;
            writer.push_value(Binary::new(self.0))
        }
    }

    #[test]
    fn relayed_arguments_behind_attachments_are_renumbered() {
        let relayed = Args::of(&("a", [Binary::new(&[2]), Binary::new(&[3])])).unwrap();
        let args = Args::of(&Behind(&[1], &relayed)).unwrap();
        let one = |number| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
        assert_eq!(args.items(), format!(r#"{},"a",[{},{}],{}"#, one(0), one(1), one(2), one(3)));
        assert_eq!(args.attachments(), [&[1][..], &[2], &[3], &[1]]);
        // Data that looks like a placeholder stands for no bytes.
        let lookalike = json!({"_placeholder": true, "num": 1});
        let disarmed = r#"{"_placeholder":null,"num":1}"#;
        let args = Args::of(&Behind(&[1], &Args::of(&lookalike).unwrap())).unwrap();
        assert_eq!(args.items(), format!("{},{disarmed},{}", one(0), one(1)));
        let args = Args::of(&(&lookalike, Binary::new(&[1]), &lookalike)).unwrap();
        assert_eq!(args.items(), format!("{disarmed},{},{disarmed}", one(0)));
        let args = Args::of(&(&lookalike, 1)).unwrap();
        assert_eq!(args.items(), format!("{},1", disarmed.replace("null", "true")), "without attachments it is data");
        let args = Args::of(&Behind(&[1], &Args::none())).unwrap();
        assert_eq!(args.items(), format!("{},{}", one(0), one(1)));
    }

    #[test]
    fn an_attachment_is_shared_and_bytes_are_copied() {
        let attachment = Attachment::from(vec![7; 100]);
        let args = Args::of(&(&attachment, attachment.clone().into_bytes(), [&attachment])).unwrap();
        let shared = args.attachments().iter().map(|bytes| bytes.as_ptr() == attachment.as_ptr());
        assert_eq!(shared.collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(Args::of(&attachment).unwrap().attachments().len(), 1);
    }

    #[test]
    fn floats_are_spelled_as_javascript_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (3.0, "3"),
            (-2.0, "-2"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (1e-7, "1e-7"),
            (1.25e-7, "1.25e-7"),
            (-1e-7, "-1e-7"),
            (1e16, "10000000000000000"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (5e-324, "5e-324"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            assert_eq!(items(&value), expected, "{value:e}");
            assert_eq!(items(&vec![value]), format!("[{expected}]"));
        }
        assert_eq!(items(&0.1f32), "0.1");
    }

    #[test]
    fn size_at_the_limit_and_one_past_it() {
        // The two quotes count.
        let text = "a".repeat(MAX_PACKET_BYTES - 2);
        assert!(Args::of(&text).is_ok());
        assert!(matches!(Args::of(&(text, 1)), Err(ToArgsError::TooLarge)));
    }

    #[test]
    fn what_json_cannot_hold_is_an_error() {
        let map = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(matches!(Args::of(&map), Err(ToArgsError::Value(_))));
    }
}
