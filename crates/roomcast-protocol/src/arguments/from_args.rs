//! Arguments into values: JSON text to serde, with placeholders read as the attachments that they stand for.

mod error;
pub(crate) mod key;
pub(crate) mod reader;
#[cfg(test)]
mod tests;

pub use error::FromArgsError;

use crate::arguments::args::{Args, ArgsIter, ArgsRef};
use crate::arguments::tuple::is_tuple;
use crate::placeholder::search::find;
use bytes::Bytes;
use key::is_plain;
use reader::{Reader, Share};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, SeqAccess, Visitor};

/// What a handler can ask for: every type that can be deserialised, and [`Args`] (everything, unparsed).
///
/// A tuple takes several arguments, `()` none, and anything else the first: a fixed array or a tuple struct is one
/// argument, an array. [`Checked`] takes what its type takes, and shows the handler the error if the arguments do not
/// fit.
///
/// # Bytes
/// A placeholder is read as its attachment wherever the type asks for bytes, at any depth and inside tagged, untagged
/// and flattened types:
///
/// | type | gets |
/// |---|---|
/// | [`Attachment`](crate::Attachment) | the bytes that came, shared |
/// | [`bytes::Bytes`], `serde_bytes::ByteBuf` | a copy |
/// | `Vec<u8>`, `[u8; N]` | a copy, where it is read directly. What serde buffers (tagged, untagged and flattened types) it gives only to types of bytes |
/// | [`serde_json::Value`] | an array of numbers, as `serde_json::to_value` makes of bytes and `from_value` reads back; each takes 32 bytes of memory. Where serde buffers first, it is an error |
/// | [`serde_json::value::RawValue`] | the text as it came, including placeholders |
///
/// In an untagged type, put variants of bytes before `String`: serde gives bytes that are UTF-8 to a `String` too.
///
/// All copies of one read together take at most [`MAX_ATTACHMENT_COPIES`](crate::limits::MAX_ATTACHMENT_COPIES) times
/// the bytes that came; beyond that, reading is an error. So is a placeholder where the type asks for something other
/// than bytes: its object is never read as data.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from an event's arguments",
    label = "implement `serde::Deserialize` for it (without borrowing), or take `Args`"
)]
pub trait FromArgs: Sized {
    /// Reads the arguments.
    ///
    /// # Errors
    /// [`FromArgsError`] when an argument is not what the type asks for.
    fn from_args(args: ArgsRef<'_>) -> Result<Self, FromArgsError>;
}

impl<T: DeserializeOwned> FromArgs for T {
    fn from_args(args: ArgsRef<'_>) -> Result<Self, FromArgsError> {
        T::deserialize(TopLevel::new(args))
    }
}

impl Args {
    /// Reads the arguments into a type: a tuple takes several, `()` takes none, anything else takes the first.
    /// Arguments that are left over are ignored, as in JavaScript; missing ones read as `null`.
    ///
    /// # Errors
    /// [`FromArgsError`] when an argument is not what the type asks for.
    pub fn parse<T: FromArgs>(&self) -> Result<T, FromArgsError> {
        T::from_args(self.as_ref())
    }
}

impl FromArgs for Args {
    fn from_args(args: ArgsRef<'_>) -> Result<Self, FromArgsError> {
        Ok(args.to_owned())
    }
}

/// A `T`, or why the arguments do not fit it. A handler that asks for this is called either way.
///
/// It is not `Result` itself, since serde can read a `Result` too.
///
/// ```
/// use roomcast_protocol::{Args, Checked};
///
/// let args = Args::of(&("a", "b"))?;
/// let Checked(fits) = args.parse::<Checked<(String, u8)>>()?;
/// assert_eq!(fits.unwrap_err().argument(), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Checked<T>(pub Result<T, FromArgsError>);

impl<T: FromArgs> FromArgs for Checked<T> {
    fn from_args(args: ArgsRef<'_>) -> Result<Self, FromArgsError> {
        Ok(Self(T::from_args(args)))
    }
}

/// The arguments as a whole: several for types that are tuples, else the first.
struct TopLevel<'de> {
    args: ArgsIter<'de>,
    attachments: &'de [Bytes],
    share: Share,
    /// The argument that was read last, from 1.
    number: usize,
    /// How many arguments a tuple still takes. Missing ones read as `null`, so without this count there would be no
    /// end.
    wanted: usize,
}

impl<'de> TopLevel<'de> {
    fn new(args: ArgsRef<'de>) -> Self {
        let share = Share::of(args.attachments);
        Self { args: args.iter(), attachments: args.attachments, share, number: 0, wanted: 0 }
    }
}

/// Whether the text is an array or object: only these have members, or placeholders. It must not begin with white
/// space.
fn is_nested(text: &str) -> bool {
    text.starts_with(['[', '{'])
}

/// Reads the next argument with the deserialiser that it needs. A missing one reads as `null`.
macro_rules! next_argument {
    ($top:ident, |$deserializer:ident| $read:expr) => {{
        $top.number += 1;
        let sent = $top.args.next();
        let text = sent.unwrap_or("null");
        let nested = is_nested(text);
        let placeholders = match $top.attachments.len() {
            0 => Vec::new(),
            count if nested => find(text, count),
            _ => Vec::new(),
        };
        let read = if !nested || (placeholders.is_empty() && is_plain(text)) {
            let mut json = serde_json::Deserializer::from_str(text);
            let $deserializer = &mut json;
            $read.and_then(|value| json.end().map(|()| value))
        } else {
            let mut reader = Reader::new(text, $top.attachments, &placeholders, &$top.share);
            let $deserializer = &mut reader;
            $read.and_then(|value| reader.end().map(|()| value))
        };
        read.map_err(|error| FromArgsError { argument: Some($top.number), missing: sent.is_none(), error })
    }};
}

macro_rules! first_argument {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(mut self, $($name: $type,)* visitor: V) -> Result<V::Value, FromArgsError> {
            next_argument!(self, |argument| argument.$method($($name,)* visitor))
        })*
    };
}

impl<'de> Deserializer<'de> for TopLevel<'de> {
    type Error = FromArgsError;

    first_argument! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_seq() deserialize_map()
        deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FromArgsError> {
        visitor.visit_unit()
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, FromArgsError> {
        if !is_tuple::<V::Value>() {
            return next_argument!(self, |argument| argument.deserialize_tuple(len, visitor));
        }
        self.wanted = len;
        visitor.visit_seq(self)
    }
}

impl<'de> SeqAccess<'de> for TopLevel<'de> {
    type Error = FromArgsError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, FromArgsError> {
        let Some(wanted) = self.wanted.checked_sub(1) else {
            return Ok(None);
        };
        self.wanted = wanted;
        next_argument!(self, |argument| seed.deserialize(argument)).map(Some)
    }
}
