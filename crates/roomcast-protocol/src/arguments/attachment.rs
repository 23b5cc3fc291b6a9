//! [`Attachment`]: bytes that a packet carries beside its text. They are shared and never copied.

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

/// The name by which [`Attachment`] asks for bytes, so that a reader of arguments knows that it will share them.
pub(crate) const NAME: &str = "roomcast::Attachment";

/// Most elements for which memory is reserved because an array declares them.
const PREALLOCATED: usize = 4_096;

/// Bytes that travel beside a packet's text. Read from arguments, an attachment shares the bytes that came, and
/// emitted, it shares them again: nothing is copied, however often the client names them. `bytes::Bytes` and
/// `serde_bytes::ByteBuf` can be read too, but serde makes them copy, so one read copies at most what
/// [`MAX_ATTACHMENT_COPIES`](crate::limits::MAX_ATTACHMENT_COPIES) allows.
///
/// ```
/// use roomcast_protocol::{Args, Attachment};
///
/// let image = Attachment::from(vec![0x89, b'P', b'N', b'G']);
/// let args = Args::of(&("cat.png", &image))?;
/// assert_eq!(args.attachments().len(), 1);
/// let (name, bytes): (String, Attachment) = args.parse()?;
/// assert_eq!((&*name, &bytes), ("cat.png", &image));
/// assert_eq!(bytes.as_ptr(), image.as_ptr());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment(Bytes);

impl Attachment {
    /// The bytes, shared as [`Bytes`].
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Attachment {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Attachment {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Attachment {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Vec<u8>> for Attachment {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Attachment> for Bytes {
    fn from(attachment: Attachment) -> Self {
        attachment.0
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Attachment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lending = Lending::default();
        lending.lend(&self.0);
        serializer.serialize_newtype_struct(NAME, &self.0)
    }
}

impl<'de> Deserialize<'de> for Attachment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NAME, AnyBytes)
    }
}

/// Accepts bytes, and an array of numbers. It does not accept text, which an untagged type would read as bytes.
struct AnyBytes;

impl<'de> Visitor<'de> for AnyBytes {
    type Value = Attachment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Attachment, D::Error> {
        // Asked for bytes, serde_json would give those of a text.
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(self)
        } else {
            deserializer.deserialize_byte_buf(self)
        }
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Attachment, E> {
        Ok(Attachment(lent(bytes).unwrap_or_else(|| Bytes::copy_from_slice(bytes))))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Attachment, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Attachment, A::Error> {
        let mut bytes = Vec::with_capacity(access.size_hint().unwrap_or(0).min(PREALLOCATED));
        while let Some(byte) = access.next_element::<u8>()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}

thread_local! {
    /// Bytes that [`lent`] may share, by address and length. serde passes slices only, so code that passes the slice of
    /// an attachment records the attachment here.
    static LENT: RefCell<BTreeMap<(usize, usize), Bytes>> = const { RefCell::new(BTreeMap::new()) };
}

/// While this lives, [`lent`] finds the bytes that were lent to it. A nested one hides those around it.
pub(crate) struct Lending {
    before: BTreeMap<(usize, usize), Bytes>,
}

impl Default for Lending {
    fn default() -> Self {
        // A thread that is ending cannot lend, so its bytes are copied.
        Self { before: LENT.try_with(RefCell::take).unwrap_or_default() }
    }
}

impl Lending {
    pub(crate) fn lend(&self, bytes: &Bytes) {
        let _ = LENT.try_with(|lent| lent.borrow_mut().insert(place(bytes), bytes.clone()));
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        let before = std::mem::take(&mut self.before);
        let _ = LENT.try_with(|lent| lent.replace(before));
    }
}

/// The lent bytes that are exactly `slice`, shared. `None` if these bytes are not lent.
pub(crate) fn lent(slice: &[u8]) -> Option<Bytes> {
    LENT.try_with(|lent| lent.borrow().get(&place(slice)).cloned()).ok().flatten()
}

fn place(bytes: &[u8]) -> (usize, usize) {
    (bytes.as_ptr() as usize, bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_is_shared_as_long_as_it_is_lent() {
        let (one, two) = (Bytes::from(vec![1; 8]), Bytes::from(vec![2; 8]));
        let same = |slice: &[u8]| lent(slice).map(|bytes| bytes.as_ptr() == slice.as_ptr());
        assert_eq!(same(&one), None);
        {
            let lending = Lending::default();
            [Bytes::new(), one.clone(), two.clone(), one.clone()].iter().for_each(|bytes| lending.lend(bytes));
            assert_eq!((same(&one), same(&two), same(&[3; 8])), (Some(true), Some(true), None));
            assert_eq!(same(&one[1..]), None, "a part is no attachment");
            {
                let nested = Lending::default();
                nested.lend(&one);
                assert_eq!((same(&one), same(&two)), (Some(true), None));
            }
            assert_eq!((same(&one), same(&two)), (Some(true), Some(true)));
        }
        assert_eq!((same(&one), same(&two)), (None, None));
    }

    #[test]
    fn other_formats_have_bytes_or_numbers() {
        let attachment = Attachment::from(vec![1, 2]);
        let json = serde_json::to_string(&attachment).unwrap();
        assert_eq!(json, "[1,2]");
        assert_eq!(serde_json::from_str::<Attachment>(&json).unwrap(), attachment);
        for wrong in ["\"a\"", "[256]", "{}", "null", "1"] {
            assert!(serde_json::from_str::<Attachment>(wrong).is_err(), "{wrong}");
        }
    }
}
