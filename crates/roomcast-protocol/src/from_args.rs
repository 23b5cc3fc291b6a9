//! Arguments into values: JSON text to serde, with placeholders read as the attachments they stand for.

use crate::args::{Args, ArgsIter, ArgsRef};
use bytes::Bytes;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::Error as JsonError;
use std::fmt;

/// What a handler can ask for: every type that can be deserialised, and [`Args`] (everything, unread).
///
/// A tuple takes several arguments, `()` none, anything else the first. Where the type asks for bytes
/// ([`bytes::Bytes`], `serde_bytes::ByteBuf`) a placeholder is read as its attachment.
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

/// An argument is not what the handler's type asks for.
#[derive(Debug, thiserror::Error)]
#[error("the arguments do not fit the handler's type: {0}")]
pub struct FromArgsError(#[from] JsonError);

impl<T: DeserializeOwned> FromArgs for T {
    fn from_args(args: ArgsRef<'_>) -> Result<Self, FromArgsError> {
        Ok(T::deserialize(TopLevel { args: args.iter(), attachments: args.attachments, wanted: 0 })?)
    }
}

impl FromArgs for Args {
    fn from_args(args: ArgsRef<'_>) -> Result<Self, FromArgsError> {
        Ok(args.to_owned())
    }
}

/// The arguments as a whole: several for types that ask for a tuple, else the first.
struct TopLevel<'de> {
    args: ArgsIter<'de>,
    attachments: &'de [Bytes],
    /// Arguments that a tuple has still to be given. Missing ones read as `null`, so without a count there were no end.
    wanted: usize,
}

impl<'de> TopLevel<'de> {
    /// Reads the next argument; a missing one reads as `null`.
    fn next<T>(
        &mut self,
        read: impl FnOnce(Filled<'de, &mut serde_json::Deserializer<serde_json::de::StrRead<'de>>>) -> Result<T, JsonError>,
    ) -> Result<T, JsonError> {
        let mut json = serde_json::Deserializer::from_str(self.args.next().unwrap_or("null"));
        let value = read(Filled { inner: &mut json, attachments: self.attachments })?;
        json.end()?;
        Ok(value)
    }
}

macro_rules! first_argument {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(mut self, $($name: $type,)* visitor: V) -> Result<V::Value, JsonError> {
            self.next(|argument| argument.$method($($name,)* visitor))
        })*
    };
}

impl<'de> Deserializer<'de> for TopLevel<'de> {
    type Error = JsonError;

    first_argument! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_seq() deserialize_map()
        deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_unit()
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, JsonError> {
        self.wanted = len;
        visitor.visit_seq(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_tuple(len, visitor)
    }
}

impl<'de> SeqAccess<'de> for TopLevel<'de> {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, JsonError> {
        let Some(wanted) = self.wanted.checked_sub(1) else {
            return Ok(None);
        };
        self.wanted = wanted;
        self.next(|argument| seed.deserialize(argument)).map(Some)
    }
}

/// Wraps a deserialiser, a visitor or an access so that placeholders are read as attachments wherever bytes are wanted.
struct Filled<'a, T> {
    inner: T,
    attachments: &'a [Bytes],
}

impl<'a, T> Filled<'a, T> {
    fn wrap<U>(&self, inner: U) -> Filled<'a, U> {
        Filled { inner, attachments: self.attachments }
    }
}

macro_rules! wrapped {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.wrap(visitor);
            self.inner.$method($($name,)* visitor)
        })*
    };
}

macro_rules! scalar {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Filled<'_, D> {
    type Error = D::Error;

    scalar! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_unit deserialize_identifier
        deserialize_ignored_any
    }

    wrapped! {
        deserialize_any() deserialize_option() deserialize_seq() deserialize_map()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = Placeholder { visitor, attachments: self.attachments };
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_bytes(visitor)
    }
}

