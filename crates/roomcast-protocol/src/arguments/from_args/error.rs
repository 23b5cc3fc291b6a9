//! [`FromArgsError`]: which argument does not fit, and what was expected.

use crate::limits::MAX_ERROR_CHARS;
use serde::de;
use serde_json::Error as JsonError;
use std::fmt::{self, Write as _};

/// An argument is not what the handler's type asks for.
///
/// Its text names the argument's position and what was expected, and omits what the client sent, so that it can be
/// logged. [`std::error::Error::source`] has serde's own text.
#[derive(Debug)]
pub struct FromArgsError {
    pub(super) argument: Option<usize>,
    pub(super) missing: bool,
    pub(super) error: JsonError,
}

impl FromArgsError {
    /// The argument that does not fit; the first is 1. `None` if the error is not about a single argument.
    pub fn argument(&self) -> Option<usize> {
        self.argument
    }

    /// Whether the client did not send that argument, so that it was read as `null`.
    pub fn is_missing(&self) -> bool {
        self.missing
    }
}

impl fmt::Display for FromArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.argument {
            Some(argument) if self.missing => write!(f, "argument {argument} was not sent: ")?,
            Some(argument) => write!(f, "argument {argument}: ")?,
            None => f.write_str("the arguments do not fit: ")?,
        }
        let text = self.error.to_string();
        let (before, after) = without_value(&text);
        let characters = before.chars().chain(after.into_iter().flat_map(|after| "…".chars().chain(after.chars())));
        for character in characters.take(MAX_ERROR_CHARS) {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Omits the value from serde's `invalid type: string "…", expected u8`. It is in quotes of either kind, and what was
/// expected comes last.
fn without_value(text: &str) -> (&str, Option<&str>) {
    let value = text.find(['"', '`']);
    let expected = text.rfind(", expected ");
    match (value, expected) {
        (Some(value), Some(expected)) if value < expected => {
            (text.get(..value).unwrap_or_default(), text.get(expected..))
        }
        _ => (text, None),
    }
}

impl std::error::Error for FromArgsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl de::Error for FromArgsError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { argument: None, missing: false, error: de::Error::custom(message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: &str) -> String {
        FromArgsError { argument: Some(2), missing: false, error: de::Error::custom(error) }.to_string()
    }

    #[test]
    fn the_value_is_left_out() {
        for (error, expected) in [
            ("invalid type: string \"secret\", expected u8", "invalid type: string …, expected u8"),
            ("invalid type: integer `5`, expected a string", "invalid type: integer …, expected a string"),
            ("invalid value: string \", expected `\", expected u8", "invalid value: string …, expected u8"),
            ("unknown variant `x\u{1b}`, expected `a` or `b`", "unknown variant …, expected `a` or `b`"),
            ("missing field `name`", "missing field `name`"),
            ("invalid length 1, expected a tuple of size 2", "invalid length 1, expected a tuple of size 2"),
            ("mine\u{7}\n", "mine\\u{7}\\n"),
        ] {
            assert_eq!(text(error), format!("argument 2: {expected}"));
        }
    }

    #[test]
    fn length_at_the_limit_and_one_past_it() {
        let length = |characters: usize| text(&"é".repeat(characters)).chars().count() - "argument 2: ".len();
        assert_eq!(length(MAX_ERROR_CHARS), MAX_ERROR_CHARS);
        assert_eq!(length(MAX_ERROR_CHARS + 1), MAX_ERROR_CHARS);
    }
}
