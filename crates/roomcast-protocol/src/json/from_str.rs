//! [`from_str`]: untrusted JSON text into a type.

use crate::arguments::from_args::key::is_plain;
use crate::arguments::from_args::reader::{Reader, Share};
use serde::de::DeserializeOwned;

/// Reads untrusted text into a type, as [`serde_json::from_str`], except that members with names of serde_json's own
/// (`$serde_json::private::…`) are an error. [`serde_json::Value`] would parse the text in such a member, and the text
/// in that again, each time with a new count of levels: in a build without optimisation 530 kB of such text overflow a
/// stack of 2 MiB, which ends the process.
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
