//! The reader of RESP3.

use crate::sharded::resp;

/// Bounds of a reader.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a line.
    pub line: usize,
    /// Bytes of a string that is kept.
    pub string: usize,
    /// Bytes of any string, kept or skipped.
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

/// A reply of Redis, flattened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Not an answer to a command.
    pub is_push: bool,
    /// Its elements.
    pub items: Vec<Item>,
}

/// An element of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A string.
    Text(Vec<u8>),
    /// An error.
    Error(String),
    /// A number.
    Number(i64),
    /// A null.
    Null,
    /// A string of this many bytes, which was skipped.
    TooLarge(usize),
}

/// Reads replies from bytes.
#[derive(Debug)]
pub struct Reader(resp::Reader);

impl Reader {
    /// A reader that has read nothing yet.
    pub fn new(limits: Limits) -> Self {
        let Limits { line, string, longest_string, items, reply } = limits;
        let limits = resp::Limits { line, string, longest_string, items, reply };
        let mut reader = resp::Reader::default();
        reader.limits = limits;
        Self(reader)
    }

    /// Takes bytes. Returns the replies that are complete, and whether the reader can go on.
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
