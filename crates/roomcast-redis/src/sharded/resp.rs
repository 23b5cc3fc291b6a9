//! [`Reader`]: RESP3, as far as a connection that only hears needs it: bytes into replies, piece by piece, with bounds.

use bytes::{Buf, BytesMut};

/// Most bytes of a line: a status, an error, a length.
const MAX_LINE: usize = 64 * 1024;

/// Most bytes of a string that is kept. What is longer is passed over while it comes, as no message may be so long.
pub(super) const MAX_STRING: usize = crate::wire::read::MAX_MESSAGE + 1;

/// Most bytes of a string that Redis can have.
const LONGEST_STRING: usize = 512 * 1024 * 1024;

/// Most elements of a reply, those of lists in it counted with it: ROLE tells each replica.
const MAX_ITEMS: usize = 4_096;

/// Most bytes of all strings in a reply: a message has a channel beside its payload.
const MAX_REPLY: usize = 2 * MAX_STRING;

/// What a reader takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) line: usize,
    pub(super) string: usize,
    pub(super) longest_string: usize,
    pub(super) items: usize,
    pub(super) reply: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { line: MAX_LINE, string: MAX_STRING, longest_string: LONGEST_STRING, items: MAX_ITEMS, reply: MAX_REPLY }
    }
}

/// What Redis says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The answer to a command, in the order of commands.
    Answer(Vec<Item>),
    /// What nobody asked for, and the answers to subscriptions.
    Push(Vec<Item>),
}

/// A piece of it. Lists in lists are laid out flat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Text(Vec<u8>),
    Error(String),
    Number(i64),
    Null,
    /// A string of so many bytes, which was passed over.
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

/// What came is no RESP, or more than is allowed: the connection cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what Redis sends cannot be read: {0}")]
pub(super) struct Broken(&'static str);

/// Reads replies out of bytes as they come.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Where bytes are put.
    pub(super) buffer: BytesMut,
    pub(super) limits: Limits,
    list: Option<List>,
    /// Bytes of a string that is too large, its end among them, that are still to come.
    passing_over: usize,
}

/// A list of which some elements have come.
#[derive(Debug)]
struct List {
    is_push: bool,
    missing: usize,
    items: Vec<Item>,
    /// Bytes of strings.
    bytes: usize,
}

/// What one line begins.
enum Begun {
    Item(Item),
    List { is_push: bool, elements: usize },
}

impl Reader {
    /// The next reply; `None` if it is not all there. Nothing is read twice but the head of a string that has not come whole.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, Broken> {
        loop {
            let passed = self.passing_over.min(self.buffer.len());
            self.buffer.advance(passed);
            self.passing_over -= passed;
            if self.passing_over > 0 {
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
            // Each alone is bounded, but an error that is no UTF-8 is longer as text.
            if self.list.as_ref().is_some_and(|list| list.bytes > self.limits.reply) {
                return Err(Broken("a reply is too large"));
            }
            if self.list.as_ref().is_some_and(|list| list.missing + list.items.len() > self.limits.items) {
                return Err(Broken("a list is too long"));
            }
        }
    }

    fn begin(&mut self) -> Result<Option<Begun>, Broken> {
        let looked = self.buffer.get(..self.limits.line.min(self.buffer.len())).unwrap_or_default();
        let Some(end) = looked.windows(2).position(|two| two == b"\r\n") else {
            return if looked.len() >= self.limits.line { Err(Broken("a line is too long")) } else { Ok(None) };
        };
        let line = looked.get(..end).unwrap_or_default();
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
                    let elements = usize::try_from(elements).map_err(|_| Broken("a length is below nought"))?;
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

    /// A string whose head, of so many bytes, has come.
    fn string(&mut self, kind: u8, length: i64, head: usize) -> Result<Option<Begun>, Broken> {
        if length == -1 {
            self.buffer.advance(head);
            return Ok(Some(Begun::Item(Item::Null)));
        }
        let length = usize::try_from(length).map_err(|_| Broken("a length is below nought"))?;
        if length > self.limits.longest_string {
            return Err(Broken("a string is too long"));
        }
        if length > self.limits.string {
            self.buffer.advance(head);
            self.passing_over = length + 2;
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
            // Its form, `txt:`, stands before it.
            b'=' => Item::Text(text.get(4..).unwrap_or_default().to_vec()),
            _ => Item::Text(text),
        };
        Ok(Some(Begun::Item(item)))
    }
}

fn number(digits: &[u8]) -> Result<i64, Broken> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Broken("a number is none"))
}

/// A command as Redis reads it.
pub(super) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
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

    /// All replies in bytes that come in pieces of so many.
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
        // Three bytes of text for each that is no UTF-8.
        let error = |size: usize| [format!("!{size}\r\n").into_bytes(), vec![0xff; size], b"\r\n".to_vec()].concat();
        assert_eq!(read(&error(MAX_REPLY / 3), 1 << 20).map(|replies| replies.len()), Ok(1));
        assert_eq!(read(&error(MAX_REPLY / 3 + 1), 1 << 20), Err(Broken("a reply is too large")));
    }

    #[test]
    fn what_redis_says() {
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
    fn what_is_no_resp_is_told() {
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

        /// However they come, and whatever they are, the same bytes are read alike.
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
