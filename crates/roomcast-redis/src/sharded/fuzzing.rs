//! The reader of what Redis says, for the repository's own fuzz target (`fuzz/`). No part of the API: it may change at any time.

use super::resp;

/// Bounds of a reader.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a line.
    pub line: usize,
    /// Bytes of a string that is kept.
    pub string: usize,
    /// Bytes of a string at all.
    pub longest_string: usize,
    /// Elements of a reply.
    pub items: usize,
    /// Bytes of all strings in a reply.
    pub reply: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let resp::Limits { line, string, longest_string, items, reply } = resp::Limits::default();
        Self { line, string, longest_string, items, reply }
    }
}

/// Something that Redis said, laid out flat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Nobody asked for it.
    pub is_push: bool,
    /// What is in it.
    pub items: Vec<Item>,
}

/// A piece of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A string.
    Text(Vec<u8>),
    /// An error.
    Error(String),
    /// A number.
    Number(i64),
    /// Nothing.
    Null,
    /// A string of so many bytes, which was passed over.
    TooLarge(usize),
}

/// Reads what comes.
#[derive(Debug)]
pub struct Reader(resp::Reader);

impl Reader {
    /// One that has read nothing yet.
    pub fn new(limits: Limits) -> Self {
        let Limits { line, string, longest_string, items, reply } = limits;
        let limits = resp::Limits { line, string, longest_string, items, reply };
        let mut reader = resp::Reader::default();
        reader.limits = limits;
        Self(reader)
    }

    /// These bytes have come. Returns the replies that are there, and whether it can be read on.
    pub fn read(&mut self, bytes: &[u8]) -> (Vec<Reply>, bool) {
        self.0.buffer.extend_from_slice(bytes);
        let mut replies = Vec::new();
        loop {
            match self.0.next() {
                Ok(Some(reply)) => replies.push(Reply::from(reply)),
                Ok(None) => return (replies, true),
                Err(_) => return (replies, false),
            }
        }
    }

    /// Bytes that wait for more.
    pub fn waiting(&self) -> usize {
        self.0.buffer.len()
    }
}

impl From<resp::Reply> for Reply {
    fn from(reply: resp::Reply) -> Self {
        let (is_push, items) = match reply {
            resp::Reply::Push(items) => (true, items),
            resp::Reply::Answer(items) => (false, items),
        };
        let items = items.into_iter().map(|item| match item {
            resp::Item::Text(text) => Item::Text(text),
            resp::Item::Error(text) => Item::Error(text),
            resp::Item::Number(number) => Item::Number(number),
            resp::Item::Null => Item::Null,
            resp::Item::TooLarge(length) => Item::TooLarge(length),
        });
        Self { is_push, items: items.collect() }
    }
}
