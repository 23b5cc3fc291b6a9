//! [`Js`]: a value as in JavaScript. Strings are UTF-16, numbers are doubles, members may be `undefined`, and bytes are
//! values. Rust strings and `serde_json` cannot hold half of what the vectors record (lone surrogates, `1e400`).

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use roomcast_protocol::{ArgsWriter, ToArgs, ToArgsError};
use serde::ser::{Error as _, SerializeMap, SerializeSeq, Serializer};
use serde::{Serialize, Serialize as Ser};
use std::fmt::Write as _;

/// A JavaScript value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Js {
    Undefined,
    Null,
    Bool(bool),
    Number(Double),
    String(Vec<u16>),
    Array(Vec<Js>),
    Object(Vec<(String, Js)>),
    Binary(Vec<u8>),
    /// An object whose `toJSON()` returns the value inside: in Rust, a type with a `Serialize` of its own.
    ToJson(Box<Js>),
}

/// A number that distinguishes `-0` from `0`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Double(pub(crate) f64);

impl PartialEq for Double {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Js {
    pub(crate) fn number(value: f64) -> Self {
        Self::Number(Double(value))
    }

    pub(crate) fn string(text: &str) -> Self {
        Self::String(text.encode_utf16().collect())
    }

    /// The member of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Js> {
        match self {
            Self::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string that has no lone surrogate.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::String(units) => String::from_utf16(units).ok(),
            _ => None,
        }
    }

    pub(crate) fn array(&self) -> Option<&[Js]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn double(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(number.0),
            _ => None,
        }
    }

    /// Reads the notation of the vectors: `{"$bin": hex}` and the like.
    pub(crate) fn denoted(self) -> Self {
        let Self::Object(members) = self else {
            return match self {
                Self::Array(items) => Self::Array(items.into_iter().map(Self::denoted).collect()),
                other => other,
            };
        };
        if let [(key, value)] = members.as_slice() {
            let text = value.text();
            match (key.as_str(), text.as_deref()) {
                // A Node decoder can be set to return ArrayBuffers instead of Buffers. On the wire they are the same.
                ("$bin" | "$arraybuffer", Some(hex)) => return Self::Binary(unhex(hex)),
                ("$undefined", _) => return Self::Undefined,
                ("$float", Some("NaN")) => return Self::number(f64::NAN),
                ("$float", Some(number)) => return Self::number(number.parse().unwrap()),
                // `Date.prototype.toJSON` returns the ISO text, so a Date travels as a string.
                ("$date", _) => return Self::ToJson(Box::new(value.clone())),
                // Neither Map nor Set has enumerable properties, so `JSON.stringify` sees an empty object.
                ("$set", _) => return Self::Object(Vec::new()),
                _ => {}
            }
        }
        Self::Object(members.into_iter().map(|(key, value)| (key, value.denoted())).collect())
    }

    /// Puts attachments in place of their placeholders, as socket.io-parser does. A number with a fraction names none.
    pub(crate) fn filled(self, attachments: &[impl AsRef<[u8]>]) -> Self {
        if self.get("_placeholder") == Some(&Self::Bool(true)) {
            let number = self.get("num").and_then(Self::double).filter(|number| number.fract() == 0.0);
            if let Some(bytes) = number.and_then(|number| attachments.get(number as usize)) {
                return Self::Binary(bytes.as_ref().to_vec());
            }
        }
        match self {
            Self::Array(items) => Self::Array(items.into_iter().map(|item| item.filled(attachments)).collect()),
            Self::Object(members) => {
                Self::Object(members.into_iter().map(|(key, value)| (key, value.filled(attachments))).collect())
            }
            other => other,
        }
    }
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// As `JSON.stringify`: members that are `undefined` are dropped, and such elements become `null`. Bytes go through
/// `serialize_bytes`, by which a Rust type asks for an attachment.
impl Serialize for Js {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Undefined | Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => serializer.serialize_f64(number.0),
            Self::String(units) => match String::from_utf16(units) {
                Ok(text) => serializer.serialize_str(&text),
                // A Rust string cannot hold a lone surrogate. To send one, send raw JSON.
                Err(_) => serde_json::value::RawValue::from_string(escaped(units))
                    .map_err(S::Error::custom)?
                    .serialize(serializer),
            },
            Self::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| seq.serialize_element(item))?;
                seq.end()
            }
            Self::Object(members) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in members.iter().filter(|(_, value)| *value != Self::Undefined) {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Binary(bytes) => serializer.serialize_bytes(bytes),
            Self::ToJson(inner) => Ser::serialize(inner, serializer),
        }
    }
}

