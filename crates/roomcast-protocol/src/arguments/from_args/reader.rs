//! [`Reader`]: an argument that names attachments, for serde.
//!
//! It walks over arrays and objects itself, so that it knows whether an object is a placeholder before serde sees any
//! part of it, and leaves everything else to serde_json. Where the type asks for bytes, or for anything, a placeholder
//! is read as its attachment, lent for the whole read, so that serde's own buffers (of tagged, untagged and flattened
//! types) hold no copy.

use super::key::{Key, SERDE_JSON};
use crate::arguments::attachment::{self, Lending};
use crate::json::scanner::Scanner;
use crate::limits::{MAX_ATTACHMENT_COPIES, MAX_DEPTH_OPTION, MAX_TYPED_DEPTH};
use crate::placeholder::finder::Placeholder;
use bytes::Bytes;
use serde::de::value::SeqDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Unexpected, VariantAccess,
    Visitor,
};
use serde_json::Error as JsonError;
use serde_json::de::StrRead;
use std::any::type_name;
use std::cell::{Cell, OnceCell};

/// What the readers of one set of arguments share.
#[derive(Default)]
pub(crate) struct Share {
    /// Bytes that may still be copied.
    left: Cell<usize>,
    /// Lends the attachments that serde has in its buffers.
    lending: OnceCell<Lending>,
}

impl Share {
    pub(super) fn of(attachments: &[Bytes]) -> Self {
        let bytes = attachments.iter().fold(0usize, |sum, bytes| sum.saturating_add(bytes.len()));
        Self { left: Cell::new(bytes.saturating_mul(MAX_ATTACHMENT_COPIES)), lending: OnceCell::new() }
    }
}

pub(crate) struct Reader<'s, 'de> {
    text: &'de str,
    position: usize,
    depth: usize,
    attachments: &'de [Bytes],
    /// The placeholders that are still to come.
    placeholders: &'s [Placeholder],
    share: &'s Share,
}

impl<'s, 'de> Reader<'s, 'de> {
    pub(crate) fn new(
        text: &'de str,
        attachments: &'de [Bytes],
        placeholders: &'s [Placeholder],
        share: &'s Share,
    ) -> Self {
        Self { text, position: 0, depth: 0, attachments, placeholders, share }
    }

    /// Checks that only white space is left.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        if self.peek().is_none() { Ok(()) } else { Err(syntax()) }
    }

    /// The next byte after white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.position..)?;
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.position += blank;
        rest.get(blank).copied()
    }

    fn take(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(syntax());
        }
        self.position += 1;
        Ok(())
    }

    /// Passes over the next value, and returns its text.
    fn raw(&mut self) -> Result<&'de str, JsonError> {
        self.peek();
        let rest = self.text.get(self.position..).unwrap_or_default();
        let mut scanner = Scanner::new(rest, MAX_DEPTH_OPTION);
        scanner.value(None).map_err(de::Error::custom)?;
        self.position += scanner.position();
        rest.get(..scanner.position()).ok_or_else(syntax)
    }

    /// Passes over the next value, and returns serde_json's reader of it.
    fn json(&mut self) -> Result<serde_json::Deserializer<StrRead<'de>>, JsonError> {
        self.raw().map(serde_json::Deserializer::from_str)
    }

    /// Takes the next value if it is a placeholder.
    fn attachment(&mut self) -> Result<Option<&'de Bytes>, JsonError> {
        self.peek();
        while let [first, rest @ ..] = self.placeholders {
            if first.range.start > self.position {
                break;
            }
            self.placeholders = rest;
            // Placeholders before this position are in values that were passed over.
            if first.range.start == self.position {
                self.position = first.range.end;
                let bytes = first.number.and_then(|number| self.attachments.get(number));
                return bytes.map(Some).ok_or_else(|| de::Error::custom("a placeholder names no attachment"));
            }
        }
        Ok(None)
    }

    /// Bytes for a type that copies them, within the bound on copies.
    fn copied(&self, bytes: &'de Bytes) -> Result<&'de [u8], JsonError> {
        let left = self.share.left.get().checked_sub(bytes.len()).ok_or_else(|| {
            de::Error::custom(format_args!(
                "the attachments would be copied more than {MAX_ATTACHMENT_COPIES} times; `Attachment` shares them"
            ))
        })?;
        self.share.left.set(left);
        Ok(bytes)
    }

    /// Bytes as a sequence of numbers: what serde_json makes of bytes, and reads back as bytes.
    fn numbers<V: Visitor<'de>>(&self, bytes: &'de Bytes, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_seq(SeqDeserializer::new(self.copied(bytes)?.iter().copied()))
    }

    fn enter(&mut self, open: u8) -> Result<(), JsonError> {
        self.take(open)?;
        self.depth += 1;
        if self.depth > MAX_TYPED_DEPTH {
            return Err(de::Error::custom("recursion limit exceeded"));
        }
        Ok(())
    }

    fn leave(&mut self, close: u8) -> Result<(), JsonError> {
        self.depth -= 1;
        self.take(close)
    }

    fn array<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        self.enter(b'[')?;
        let value = visitor.visit_seq(Entries { reader: self, started: false })?;
        self.leave(b']')?;
        Ok(value)
    }

    fn object<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        self.enter(b'{')?;
        let value = visitor.visit_map(Entries { reader: self, started: false })?;
        self.leave(b'}')?;
        Ok(value)
    }
}

