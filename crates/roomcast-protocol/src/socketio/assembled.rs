//! [`Assembled`]: a packet and the attachments that came after it.

use crate::arguments::args::ArgsRef;
use crate::socketio::received::{Event, Received};
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;

/// A packet whose attachments have all come, with its text and its bytes.
#[derive(Debug, Default)]
pub struct Assembled {
    text: Box<str>,
    parts: Parts,
    attachments: Vec<Bytes>,
}

/// Where the parts of a packet are in its text, so that the text is parsed only once.
#[derive(Debug, Default)]
struct Parts {
    namespace: Part,
    id: Option<u64>,
    /// The event's name; an acknowledgement has none.
    name: Option<Name>,
    items: Part,
}

#[derive(Debug)]
enum Name {
    Plain(Part),
    /// It was written with escapes, or as a number.
    Rewritten(Box<str>),
}

/// A piece of the text, or a default that the text omits: the namespace `/`, or no arguments.
#[derive(Debug)]
enum Part {
    Inside(Range<usize>),
    Outside(&'static str),
}

impl Assembled {
    /// The packet that `text` was read as, with room for this many attachments.
    pub(crate) fn new(text: &str, packet: Received<'_>, room: usize) -> Self {
        Self { parts: Parts::of(text, packet), text: text.into(), attachments: Vec::with_capacity(room) }
    }

    /// Adds the next attachment.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.attachments.push(Bytes::copy_from_slice(bytes));
    }

    /// Bytes of the packet's text.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// The bytes of its text and its attachments.
    pub fn size(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// The packet.
    pub fn received(&self) -> Received<'_> {
        let Parts { namespace, id, name, items } = &self.parts;
        let (namespace, id) = (namespace.piece(&self.text), *id);
        let args = ArgsRef { items: items.piece(&self.text), attachments: &self.attachments };
        match name {
            None => Received::Ack { namespace, id, args },
            Some(name) => {
                let name = match name {
                    Name::Plain(part) => part.piece(&self.text),
                    Name::Rewritten(name) => name,
                };
                Received::Event { namespace, id, event: Event { name: Cow::Borrowed(name), args } }
            }
        }
    }
}

impl Default for Part {
    fn default() -> Self {
        Self::Outside("")
    }
}

impl Parts {
    fn of(text: &str, packet: Received<'_>) -> Self {
        let part = |piece: &str, otherwise| Part::of(text, piece, otherwise);
        let (namespace, id, name, items) = match packet {
            Received::Event { namespace, id, event } => {
                let name = match event.name {
                    Cow::Borrowed(name) => Name::Plain(part(name, "")),
                    Cow::Owned(name) => Name::Rewritten(name.into()),
                };
                (namespace, id, Some(name), event.args.items)
            }
            Received::Ack { namespace, id, args } => (namespace, id, None, args.items),
            // Only events and acknowledgements have attachments.
            Received::Connect { namespace, .. }
            | Received::Disconnect { namespace }
            | Received::ConnectError { namespace } => (namespace, None, None, ""),
        };
        Self { namespace: part(namespace, "/"), id, name, items: part(items, "") }
    }
}

impl Part {
    /// Where `piece` is in `text`; or `otherwise`, if it is not a part of it.
    fn of(text: &str, piece: &str, otherwise: &'static str) -> Self {
        let inside = (piece.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
        let range = inside.and_then(|start| Some(start..start.checked_add(piece.len())?));
        range.filter(|range| range.end <= text.len()).map_or(Self::Outside(otherwise), Self::Inside)
    }

    fn piece<'a>(&'a self, text: &'a str) -> &'a str {
        match self {
            Self::Inside(range) => text.get(range.clone()).unwrap_or_default(),
            Self::Outside(text) => text,
        }
    }
}
