//! [`Kind`] and [`Value`]: what a setting may be, and what it is.

use roomcast_server::engine::Rate;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// What the value of a setting may be, in the configuration file and as the text of a variable or flag.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Bool,
    /// A whole number between these two.
    Integer(u64, u64),
    /// A number of bytes between these two: `1000000`, `64 kB`, `1 MiB`.
    Bytes(u64, u64),
    /// Seconds, with a unit or without, between these two: `30`, `0.5`, `250ms`, `5min`.
    Time(Duration, Duration),
    Text,
    Path,
    /// A text that is never shown.
    Secret,
    /// Texts; in a variable or flag separated by commas.
    List,
    /// One of these names, each with its meaning.
    Choice(&'static [(&'static str, &'static str)]),
    /// Some of these names.
    Choices(&'static [(&'static str, &'static str)]),
    Rate,
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Integer(u64),
    Bytes(u64),
    Time(Duration),
    Text(String),
    List(Vec<String>),
    Rate(Rate),
}

/// The units of times, and the factor of each to seconds.
const TIMES: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("min", 60.0), ("h", 3_600.0)];

/// The units of bytes, and the factor of each.
const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// The word for a setting that has no value, or for a list without elements.
pub(crate) const NONE: &str = "none";

impl Kind {
    /// Reads the text of a variable or flag. The error says what is expected.
    pub(crate) fn read(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Self::Bool => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(self.expected(text)),
            },
            Self::Integer(least, most) => match text.parse() {
                Ok(number) if (least..=most).contains(&number) => Ok(Value::Integer(number)),
                _ => Err(self.expected(text)),
            },
            Self::Bytes(least, most) => match bytes(text) {
                Some(bytes) if (least..=most).contains(&bytes) => Ok(Value::Bytes(bytes)),
                _ => Err(self.expected(text)),
            },
            Self::Time(least, most) => match time(text) {
                Some(time) if (least..=most).contains(&time) => Ok(Value::Time(time)),
                _ => Err(self.expected(text)),
            },
            Self::Text | Self::Path | Self::Secret => Ok(Value::Text(text.to_owned())),
            Self::List | Self::Choices(_) if text == NONE => Ok(Value::List(Vec::new())),
            Self::List | Self::Choices(_) => {
                self.list(text.split(',').map(str::trim).filter(|element| !element.is_empty()))
            }
            Self::Choice(_) => self.check(text).map(|()| Value::Text(text.to_owned())),
            Self::Rate => text.parse().map(Value::Rate).map_err(|_| self.expected(text)),
        }
    }

    /// Reads a value of the configuration file.
    pub(crate) fn read_toml(self, value: &DeValue<'_>) -> Result<Value, String> {
        match (self, value) {
            (Self::Bool, DeValue::Boolean(holds)) => Ok(Value::Bool(*holds)),
            (Self::Bool | Self::Integer(..), DeValue::String(text)) => {
                // `port = "3000"`: the intention is clear, but a number in quotes hides mistakes elsewhere.
                self.read(text)?;
                Err(format!("write {} without quotes", text.trim()))
            }
            (Self::Integer(..) | Self::Bytes(..) | Self::Time(..), DeValue::Integer(number))
                if number.radix() == 10 =>
            {
                self.read(number.as_str())
            }
            (Self::Time(..), DeValue::Float(number)) => self.read(number.as_str()),
            (Self::List | Self::Choices(_), DeValue::Array(array)) => {
                let mut texts = Vec::new();
                for element in array {
                    match element.get_ref() {
                        DeValue::String(text) => texts.push(text.trim()),
                        _ => return Err("every element of the list must be a text in quotes".to_owned()),
                    }
                }
                self.list(texts.into_iter())
            }
            (Self::Bool | Self::Integer(..), _) => Err(self.expected(kind_of(value))),
            (_, DeValue::String(text)) if text.trim().is_empty() => {
                Err("is empty: leave the line out, or write a value".to_owned())
            }
            (_, DeValue::String(text)) => self.read(text),
            (Self::Text | Self::Path | Self::Secret | Self::Choice(_) | Self::Rate, _) => {
                Err(format!("is {}; write a text in quotes", kind_of(value)))
            }
            _ => Err(self.expected(kind_of(value))),
        }
    }

    fn list<'a>(self, texts: impl Iterator<Item = &'a str>) -> Result<Value, String> {
        let texts: Vec<_> = texts.map(str::to_owned).collect();
        for text in &texts {
            self.check(text)?;
        }
        Ok(Value::List(texts))
    }

    /// Checks one name of those to choose from.
    fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Choice(names) | Self::Choices(names) if !names.iter().any(|(name, _)| *name == text) => {
                Err(self.expected(text))
            }
            _ => Ok(()),
        }
    }

    /// The error for a text that is no such value.
    fn expected(self, text: &str) -> String {
        let text: String = text.chars().take(64).collect();
        let what = match self {
            Self::Bool => "true or false".to_owned(),
            Self::Integer(least, most) => format!("a whole number between {least} and {most}"),
            Self::Bytes(least, most) => {
                format!("a number of bytes between {least} and {most}, such as 1000000, \"500 kB\" or \"1 MiB\"")
            }
            Self::Time(least, most) => format!(
                "seconds between {} and {}, or a time such as \"250ms\", \"30s\" or \"5min\"",
                least.as_secs_f64(),
                most.as_secs_f64()
            ),
            Self::Choice(names) | Self::Choices(names) => {
                let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                format!("one of {}", names.join(", "))
            }
            Self::Rate => "how many in which period, such as \"20/s\" or \"100/min burst 300\"".to_owned(),
            Self::Text | Self::Path | Self::Secret | Self::List => "a text".to_owned(),
        };
        format!("{text} is not possible here: expected {what}")
    }
}