fn syntax() -> JsonError {
    de::Error::custom("not JSON, or more than the type takes")
}

fn refused<'de, V: Visitor<'de>>(visitor: &V) -> JsonError {
    de::Error::invalid_type(Unexpected::Other("an attachment"), visitor)
}

/// Methods for values that are never an attachment, an array or an object.
macro_rules! scalar {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            match self.attachment()? {
                Some(_) => Err(refused(&visitor)),
                None => self.json()?.$method(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'_, 'de> {
    type Error = JsonError;

    scalar! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_unit deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match (self.attachment()?, self.peek()) {
            // The visitor accepts anything except bytes.
            (Some(bytes), _) if type_name::<V::Value>() == type_name::<serde_json::Value>() => {
                self.numbers(bytes, visitor)
            }
            (Some(bytes), _) => {
                self.share.lending.get_or_init(Lending::default).lend(bytes);
                visitor.visit_borrowed_bytes(self.copied(bytes)?)
            }
            (None, Some(b'[')) => self.array(visitor),
            (None, Some(b'{')) => self.object(visitor),
            _ => self.json()?.deserialize_any(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match (self.attachment()?, self.peek()) {
            (Some(bytes), _) => visitor.visit_borrowed_bytes(self.copied(bytes)?),
            (None, Some(b'[')) => self.array(visitor),
            _ => self.json()?.deserialize_bytes(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.peek() == Some(b'n') {
            return self.json()?.deserialize_option(visitor);
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        // Raw text stays as it came, including placeholders.
        if name.starts_with(SERDE_JSON) {
            return self.json()?.deserialize_newtype_struct(name, visitor);
        }
        if name == attachment::NAME
            && let Some(bytes) = self.attachment()?
        {
            let lending = Lending::default();
            lending.lend(bytes);
            return visitor.visit_borrowed_bytes(bytes);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match (self.attachment()?, self.peek()) {
            (Some(bytes), _) => self.numbers(bytes, visitor),
            (None, Some(b'[')) => self.array(visitor),
            _ => self.json()?.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match (self.attachment()?, self.peek()) {
            (Some(_), _) => Err(refused(&visitor)),
            (None, Some(b'{')) => self.object(visitor),
            _ => self.json()?.deserialize_map(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match (self.attachment()?, self.peek()) {
            (Some(_), _) => Err(refused(&visitor)),
            (None, Some(b'[')) => self.array(visitor),
            (None, Some(b'{')) => self.object(visitor),
            _ => self.json()?.deserialize_struct(name, fields, visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match (self.attachment()?, self.peek()) {
            (Some(_), _) => Err(refused(&visitor)),
            (None, Some(b'{')) => {
                self.enter(b'{')?;
                let value = visitor.visit_enum(Entries { reader: &mut *self, started: false })?;
                self.leave(b'}')?;
                Ok(value)
            }
            _ => self.json()?.deserialize_enum(name, variants, visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.raw()?;
        visitor.visit_unit()
    }
}

/// What is between the brackets of an array, an object, or an enum's variant.
struct Entries<'r, 's, 'de> {
    reader: &'r mut Reader<'s, 'de>,
    started: bool,
}

impl<'de> Entries<'_, '_, 'de> {
    /// Takes the comma before the next entry, and returns whether there is one.
    fn another(&mut self, close: u8) -> Result<bool, JsonError> {
        if self.reader.peek() == Some(close) {
            return Ok(false);
        }
        if self.started {
            self.reader.take(b',')?;
        }
        self.started = true;
        Ok(true)
    }

    fn key(&mut self) -> Result<Key<'de>, JsonError> {
        let key = Key::new(self.reader.raw()?)?;
        self.reader.take(b':')?;
        Ok(key)
    }
}

impl<'de> SeqAccess<'de> for Entries<'_, '_, 'de> {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, JsonError> {
        if self.another(b']')? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for Entries<'_, '_, 'de> {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, JsonError> {
        if self.another(b'}')? { seed.deserialize(self.key()?).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, JsonError> {
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> EnumAccess<'de> for Entries<'_, '_, 'de> {
    type Error = JsonError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(mut self, seed: T) -> Result<(T::Value, Self), JsonError> {
        let variant = seed.deserialize(self.key()?)?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Entries<'_, '_, 'de> {
    type Error = JsonError;

    fn unit_variant(self) -> Result<(), JsonError> {
        Deserialize::deserialize(self.reader)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, JsonError> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, JsonError> {
        self.reader.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.reader.deserialize_struct("", fields, visitor)
    }
}
