//! [`Key`]: the name of an object's member, for serde.

use serde::de::{self, Deserializer, Visitor};
use serde_json::Error as JsonError;
use std::borrow::Cow;

/// The prefix of names by which serde_json's own types ask serde_json for more than serde offers.
pub(super) const SERDE_JSON: &str = "$serde_json::private::";

/// Whether serde_json may read this text by itself: it has no member with a name that is serde_json's own
/// ([`Key::new`]), not even with escapes.
pub(crate) fn is_plain(text: &str) -> bool {
    // A fast check for what hardly any text has, then an exact one. Any numeric escape may spell a part of the name.
    let bytes = text.as_bytes();
    let mut suspicious = 0;
    for (first, second) in bytes.iter().zip(bytes.get(1..).unwrap_or_default()) {
        suspicious |= u8::from(*first == b'$') | (u8::from(*first == b'\\') & u8::from(*second == b'u'));
    }
    suspicious == 0 || !(text.contains(SERDE_JSON) || text.contains("\\u00"))
}

/// A member's name, as JSON text. serde reads it as text, or as a number or boolean where a map asks for such keys, as
/// serde_json does.
pub(super) struct Key<'de>(&'de str);

impl<'de> Key<'de> {
    /// # Errors
    /// If it is not a string, or if it is a name that serde_json's types treat as serde_json's own.
    /// [`serde_json::Value`] would parse again what follows such a name, each time with a new count of levels
    /// ([`json::from_str`](fn@crate::json::from_str)).
    pub(super) fn new(raw: &'de str) -> Result<Self, JsonError> {
        if !raw.starts_with('"') {
            return Err(de::Error::custom("a member's name is not a string"));
        }
        let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
        let name: Cow<'_, str> = if inner.contains('\\') {
            // A name with a lone surrogate is not such a name either.
            serde_json::from_str(raw).map_or(Cow::Borrowed(inner), Cow::Owned)
        } else {
            Cow::Borrowed(inner)
        };
        if name.starts_with(SERDE_JSON) {
            return Err(de::Error::custom("a member's name is reserved by serde_json"));
        }
        Ok(Self(raw))
    }

    fn json(&self) -> serde_json::Deserializer<serde_json::de::StrRead<'de>> {
        serde_json::Deserializer::from_str(self.0)
    }
}

macro_rules! text {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, JsonError> {
            self.json().$method($($name,)* visitor)
        })*
    };
}

macro_rules! unquoted {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            let inner = self.0.get(1..self.0.len() - 1).unwrap_or_default();
            // White space is allowed around a value, but not in a name.
            if inner.trim_ascii() != inner {
                return Err(de::Error::invalid_type(de::Unexpected::Str(inner), &visitor));
            }
            let mut json = serde_json::Deserializer::from_str(inner);
            let value = json.$method(visitor)?;
            json.end().map(|()| value)
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = JsonError;

    text! {
        deserialize_any() deserialize_char() deserialize_str() deserialize_string() deserialize_identifier()
        deserialize_bytes() deserialize_byte_buf() deserialize_unit() deserialize_seq() deserialize_map()
        deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    unquoted! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }
}
