//! What Redis sends on a connection that subscribes to sharded channels: how the bytes are cut into reads must not
//! matter, and the result is that of a straightforward reading of RESP3, and can be written again.

use crate::heap;
use crate::input::Input;
use crate::mutator::Random;
use crate::novelty::{seen, size};
use roomcast_redis::fuzzing::resp::{Item, Limits, Reader, Reply};

/// What a reader holds in addition to strings and elements, with some margin.
const BOOKKEEPING: usize = 2_048;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let usual = Limits::default();
    let limits = Limits {
        line: input.choice(&[usual.line, 24, 8]),
        string: input.choice(&[usual.string, 9, 1, 0]),
        longest_string: input.choice(&[usual.longest_string, 40, 9]),
        items: input.choice(&[usual.items, 6, 1, 0]),
        reply: input.choice(&[usual.reply, 20, 9]),
    };
    let mut random = Random::new(u64::from(input.byte()));
    let bytes = input.rest();

    let whole = read(limits, bytes, |left| left);
    assert_eq!(whole, read(limits, bytes, |_| 1), "read byte by byte");
    assert_eq!(whole, read(limits, bytes, |_| 1 + random.below(20)), "read in pieces");
    assert_eq!(whole, read_plainly(limits, bytes));

    let mut said = Vec::new();
    for reply in &whole.replies {
        let (mut texts, mut kinds) = (0, 0_u32);
        for item in &reply.items {
            let (kind, length) = match item {
                Item::Text(text) => (1, text.len()),
                Item::Error(text) => (2, text.len()),
                Item::Number(_) => (3, 0),
                Item::Null => (4, 0),
                Item::TooLarge(length) => {
                    assert!(*length > limits.string && *length <= limits.longest_string);
                    (5, 0)
                }
            };
            texts += length;
            kinds |= 1 << kind;
        }
        assert!(reply.items.len() <= limits.items, "{} elements", reply.items.len());
        assert!(texts <= limits.reply, "{texts} bytes in a reply");
        seen((reply.is_push, reply.items.len().min(5), kinds, size(texts)));
        say(&mut said, reply);
    }
    seen((whole.broken, whole.replies.len().min(4)));
    // Written again, a reply may need longer lines than some limits allow.
    let limits = Limits { line: usual.line, longest_string: usual.longest_string, ..limits };
    let short = |item: &Item| match item {
        Item::TooLarge(length) => *length < 1_000,
        // It was a line, which may be longer than a string.
        Item::Text(text) => text.len() <= limits.string,
        Item::Error(text) => text.len() <= limits.string,
        _ => true,
    };
    if whole.replies.iter().flat_map(|reply| &reply.items).all(short) {
        assert_eq!(read(limits, &said, |left| left), Heard { replies: whole.replies, broken: false }, "said again");
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Heard {
    replies: Vec<Reply>,
    broken: bool,
}

/// Everything that is read if each read brings as many of the bytes left as `piece` returns.
fn read(limits: Limits, mut bytes: &[u8], mut piece: impl FnMut(usize) -> usize) -> Heard {
    // A string that has not come completely has its memory already. What is read is kept here too, and a reply may have
    // three bytes.
    let most = BOOKKEEPING + 120 * bytes.len() + 2 * limits.string.min(limits.longest_string);
    let (mut reader, mut heard) = (Reader::new(limits), Heard { replies: Vec::new(), broken: false });
    heap::within(most, || {
        while !bytes.is_empty() && !heard.broken {
            let (now, later) = bytes.split_at(piece(bytes.len()).clamp(1, bytes.len()));
            bytes = later;
            let (replies, goes_on) = reader.read(now);
            heard.replies.extend(replies);
            heard.broken = !goes_on;
            let waiting = reader.waiting();
            assert!(heard.broken || waiting < limits.line + limits.string + 2, "{waiting} bytes wait");
        }
        heard
    })
}

/// Writes a reply in the simplest form.
fn say(out: &mut Vec<u8>, reply: &Reply) {
    let head = if reply.is_push { '>' } else { '*' };
    // An answer of one element may not have been a list. It is read the same.
    out.extend(format!("{head}{}\r\n", reply.items.len()).bytes());
    for item in &reply.items {
        let (kind, text) = match item {
            Item::Text(text) => ('$', text.clone()),
            Item::Error(text) => ('!', text.clone().into_bytes()),
            Item::TooLarge(length) => ('$', vec![b'x'; *length]),
            Item::Number(number) => {
                out.extend(format!(":{number}\r\n").bytes());
                continue;
            }
            Item::Null => {
                out.extend(b"_\r\n");
                continue;
            }
        };
        out.extend(format!("{kind}{}\r\n", text.len()).bytes());
        out.extend(text);
        out.extend(b"\r\n");
    }
}

/// Why reading ends.
enum End {
    Unfinished,
    Broken,
}

/// RESP3, implemented for clarity: all the bytes at once.
fn read_plainly(limits: Limits, mut bytes: &[u8]) -> Heard {
    let mut replies = Vec::new();
    loop {
        match reply(limits, &mut bytes) {
            Ok(reply) => replies.push(reply),
            Err(end) => return Heard { replies, broken: matches!(end, End::Broken) },
        }
    }
}

/// Takes the first reply off the front.
fn reply(limits: Limits, bytes: &mut &[u8]) -> Result<Reply, End> {
    let mut reply = Reply { is_push: false, items: Vec::new() };
    let (mut expected, mut texts, mut is_first) = (1_usize, 0, true);
    while expected > 0 {
        expected -= 1;
        let line = line(limits, bytes)?;
        let (kind, rest) = line.split_first().ok_or(End::Broken)?;
        let number = || std::str::from_utf8(rest).ok().and_then(|digits| digits.parse::<i64>().ok()).ok_or(End::Broken);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut passed_over = 0;
        let item = match kind {
            b'+' | b'#' | b',' | b'(' => Some(Item::Text(rest.to_vec())),
            b'-' => Some(Item::Error(text(rest))),
            b':' => Some(Item::Number(number()?)),
            b'_' => Some(Item::Null),
            b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' if number()? == -1 => Some(Item::Null),
            b'$' | b'=' | b'!' => {
                let length = usize::try_from(number()?).map_err(|_| End::Broken)?;
                if length > limits.longest_string {
                    return Err(End::Broken);
                }
                if length > limits.string {
                    passed_over = length + 2;
                    Some(Item::TooLarge(length))
                } else {
                    let string = take(bytes, length + 2)?.strip_suffix(b"\r\n").ok_or(End::Broken)?;
                    Some(match kind {
                        b'$' => Item::Text(string.to_vec()),
                        b'=' => Item::Text(string.iter().skip(4).copied().collect()),
                        _ => Item::Error(text(string)),
                    })
                }
            }
            b'*' | b'~' | b'>' | b'%' => {
                let elements = usize::try_from(number()?).map_err(|_| End::Broken)?;
                let elements = elements.saturating_mul(if *kind == b'%' { 2 } else { 1 });
                expected = expected.saturating_add(elements);
                reply.is_push |= is_first && *kind == b'>';
                None
            }
            _ => return Err(End::Broken),
        };
        is_first = false;
        texts += match &item {
            Some(Item::Text(text)) => text.len(),
            Some(Item::Error(text)) => text.len(),
            _ => 0,
        };
        reply.items.extend(item);
        if texts > limits.reply || expected.saturating_add(reply.items.len()) > limits.items {
            return Err(End::Broken);
        }
        take(bytes, passed_over)?;
    }
    Ok(reply)
}

fn line<'a>(limits: Limits, bytes: &mut &'a [u8]) -> Result<&'a [u8], End> {
    let looked = &bytes[..bytes.len().min(limits.line)];
    let Some(end) = looked.windows(2).position(|two| two == b"\r\n") else {
        return Err(if looked.len() == limits.line { End::Broken } else { End::Unfinished });
    };
    take(bytes, end + 2).map(|line| &line[..end])
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], End> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(End::Unfinished)?;
    *bytes = rest;
    Ok(taken)
}
