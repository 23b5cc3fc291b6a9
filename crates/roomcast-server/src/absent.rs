//! [`Absent`]: what a socket's data is read from while there is none.

use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use std::iter;

/// Nothing for an `Option`, and an empty object for everything else, as Node's `socket.data`.
pub(crate) struct Absent;

impl<'de> Deserializer<'de> for Absent {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_map(MapDeserializer::new(iter::empty::<(&str, &str)>()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(default)]
    struct Relaxed {
        name: String,
    }

    #[derive(Deserialize, Debug)]
    struct Strict {
        #[expect(dead_code, reason = "it is never there")]
        name: String,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    struct Wrapped(Option<u8>);

    #[test]
    fn an_option_is_none_and_everything_else_is_read_from_an_empty_object() {
        assert_eq!(Option::<Relaxed>::deserialize(Absent).unwrap(), None);
        assert_eq!(Option::<u8>::deserialize(Absent).unwrap(), None);
        assert_eq!(Wrapped::deserialize(Absent).unwrap(), Wrapped(None));
        assert_eq!(Relaxed::deserialize(Absent).unwrap(), Relaxed::default());
        assert_eq!(serde_json::Value::deserialize(Absent).unwrap(), serde_json::json!({}));
        assert!(Strict::deserialize(Absent).unwrap_err().to_string().contains("missing field `name`"));
        assert!(u8::deserialize(Absent).is_err());
        assert!(String::deserialize(Absent).is_err());
    }
}
