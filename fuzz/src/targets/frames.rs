//! WebSocket frames: how the bytes are cut into reads must not matter, and the result is that of a straightforward
//! reading of RFC 6455.

use crate::input::Input;
use crate::mutator::Random;
use crate::novelty::{seen, size};
use roomcast_protocol::frame::{FrameDecoder, FrameError, FrameLimits, Message};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Broken(FrameError),
}

impl From<Message<'_>> for Outcome {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Message::Close(close) => Self::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

/// What a decoder owns in addition to the payload: its bookkeeping and a control frame, with some margin.
const BOOKKEEPING: usize = 512;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let max_payload = input.choice(&[1_000_000, 1_000, 126, 125, 3, 1, 0]);
    let max_fragments = input.choice(&[1_024, 3, 1, 0]);
    let limits = FrameLimits { max_payload, max_fragments };
    let mut random = Random::new(u64::from(input.byte()));
    let bytes = input.rest();

    let whole = decode(limits, bytes, |left| left);
    assert_eq!(whole, decode(limits, bytes, |_| 1), "read byte by byte");
    assert_eq!(whole, decode(limits, bytes, |_| 1 + random.below(20)), "read in pieces");
    let readings = [Outcome::from(Message::Close(None)), Outcome::Broken(FrameError::NotMasked)];
    let ends =
        |outcome: &Outcome| readings.iter().any(|end| std::mem::discriminant(end) == std::mem::discriminant(outcome));
    assert!(whole.iter().rev().skip(1).all(|outcome| !ends(outcome)), "something follows the end: {whole:?}");
    let plain = read_plainly(limits, bytes);
    let messages: Vec<&Outcome> = whole.iter().filter(|outcome| !matches!(outcome, Outcome::Broken(_))).collect();
    assert!(messages.iter().copied().eq(plain.messages.iter()), "{messages:?} is not {:?}", plain.messages);
    assert_eq!(messages.len() < whole.len(), plain.broken, "{whole:?}");

    let mut before = 0;
    for outcome in &whole {
        let (kind, size) = match outcome {
            Outcome::Text(text) => (1, size(text.len())),
            Outcome::Binary(bytes) => (2, size(bytes.len())),
            Outcome::Ping(bytes) => (3, size(bytes.len())),
            Outcome::Pong(bytes) => (4, size(bytes.len())),
            Outcome::Close(close) => (5, u32::from(close.as_ref().map_or(0, |(code, _)| *code))),
            Outcome::Broken(error) => {
                seen(std::mem::discriminant(error));
                (6, 0)
            }
        };
        seen((before, kind, size));
        before = kind;
    }
}

/// Everything that is decoded if each read brings as many of the bytes left as `read` returns.
fn decode(limits: FrameLimits, bytes: &[u8], mut read: impl FnMut(usize) -> usize) -> Vec<Outcome> {
    let mut decoder = FrameDecoder::new(limits);
    let mut bytes = bytes.to_vec();
    let mut left = &mut bytes[..];
    let mut received = 0;
    let mut outcomes = Vec::new();
    while !left.is_empty() {
        let count = read(left.len()).clamp(1, left.len());
        let (mut chunk, rest) = left.split_at_mut(count);
        left = rest;
        received += count;
        loop {
            match decoder.decode(&mut chunk) {
                Ok(Some(message)) => outcomes.push(message.into()),
                Ok(None) => break,
                Err(error) => {
                    assert!(chunk.is_empty(), "an error leaves input");
                    assert_eq!(decoder.decode(&mut &mut [0x81, 0x80][..]), Err(error.clone()));
                    outcomes.push(Outcome::Broken(error));
                    assert_eq!(decoder.heap_bytes(), 0);
                    return outcomes;
                }
            }
        }
        assert!(chunk.is_empty(), "input is left");
        let held = decoder.heap_bytes();
        assert!(held <= BOOKKEEPING + (2 * received).min(limits.max_payload), "{held} bytes of {received}");
        assert!(held == 0 || !decoder.is_idle(), "an idle decoder holds {held} bytes");
    }
    outcomes
}

struct Plain {
    messages: Vec<Outcome>,
    broken: bool,
}

/// RFC 6455, implemented for clarity: all the bytes at once, and everything copied.
fn read_plainly(limits: FrameLimits, mut bytes: &[u8]) -> Plain {
    let mut messages = Vec::new();
    let mut open: Option<(u8, Vec<u8>, u32)> = None;
    loop {
        let broken = |messages| Plain { messages, broken: true };
        let unfinished = |messages| Plain { messages, broken: false };
        let Some(&first) = bytes.first() else { return unfinished(messages) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let control = matches!(opcode, 8..=10);
        let allowed = match opcode {
            0 => open.as_ref().is_some_and(|(_, _, fragments)| *fragments < limits.max_fragments),
            1 | 2 => open.is_none(),
            8..=10 => fin,
            _ => false,
        };
        if first & 0x70 != 0 || !allowed {
            return broken(messages);
        }
        let Some(&second) = bytes.get(1) else { return unfinished(messages) };
        let short = second & 0x7f;
        if second & 0x80 == 0 || (control && short > 125) {
            return broken(messages);
        }
        let width = [0, 2, 8][usize::from(short.saturating_sub(125))];
        let Some(wide) = bytes.get(2..2 + width) else { return unfinished(messages) };
        let wide = wide.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let length = if width == 0 { u128::from(short) } else { wide };
        let minimal = [0, 126, 65_536][usize::from(short.saturating_sub(125))];
        let stored = open.as_ref().map_or(0, |(_, payload, _)| payload.len());
        if length < minimal
            || length >> 63 != 0
            || (!control && length > limits.max_payload.saturating_sub(stored) as u128)
        {
            return broken(messages);
        }
        let Some(mask) = bytes.get(2 + width..6 + width) else { return unfinished(messages) };
        let there = &bytes[6 + width..];
        let complete = there.len() as u128 >= length;
        let payload = if complete { &there[..length as usize] } else { there };
        let unmasked = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
        if control {
            if !complete {
                return unfinished(messages);
            }
            let payload: Vec<u8> = unmasked.collect();
            match opcode {
                9 => messages.push(Outcome::Ping(payload)),
                10 => messages.push(Outcome::Pong(payload)),
                _ => {
                    let Some(close) = close(&payload) else { return broken(messages) };
                    messages.push(Outcome::Close(close));
                    return unfinished(messages);
                }
            }
        } else {
            let (kind, message, fragments) = open.get_or_insert((opcode, Vec::new(), 0));
            message.extend(unmasked);
            *fragments += 1;
            // Bytes that can no longer become text are refused at once.
            let text = std::str::from_utf8(message);
            let hopeless = text.as_ref().is_err_and(|error| error.error_len().is_some() || (complete && fin));
            if *kind == 1 && hopeless {
                return broken(messages);
            }
            if !complete {
                return unfinished(messages);
            }
            if fin {
                messages.push(match (*kind, text) {
                    (1, Ok(text)) => Outcome::Text(text.to_owned()),
                    _ => Outcome::Binary(std::mem::take(message)),
                });
                open = None;
            }
        }
        bytes = &there[length as usize..];
    }
}

/// The code and reason in a close frame's payload.
fn close(payload: &[u8]) -> Option<Option<(u16, String)>> {
    let [high, low, reason @ ..] = payload else { return payload.is_empty().then_some(None) };
    let code = u16::from_be_bytes([*high, *low]);
    let sendable = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    let reason = std::str::from_utf8(reason).ok()?;
    sendable.then(|| Some((code, reason.to_owned())))
}
