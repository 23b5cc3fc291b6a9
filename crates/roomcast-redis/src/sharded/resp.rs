//! [`Reader`]: reads RESP3 from bytes, piece by piece and within bounds, as far as a subscriber connection needs it.

use bytes::{Buf, BytesMut};

/// Most bytes of a line, which holds a status, an error or a length.
const MAX_LINE: usize = 64 * 1024;

/// Most bytes of a string that is kept. A longer string is skipped while it arrives, as no message may be so long.
pub(crate) const MAX_STRING: usize = crate::wire::read::MAX_MESSAGE + 1;

/// Most bytes of a string in Redis.
const LONGEST_STRING: usize = 512 * 1024 * 1024;

/// Most elements of a reply, including those of nested lists. ROLE lists every replica.
const MAX_ITEMS: usize = 4_096;

/// Most bytes of all strings in a reply: a message has a channel beside its payload.
const MAX_REPLY: usize = 2 * MAX_STRING;

/// The bounds of a reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) line: usize,
    pub(crate) string: usize,
    pub(crate) longest_string: usize,
    pub(crate) items: usize,
    pub(crate) reply: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { line: MAX_LINE, string: MAX_STRING, longest_string: LONGEST_STRING, items: MAX_ITEMS, reply: MAX_REPLY }
    }
}

/// A reply of Redis. Nested lists are flattened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The answer to a command. Answers come in the order of the commands.
    Answer(Vec<Item>),
    /// A message, or the confirmation of a subscription.
    Push(Vec<Item>),
}

/// An element of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Text(Vec<u8>),
    Error(String),
    Number(i64),
    Null,
    /// A string of this many bytes, which was skipped.
    TooLarge(usize),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Error(error) => error.len(),
            _ => 0,
        }
    }
}

/// The bytes are not RESP, or exceed a bound. Nothing more can be read from the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot read what Redis sends: {0}")]
pub(crate) struct Broken(&'static str);

#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Bytes that have arrived and are not read yet.
    pub(crate) buffer: BytesMut,
    pub(crate) limits: Limits,
    list: Option<List>,
    /// Remaining bytes of a string that is too large, with its line end.
    to_skip: usize,
}

/// A list of which only some elements have arrived.
#[derive(Debug)]
struct List {
    is_push: bool,
    missing: usize,
    items: Vec<Item>,
    /// Bytes of all its strings.
    bytes: usize,
}

/// What one line contains or begins.
enum Begun {
    Item(Item),
    List { is_push: bool, elements: usize },
}