macro_rules! visit {
    ($($method:ident($type:ty))*) => {
        $(fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Filled<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool(bool) visit_i64(i64) visit_i128(i128) visit_u64(u64) visit_u128(u128) visit_f64(f64)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.inner.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.inner.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap(access);
        self.inner.visit_seq(access)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap(access);
        self.inner.visit_map(access)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap(access);
        self.inner.visit_enum(access)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Filled<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Filled<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Filled<'a, A> {
    type Error = A::Error;
    type Variant = Filled<'a, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, Filled { inner: variant, attachments: self.attachments }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Filled<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Filled<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.inner.deserialize(deserializer)
    }
}

/// Bytes are wanted: reads a placeholder as its attachment, and arrays of numbers and strings as serde does.
struct Placeholder<'a, V> {
    visitor: V,
    attachments: &'a [Bytes],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Placeholder<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attachment")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<V::Value, A::Error> {
        let (mut placeholder, mut number) = (false, None);
        while let Some(key) = access.next_key::<String>()? {
            match key.as_str() {
                "_placeholder" => placeholder = access.next_value()?,
                "num" => number = Some(access.next_value::<usize>()?),
                _ => drop(access.next_value::<de::IgnoredAny>()?),
            }
        }
        match number.and_then(|number| self.attachments.get(number)) {
            Some(bytes) if placeholder => self.visitor.visit_bytes(bytes),
            _ => Err(de::Error::custom("an object where an attachment is wanted")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(access)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<V::Value, E> {
        self.visitor.visit_str(text)
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    fn args(items: &str, attachments: &[&'static [u8]]) -> Args {
        Args::from_parts(items.into(), attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect())
    }

    #[test]
    fn one_argument_several_and_none() {
        let three = args(r#""a",2,{"k":[true]}"#, &[]);
        assert_eq!(three.parse::<String>().unwrap(), "a");
        assert_eq!(three.parse::<(String, u8)>().unwrap(), ("a".to_owned(), 2));
        assert_eq!(three.parse::<(String, u8, serde_json::Value)>().unwrap().2, json!({"k": [true]}));
        three.parse::<()>().unwrap();
        assert_eq!(three.parse::<Args>().unwrap(), three);
        assert_eq!(args("[1,2]", &[]).parse::<Vec<u8>>().unwrap(), [1, 2]);
        // A tuple of one takes the first argument; missing ones are null.
        assert_eq!(three.parse::<(String,)>().unwrap().0, "a");
        assert_eq!(args("1", &[]).parse::<(u8, Option<u8>)>().unwrap(), (1, None));
        assert_eq!(Args::none().parse::<Option<String>>().unwrap(), None);
        assert!(Args::none().parse::<String>().is_err());
        assert!(three.parse::<u8>().is_err());
        // A lone surrogate cannot be a Rust string, but it can be passed over.
        let lone = args(r#""\ud800",1"#, &[]);
        assert!(lone.parse::<String>().is_err());
        assert_eq!(lone.parse::<(de::IgnoredAny, u8)>().unwrap().1, 1);
    }

    #[test]
    fn a_tuple_that_reads_to_its_end_has_one() {
        struct All(Vec<Option<u8>>);
        impl<'de> Deserialize<'de> for All {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Collect;
                impl<'de> Visitor<'de> for Collect {
                    type Value = All;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("numbers")
                    }
                    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<All, A::Error> {
                        let mut all = Vec::new();
                        while let Some(item) = access.next_element()? {
                            all.push(item);
                        }
                        Ok(All(all))
                    }
                }
                deserializer.deserialize_tuple(3, Collect)
            }
        }
        assert_eq!(args("1,2", &[]).parse::<All>().unwrap().0, [Some(1), Some(2), None]);
    }

    #[test]
    fn placeholders_are_read_as_their_attachments() {
        #[derive(Deserialize, Debug, PartialEq)]
        struct File {
            name: String,
            parts: Vec<Bytes>,
            thumb: Option<serde_bytes::ByteBuf>,
        }
        let file = args(
            r#"{"name":"f","parts":[{"_placeholder":true,"num":1},{"num":0,"x":[],"_placeholder":true}],"thumb":null}"#,
            &[b"zero", b"one"],
        );
        let expected = File { name: "f".into(), parts: vec![Bytes::from("one"), Bytes::from("zero")], thumb: None };
        assert_eq!(file.parse::<File>().unwrap(), expected);
        let raw = args(r#"{"_placeholder":true,"num":0}"#, &[b"zero"]);
        assert_eq!(raw.parse::<Bytes>().unwrap(), "zero");
        assert_eq!(raw.parse::<Option<Bytes>>().unwrap().unwrap(), "zero");
        assert!(args(r#"{"_placeholder":true,"num":1}"#, &[b"zero"]).parse::<Bytes>().is_err());
        assert!(args(r#"{"_placeholder":false,"num":0}"#, &[b"zero"]).parse::<Bytes>().is_err());
        assert_eq!(args("[1,2]", &[]).parse::<Bytes>().unwrap(), vec![1, 2]);

        #[derive(Deserialize, Debug, PartialEq)]
        #[serde(rename_all = "lowercase")]
        enum Shape {
            Blob(Bytes),
        }
        let blob = args(r#"{"blob":{"_placeholder":true,"num":0}}"#, &[b"zero"]);
        assert_eq!(blob.parse::<Shape>().unwrap(), Shape::Blob(Bytes::from("zero")));
        let raw = blob.parse::<Box<serde_json::value::RawValue>>().unwrap();
        assert_eq!(raw.get(), r#"{"blob":{"_placeholder":true,"num":0}}"#);
    }

    #[test]
    fn nesting_past_the_limit_is_an_error_and_no_overflow() {
        let nested = |depth: usize| args(&("[".repeat(depth) + &"]".repeat(depth)), &[]);
        assert!(nested(100).parse::<serde_json::Value>().is_ok());
        assert!(nested(100_000).parse::<serde_json::Value>().is_err());
    }
}