fn escaped(units: &[u16]) -> String {
    let mut json = String::from('"');
    for unit in units {
        write!(json, "\\u{unit:04x}").unwrap();
    }
    json.push('"');
    json
}

/// Several arguments.
pub(crate) struct Arguments<'a>(pub(crate) &'a [Js]);

impl ToArgs for Arguments<'_> {
    fn to_args(&self, writer: &mut ArgsWriter) -> Result<(), ToArgsError> {
        self.0.iter().try_for_each(|item| writer.push_value(item))
    }
}

/// What `JSON.parse` makes of `text`; `None` where it throws.
pub(crate) fn parse(text: &str) -> Option<Js> {
    let mut reader = Reader { rest: text };
    let value = reader.value()?;
    reader.space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, expected: &str) -> Option<()> {
        self.space();
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    fn value(&mut self) -> Option<Js> {
        self.space();
        match self.rest.as_bytes().first()? {
            b'"' => self.string().map(Js::String),
            b'[' => self.list("[", "]", Self::value).map(Js::Array),
            b'{' => {
                let members = self.list("{", "}", |reader| {
                    reader.space();
                    let key = String::from_utf16_lossy(&reader.string()?);
                    reader.take(":")?;
                    Some((key, reader.value()?))
                })?;
                let mut distinct: Vec<(String, Js)> = Vec::new();
                for (key, value) in members {
                    match distinct.iter_mut().find(|(known, _)| *known == key) {
                        Some(known) => known.1 = value,
                        None => distinct.push((key, value)),
                    }
                }
                Some(Js::Object(distinct))
            }
            b't' => self.take("true").map(|()| Js::Bool(true)),
            b'f' => self.take("false").map(|()| Js::Bool(false)),
            b'n' => self.take("null").map(|()| Js::Null),
            _ => self.number(),
        }
    }

    fn list<T>(&mut self, open: &str, close: &str, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        self.take(open)?;
        if self.take(close).is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if self.take(close).is_some() {
                return Some(items);
            }
            self.take(",")?;
        }
    }

    fn number(&mut self) -> Option<Js> {
        let end = self.rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        let (number, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let unsigned = number.strip_prefix('-').unwrap_or(number);
        let digits = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
        let (integer, after) = unsigned.split_at(digits);
        let leading_zero = integer.len() > 1 && integer.starts_with('0');
        let bare_point = after.starts_with('.') && !after[1..].starts_with(|c: char| c.is_ascii_digit());
        if integer.is_empty() || leading_zero || bare_point {
            return None;
        }
        self.rest = rest;
        number.parse().ok().map(Js::number)
    }

    fn string(&mut self) -> Option<Vec<u16>> {
        let mut units = Vec::new();
        let mut chars = self.rest.strip_prefix('"')?.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => units.push(match chars.next()? {
                    'u' => {
                        let digits = chars.as_str().get(..4)?;
                        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                            return None;
                        }
                        chars = chars.as_str()[4..].chars();
                        u16::from_str_radix(digits, 16).ok()?
                    }
                    'b' => 8,
                    'f' => 12,
                    'n' => 10,
                    'r' => 13,
                    't' => 9,
                    escape @ ('"' | '\\' | '/') => escape as u16,
                    _ => return None,
                }),
                control if control < ' ' => return None,
                plain => units.extend_from_slice(plain.encode_utf16(&mut [0; 2])),
            }
        }
        self.rest = chars.as_str();
        Some(units)
    }
}

/// Any value that both sides can hold.
pub(crate) fn value() -> impl Strategy<Value = Js> {
    let leaf = prop_oneof![
        Just(Js::Null),
        any::<bool>().prop_map(Js::Bool),
        any::<i32>().prop_map(|number| Js::number(f64::from(number))),
        any::<i64>().prop_map(|number| Js::number(number as f64)),
        (proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO)
            .prop_map(|number| Js::number(number + 0.0)),
        any::<String>().prop_map(|text| Js::string(&text)),
        vec(any::<u8>(), 0..300).prop_map(Js::Binary),
    ];
    leaf.prop_recursive(5, 40, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Js::Array),
            btree_map(any::<String>(), inner, 0..20).prop_map(|members| Js::Object(members.into_iter().collect())),
        ]
    })
}