impl Reader {
    /// The next reply; `None` if it is not complete. Nothing is parsed twice except the head of a string that has not
    /// fully arrived.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, Broken> {
        loop {
            let skipped = self.to_skip.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.to_skip -= skipped;
            if self.to_skip > 0 {
                return Ok(None);
            }
            if self.list.as_ref().is_some_and(|list| list.missing == 0)
                && let Some(List { is_push, items, .. }) = self.list.take()
            {
                return Ok(Some(if is_push { Reply::Push(items) } else { Reply::Answer(items) }));
            }
            let Some(begun) = self.begin()? else { return Ok(None) };
            match (begun, &mut self.list) {
                (Begun::Item(item), None) => {
                    let bytes = item.bytes();
                    self.list = Some(List { is_push: false, missing: 0, items: vec![item], bytes });
                }
                (Begun::Item(item), Some(list)) => {
                    list.bytes += item.bytes();
                    list.items.push(item);
                    list.missing -= 1;
                }
                (Begun::List { is_push, elements }, None) => {
                    self.list = Some(List { is_push, missing: elements, items: Vec::new(), bytes: 0 });
                }
                (Begun::List { elements, .. }, Some(list)) => {
                    list.missing += elements;
                    list.missing -= 1;
                }
            }
            // A single string is bounded already, but an error that is not UTF-8 grows when it becomes text.
            if self.list.as_ref().is_some_and(|list| list.bytes > self.limits.reply) {
                return Err(Broken("a reply is too large"));
            }
            if self.list.as_ref().is_some_and(|list| list.missing + list.items.len() > self.limits.items) {
                return Err(Broken("a list is too long"));
            }
        }
    }

    fn begin(&mut self) -> Result<Option<Begun>, Broken> {
        let searched = self.buffer.get(..self.limits.line.min(self.buffer.len())).unwrap_or_default();
        let Some(end) = searched.windows(2).position(|two| two == b"\r\n") else {
            return if searched.len() >= self.limits.line { Err(Broken("a line is too long")) } else { Ok(None) };
        };
        let line = searched.get(..end).unwrap_or_default();
        let (kind, rest) = line.split_first().ok_or(Broken("a line is empty"))?;
        let begun = match kind {
            b'-' => Begun::Item(Item::Error(String::from_utf8_lossy(rest).into_owned())),
            b':' => Begun::Item(Item::Number(number(rest)?)),
            b'_' => Begun::Item(Item::Null),
            b'+' | b'#' | b',' | b'(' => Begun::Item(Item::Text(rest.to_vec())),
            b'$' | b'=' | b'!' => return self.string(*kind, number(rest)?, end + 2),
            b'*' | b'~' | b'>' | b'%' => match number(rest)? {
                -1 => Begun::Item(Item::Null),
                elements => {
                    let elements = usize::try_from(elements).map_err(|_| Broken("a length is negative"))?;
                    let each = if *kind == b'%' { 2 } else { 1 };
                    Begun::List {
                        is_push: *kind == b'>',
                        elements: elements.saturating_mul(each).min(self.limits.items + 1),
                    }
                }
            },
            _ => return Err(Broken("an unknown kind of reply")),
        };
        self.buffer.advance(end + 2);
        Ok(Some(begun))
    }

    /// Reads a string. `head`: the bytes of its first line.
    fn string(&mut self, kind: u8, length: i64, head: usize) -> Result<Option<Begun>, Broken> {
        if length == -1 {
            self.buffer.advance(head);
            return Ok(Some(Begun::Item(Item::Null)));
        }
        let length = usize::try_from(length).map_err(|_| Broken("a length is negative"))?;
        if length > self.limits.longest_string {
            return Err(Broken("a string is too long"));
        }
        if length > self.limits.string {
            self.buffer.advance(head);
            self.to_skip = length + 2;
            return Ok(Some(Begun::Item(Item::TooLarge(length))));
        }
        let end = head + length;
        let Some(after) = self.buffer.get(end..end + 2) else {
            self.buffer.reserve(end + 2 - self.buffer.len());
            return Ok(None);
        };
        if after != b"\r\n" {
            return Err(Broken("a string does not end where it should"));
        }
        self.buffer.advance(head);
        let text = self.buffer.get(..length).unwrap_or_default().to_vec();
        self.buffer.advance(length + 2);
        let item = match kind {
            b'!' => Item::Error(String::from_utf8_lossy(&text).into_owned()),
            // It begins with its format, such as `txt:`.
            b'=' => Item::Text(text.get(4..).unwrap_or_default().to_vec()),
            _ => Item::Text(text),
        };
        Ok(Some(Begun::Item(item)))
    }
}

fn number(digits: &[u8]) -> Result<i64, Broken> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Broken("a number is invalid"))
}

