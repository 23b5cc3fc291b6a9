//! [`from_str`]: JSON text of a stranger into a type.

use crate::arguments::from_args::key::is_plain;
use crate::arguments::from_args::reader::{Reader, Share};
use serde::de::DeserializeOwned;

/// Reads the text of a stranger into a type: [`serde_json::from_str`], but for members whose names are serde_json's own
/// (`$serde_json::private::…`), which are an error. [`serde_json::Value`] would parse the text that such a member holds, and
/// what is in that again, each time with a new count of levels: 530 kB of it end a stack of 2 MiB, and with it the process,
/// where the build is not optimised.
///
/// # Errors
/// The text is not JSON, does not fit the type, or nests more than [`MAX_TYPED_DEPTH`](crate::limits::MAX_TYPED_DEPTH)
/// levels.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    if is_plain(text) {
        return serde_json::from_str(text);
    }
    let share = Share::default();
    let mut reader = Reader::new(text, &[], &[], &share);
    let value = T::deserialize(&mut reader)?;
    reader.end().map(|()| value)
}