/// What a value of the file is, for an error.
fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A number and the unit behind it.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|end: char| end.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.trim_end(), unit)
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let factor = if unit.is_empty() { 1 } else { SIZES.iter().find(|(name, _)| *name == unit)?.1 };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn time(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text);
    let factor = if unit.is_empty() { 1.0 } else { TIMES.iter().find(|(name, _)| *name == unit)?.1 };
    // `parse` would accept a sign.
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()
}

impl Value {
    pub(crate) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    /// A number, also of bytes. Zero for other kinds, which the table of keys leaves out.
    pub(crate) fn number(&self) -> usize {
        match self {
            Self::Integer(number) | Self::Bytes(number) => usize::try_from(*number).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    pub(crate) fn time(&self) -> Duration {
        if let Self::Time(time) = self { *time } else { Duration::ZERO }
    }

    pub(crate) fn text(&self) -> String {
        if let Self::Text(text) = self { text.clone() } else { String::new() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(self.text())
    }

    /// Whether it is this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Text(text) if text == name)
    }

    pub(crate) fn list(&self) -> Vec<String> {
        if let Self::List(texts) = self { texts.clone() } else { Vec::new() }
    }

    pub(crate) fn rate(&self) -> Option<Rate> {
        if let Self::Rate(rate) = self { Some(*rate) } else { None }
    }
}

/// As it is written in the configuration file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(holds) => write!(f, "{holds}"),
            Self::Integer(number) | Self::Bytes(number) => write!(f, "{number}"),
            Self::Time(time) if time.subsec_nanos() == 0 => write!(f, "{}", time.as_secs()),
            Self::Time(time) => write!(f, "{}", time.as_secs_f64()),
            Self::Text(text) => quoted(f, text),
            Self::Rate(rate) => quoted(f, &rate.to_string()),
            Self::List(texts) => {
                f.write_str("[")?;
                for (at, text) in texts.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    quoted(f, text)?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A basic string of TOML.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            control if control.is_control() => write!(f, "\\u{:04X}", u32::from(control))?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::de::DeTable;

    const TIME: Kind = Kind::Time(Duration::from_millis(1), Duration::from_secs(86_400));
    const COLOURS: Kind = Kind::Choice(&[("red", ""), ("blue", "")]);

    fn from_file(kind: Kind, value: &str) -> Result<Value, String> {
        let text = format!("key = {value}");
        let table = DeTable::parse(&text).unwrap().into_inner();
        kind.read_toml(table.values().next().unwrap().get_ref())
    }

    #[test]
    fn texts_of_variables_and_flags() {
        for (kind, text, shown) in [
            (Kind::Bool, "true", "true"),
            (Kind::Integer(0, 9), " 9 ", "9"),
            (Kind::Bytes(1, 1 << 30), "64 MiB", "67108864"),
            (Kind::Bytes(1, 1 << 30), "500kB", "500000"),
            (Kind::Bytes(1, 1 << 30), "1", "1"),
            (TIME, "30", "30"),
            (TIME, "250ms", "0.25"),
            (TIME, "0.5", "0.5"),
            (TIME, "5 min", "300"),
            (TIME, "1h", "3600"),
            (Kind::Text, " a b ", "\"a b\""),
            (Kind::List, "a, ,b,", "[\"a\", \"b\"]"),
            (Kind::List, "none", "[]"),
            (Kind::Choices(&[("x", "")]), "x", "[\"x\"]"),
            (COLOURS, "red", "\"red\""),
            (Kind::Rate, "20/s burst 50", "\"20/s burst 50\""),
        ] {
            assert_eq!(kind.read(text).map(|value| value.to_string()).as_deref(), Ok(shown), "{text}");
        }
        for (kind, text) in [
            (Kind::Bool, "yes"),
            (Kind::Integer(1, 9), "0"),
            (Kind::Integer(1, 9), "10"),
            (Kind::Integer(1, 9), "-1"),
            (Kind::Bytes(10, 100), "9"),
            (Kind::Bytes(10, 100), "101"),
            (Kind::Bytes(0, u64::MAX), "99999999999 GB"),
            (Kind::Bytes(0, u64::MAX), "1 mb"),
            (TIME, "-1"),
            (TIME, "0"),
            (TIME, "24.1h"),
            (TIME, "1 day"),
            (TIME, "1e400"),
            (TIME, "inf"),
            (TIME, ""),
            (COLOURS, "green"),
            (Kind::Choices(&[("x", "")]), "x,y"),
            (Kind::Rate, "20"),
        ] {
            assert!(kind.read(text).unwrap_err().contains("expected"), "{text}");
        }
    }

    #[test]
    fn values_of_the_file() {
        for (kind, value, shown) in [
            (Kind::Bool, "false", "false"),
            (Kind::Integer(0, 9_000), "3_000", "3000"),
            (Kind::Bytes(0, 1 << 40), "\"1 MiB\"", "1048576"),
            (TIME, "1.5", "1.5"),
            (TIME, "\"2min\"", "120"),
            (Kind::List, "['a', \"b\"]", "[\"a\", \"b\"]"),
            (Kind::List, "'a,b'", "[\"a\", \"b\"]"),
            (Kind::List, "[]", "[]"),
            (Kind::Text, "'C:\\x \"'", "\"C:\\\\x \\\"\""),
        ] {
            let read = from_file(kind, value).map(|value| value.to_string());
            assert_eq!(read.as_deref(), Ok(shown), "{value}");
            // What is shown can be written into a file again.
            assert_eq!(from_file(kind, shown).map(|value| value.to_string()).as_deref(), Ok(shown));
        }
        for (kind, value, advice) in [
            (Kind::Integer(0, 9_000), "\"3000\"", "write 3000 without quotes"),
            (Kind::Integer(0, 9_000), "\"x\"", "expected a whole number"),
            (Kind::Integer(0, 9), "0x1", "expected a whole number"),
            (Kind::Bool, "\"true\"", "write true without quotes"),
            (Kind::Bool, "1", "expected true or false"),
            (TIME, "true", "expected seconds"),
            (Kind::Text, "3", "write a text in quotes"),
            (Kind::Text, "\" \"", "leave the line out"),
            (Kind::List, "[1]", "must be a text"),
            (Kind::List, "1", "expected a text"),
            (COLOURS, "\"green\"", "one of red, blue"),
            (Kind::Rate, "20", "write a text in quotes"),
        ] {
            let error = from_file(kind, value).unwrap_err();
            assert!(error.contains(advice), "{value}: {error}");
        }
    }
}