/// Writes a command as Redis reads it.
pub(crate) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(*word);
        out.extend(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Item {
        Item::Text(text.as_bytes().to_vec())
    }

    /// All replies in these bytes, which arrive in pieces of this size.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<Reply>, Broken> {
        let (mut reader, mut replies) = (Reader::default(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            reader.buffer.extend_from_slice(piece);
            while let Some(reply) = reader.next()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    #[test]
    fn a_reply_at_the_limit_and_one_byte_past_it() {
        let reply = |last: usize| {
            let mut bytes = b"*3\r\n".to_vec();
            for size in [MAX_STRING, MAX_STRING - 1, last] {
                bytes.extend(format!("${size}\r\n").bytes());
                bytes.resize(bytes.len() + size, b'x');
                bytes.extend(b"\r\n");
            }
            bytes
        };
        assert_eq!(read(&reply(1), 1 << 20).map(|replies| replies.len()), Ok(1));
        assert_eq!(read(&reply(2), 1 << 20), Err(Broken("a reply is too large")));
        // Each byte that is not UTF-8 becomes three bytes of text.
        let error = |size: usize| [format!("!{size}\r\n").into_bytes(), vec![0xff; size], b"\r\n".to_vec()].concat();
        assert_eq!(read(&error(MAX_REPLY / 3), 1 << 20).map(|replies| replies.len()), Ok(1));
        assert_eq!(read(&error(MAX_REPLY / 3 + 1), 1 << 20), Err(Broken("a reply is too large")));
    }

    #[test]
    fn replies_of_every_kind() {
        let said = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n+proto\r\n:3\r\n\
            >3\r\n$10\r\nssubscribe\r\n$1\r\na\r\n:1\r\n\
            -MOVED 15495 127.0.0.1:7001\r\n\
            >3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$4\r\nx\r\ny\r\n\
            =8\r\ntxt:id=5\r\n!5\r\nERR x\r\n+PONG\r\n*3\r\n$6\r\nmaster\r\n:7\r\n*1\r\n*2\r\n$1\r\nh\r\n$1\r\np\r\n$-1\r\n_\r\n*0\r\n";
        let expected = [
            Reply::Answer(vec![text("server"), text("redis"), text("proto"), Item::Number(3)]),
            Reply::Push(vec![text("ssubscribe"), text("a"), Item::Number(1)]),
            Reply::Answer(vec![Item::Error("MOVED 15495 127.0.0.1:7001".to_owned())]),
            Reply::Push(vec![text("smessage"), text("a"), text("x\r\ny")]),
            Reply::Answer(vec![text("id=5")]),
            Reply::Answer(vec![Item::Error("ERR x".to_owned())]),
            Reply::Answer(vec![text("PONG")]),
            Reply::Answer(vec![text("master"), Item::Number(7), text("h"), text("p")]),
            Reply::Answer(vec![Item::Null]),
            Reply::Answer(vec![Item::Null]),
            Reply::Answer(vec![]),
        ];
        for piece in [1, 2, 3, 7, said.len()] {
            assert_eq!(read(said, piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn strings_at_the_limit_and_one_past_it() {
        for (length, kept) in [(MAX_STRING, true), (MAX_STRING + 1, false)] {
            let said =
                [format!("*2\r\n${length}\r\n").into_bytes(), vec![b'x'; length], b"\r\n+after\r\n".to_vec()].concat();
            let replies = read(&said, 65_536).unwrap();
            let [Reply::Answer(items)] = &replies[..] else { panic!("{} replies", replies.len()) };
            assert_eq!(items[1], text("after"));
            assert_eq!(items[0] == Item::TooLarge(length), !kept);
        }
        assert!(read(format!("${}\r\n", LONGEST_STRING + 1).as_bytes(), 99).is_err());
        assert!(read(format!("${LONGEST_STRING}\r\n").as_bytes(), 99).is_ok());
    }

    #[test]
    fn lines_and_lists_at_the_limit_and_one_past_it() {
        let line = |length: usize| [vec![b'+'; 1], vec![b'x'; length - 3], b"\r\n".to_vec()].concat();
        assert_eq!(read(&line(MAX_LINE), 9_999).unwrap().len(), 1);
        assert!(read(&line(MAX_LINE + 1), 9_999).is_err());
        let list = |elements: usize| [format!("*{elements}\r\n").into_bytes(), b"_\r\n".repeat(elements)].concat();
        assert_eq!(read(&list(MAX_ITEMS), 9_999).unwrap().len(), 1);
        assert!(read(&list(MAX_ITEMS + 1), 9_999).is_err());
        assert!(read(&b"*1\r\n".repeat(MAX_ITEMS), 9_999).is_ok_and(|replies| replies.is_empty()));
    }

    #[test]
    fn bytes_that_are_not_resp_are_refused() {
        for said in
            ["x\r\n", "\r\n", ":x\r\n", "$-2\r\n", "*-2\r\n", "$1\r\nxyz", "$99999999999999999999\r\n", "%x\r\n"]
        {
            assert!(read(said.as_bytes(), 99).is_err(), "{said:?}");
        }
    }

    #[test]
    fn a_command_in_bytes() {
        let mut out = Vec::new();
        command(&mut out, &[b"SSUBSCRIBE", "é\r\n".as_bytes()]);
        assert_eq!(out, "*2\r\n$10\r\nSSUBSCRIBE\r\n$4\r\né\r\n\r\n".as_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the bytes are, and in whatever pieces they arrive, they are read alike.
        #[test]
        fn any_bytes_are_read_without_a_panic(
            said in prop::collection::vec(
                prop::sample::select(vec!["*2\r\n", ">3\r\n", "$3\r\nabc\r\n", "$3\r\nab", "+x\r\n", ":1\r\n", "%1\r\n", "_\r\n", "-E\r\n", "\r\n", "$", "é"]),
                0..40,
            ),
            noise: Vec<u8>,
            piece in 1..9_usize,
        ) {
            let said = [said.concat().into_bytes(), noise].concat();
            prop_assert_eq!(read(&said, piece), read(&said, said.len()));
        }
    }
}
