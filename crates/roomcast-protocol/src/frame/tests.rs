//! Valid streams, written by hand: what is lent, what is kept, and for how long. The rules are in `rules`; what holds
//! for all inputs is in `tests/suite/frames.rs` of the crate.

use super::decoder::UNFINISHED_BYTES;
use super::*;
use crate::limits::MAX_PAYLOAD;

mod rules;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CONTINUATION: u8 = 0x0;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// A client's frame, written independently of the code under test.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    frame
}

fn last(opcode: u8, payload: &[u8]) -> Vec<u8> {
    client_frame(0x80 | opcode, payload)
}

fn part(opcode: u8, payload: &[u8]) -> Vec<u8> {
    client_frame(opcode, payload)
}

fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// A message that owns its payload, to be kept in a list.
#[derive(Debug, PartialEq, Eq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Message<'_>> for Owned {
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

fn text(text: &str) -> Owned {
    Owned::Text(text.to_owned())
}

/// Decodes one read's bytes to their end.
fn feed(decoder: &mut FrameDecoder, bytes: &[u8]) -> Result<Vec<Owned>, FrameError> {
    let mut bytes = bytes.to_vec();
    let mut input = &mut bytes[..];
    let mut messages = Vec::new();
    while let Some(message) = decoder.decode(&mut input)? {
        messages.push(message.into());
    }
    assert!(input.is_empty(), "None means that the input is used up");
    Ok(messages)
}

fn decode_all(bytes: &[u8]) -> Result<Vec<Owned>, FrameError> {
    feed(&mut FrameDecoder::new(FrameLimits::default()), bytes)
}

/// Decodes byte by byte. With an error it returns how many bytes it took to find it.
fn decode_bytewise(bytes: &[u8]) -> Result<Vec<Owned>, (FrameError, usize)> {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let mut messages = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        messages.extend(feed(&mut decoder, &[*byte]).map_err(|error| (error, at + 1))?);
    }
    Ok(messages)
}

#[test]
fn messages_of_one_frame() {
    let close = close_payload(1001, b"gone");
    for (bytes, expected) in [
        (last(TEXT, b""), text("")),
        (last(TEXT, "h\u{e9}llo \u{1f600}".as_bytes()), text("h\u{e9}llo \u{1f600}")),
        (last(BINARY, b""), Owned::Binary(vec![])),
        (last(BINARY, &[0xff, 0, 0xfe]), Owned::Binary(vec![0xff, 0, 0xfe])),
        (last(PING, b"1"), Owned::Ping(b"1".to_vec())),
        (last(PONG, b""), Owned::Pong(vec![])),
        (last(CLOSE, b""), Owned::Close(None)),
        (last(CLOSE, &close), Owned::Close(Some((1001, "gone".to_owned())))),
    ] {
        assert_eq!(decode_bytewise(&bytes).as_deref(), Ok(&[expected][..]));
        let whole = decode_all(&bytes);
        assert_eq!(whole, decode_bytewise(&bytes).map_err(|(error, _)| error));
    }
}

#[test]
fn lengths_at_the_borders_of_the_three_forms() {
    for len in [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 65_537, MAX_PAYLOAD] {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        assert_eq!(decode_all(&last(BINARY, &payload)), Ok(vec![Owned::Binary(payload)]), "{len}");
    }
}

/// A pong must have the ping's bytes, at every length, whether the ping comes whole or in parts.
#[test]
fn pongs_echo_pings_of_every_length() {
    for len in 0..=MAX_CONTROL_PAYLOAD {
        let payload: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        let ping = last(PING, &payload);
        for cut in 0..=ping.len() {
            let mut decoder = FrameDecoder::new(FrameLimits::default());
            let mut received = feed(&mut decoder, &ping[..cut]).expect("valid");
            received.extend(feed(&mut decoder, &ping[cut..]).expect("valid"));
            let [Owned::Ping(echo)] = &received[..] else { panic!("one ping, not {received:?}") };
            let mut pong = Vec::new();
            push_frame(&mut pong, Opcode::Pong, echo);
            assert_eq!(pong[..2], [0x8a, len as u8]);
            assert_eq!(pong[2..], payload);
        }
    }
}

#[test]
fn a_whole_message_is_lent_from_the_input() {
    let large = vec![7; 100_000];
    let mut bytes = [
        last(TEXT, b"first"),
        last(PING, b"ping"),
        part(BINARY, b"one "),
        last(PING, b"between"),
        last(CONTINUATION, b"two"),
        last(BINARY, &large),
        last(CLOSE, &close_payload(1000, b"bye")),
    ]
    .concat();
    let range = bytes.as_ptr_range();
    let mut input = &mut bytes[..];
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let mut lent = Vec::new();
    while let Some(message) = decoder.decode(&mut input).expect("valid") {
        let payload = match &message {
            Message::Text(text) | Message::Close(Some((_, text))) => text.as_bytes(),
            Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes,
            Message::Close(None) => panic!("the close has a code"),
        };
        lent.push((payload.len(), range.contains(&payload.as_ptr())));
    }
    let expected = [(5, true), (4, true), (7, true), (7, false), (100_000, true), (3, true)];
    assert_eq!(lent, expected, "only the fragmented message is copied");
}

#[test]
fn a_message_is_lent_although_its_header_came_before() {
    let frame = last(TEXT, b"hello");
    for cut in 0..=6 {
        let mut decoder = FrameDecoder::new(FrameLimits::default());
        assert_eq!(feed(&mut decoder, &frame[..cut]), Ok(vec![]));
        assert_eq!(decoder.heap_bytes(), 0, "a header needs no heap");
        assert_eq!(decoder.is_idle(), cut == 0);
        let mut rest = frame[cut..].to_vec();
        let range = rest.as_ptr_range();
        let mut input = &mut rest[..];
        let Ok(Some(Message::Text(text))) = decoder.decode(&mut input) else { panic!("cut {cut}") };
        assert_eq!(text, "hello");
        assert!(range.contains(&text.as_ptr()));
    }
}

#[test]
fn memory_is_released_by_the_call_after_the_message() {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let frame = last(BINARY, &[1; 1000]);
    assert_eq!(feed(&mut decoder, &frame[..500]), Ok(vec![]));
    assert!(!decoder.is_idle());
    assert!(decoder.heap_bytes() >= 492);
    let mut rest = frame[500..].to_vec();
    let mut input = &mut rest[..];
    assert_eq!(decoder.decode(&mut input), Ok(Some(Message::Binary(&[1; 1000]))));
    assert!(decoder.heap_bytes() >= 1000, "the message was lent from here");
    assert!(decoder.is_idle());
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!(decoder.heap_bytes(), 0);
    assert!(decoder.is_idle());
}

#[test]
fn a_ping_in_parts_between_fragments_leaves_the_message_alone() {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    assert_eq!(feed(&mut decoder, &part(TEXT, b"one ")), Ok(vec![]));
    assert!(!decoder.is_idle());
    let with_message = decoder.heap_bytes();
    let ping = last(PING, b"0123456789");
    assert_eq!(feed(&mut decoder, &ping[..9]), Ok(vec![]));
    assert!(decoder.heap_bytes() > with_message);
    assert_eq!(feed(&mut decoder, &ping[9..]), Ok(vec![Owned::Ping(b"0123456789".to_vec())]));
    assert_eq!(decoder.heap_bytes(), with_message, "the ping's bytes are released");
    let mut whole = ping.clone();
    assert_eq!(feed(&mut decoder, &whole[..9]), Ok(vec![]));
    let mut input = &mut whole[9..];
    assert!(matches!(decoder.decode(&mut input), Ok(Some(Message::Ping(_)))));
    assert!(!decoder.is_idle(), "the message is still open");
    assert_eq!(feed(&mut decoder, &last(PONG, b"")), Ok(vec![Owned::Pong(vec![])]));
    assert_eq!(feed(&mut decoder, &last(CONTINUATION, b"two")), Ok(vec![text("one two")]));
    assert_eq!(decoder.heap_bytes(), 0);

    // Without a message around it nothing is left.
    let mut whole = ping.clone();
    assert_eq!(feed(&mut decoder, &whole[..9]), Ok(vec![]));
    let mut input = &mut whole[9..];
    assert!(matches!(decoder.decode(&mut input), Ok(Some(Message::Ping(_)))));
    assert!(decoder.is_idle());
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!(decoder.heap_bytes(), 0);
    assert_eq!(feed(&mut decoder, &ping[..9]), Ok(vec![]));
    assert!(!decoder.is_idle());
    assert_eq!(feed(&mut decoder, &ping[9..]), Ok(vec![Owned::Ping(b"0123456789".to_vec())]));
    assert_eq!(decoder.heap_bytes(), 0);
}

#[test]
fn stored_bytes_grow_with_what_arrives_and_stop_at_the_limit() {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let half = MAX_PAYLOAD / 2 + 1;
    let mut stored = 0;
    let stream = [part(BINARY, &vec![1; half]), last(CONTINUATION, &vec![2; MAX_PAYLOAD - half])];
    for (number, frame) in stream.iter().enumerate() {
        let mut header_left = [8 + 6, 8 + 6][number];
        for chunk in frame.chunks(1460) {
            let in_header = header_left.min(chunk.len());
            header_left -= in_header;
            stored += chunk.len() - in_header;
            let messages = feed(&mut decoder, chunk).expect("valid");
            let heap = decoder.heap_bytes();
            if messages.is_empty() {
                assert!(heap <= UNFINISHED_BYTES + (2 * stored).min(MAX_PAYLOAD), "{heap}");
            } else {
                assert_eq!(stored, MAX_PAYLOAD);
                assert_eq!(heap, 0);
            }
        }
    }
    assert_eq!(stored, MAX_PAYLOAD);
    assert!(decoder.is_idle());
}

#[test]
fn empty_fragments_make_an_empty_message() {
    let bytes = [part(BINARY, b""), part(CONTINUATION, b""), last(CONTINUATION, b"")].concat();
    assert_eq!(decode_all(&bytes), Ok(vec![Owned::Binary(vec![])]));
    assert_eq!(decode_bytewise(&bytes), Ok(vec![Owned::Binary(vec![])]));
}

#[test]
fn nothing_is_read_after_a_close() {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let close = last(CLOSE, &close_payload(1000, b""));
    // In the middle of a message, in two parts, with a valid and an invalid frame after it.
    let bytes = [part(TEXT, b"half"), close, last(TEXT, b"late"), vec![0xff; 100]].concat();
    assert_eq!(feed(&mut decoder, &bytes[..17]), Ok(vec![]));
    let closed = Owned::Close(Some((1000, String::new())));
    assert_eq!(feed(&mut decoder, &bytes[17..]), Ok(vec![closed]));
    assert_eq!(feed(&mut decoder, &[0xff; 10]), Ok(vec![]));
    assert_eq!(decoder.heap_bytes(), 0);
    assert!(decoder.is_idle());
}

#[test]
fn the_decoder_is_small_and_its_debug_form_shows_no_payload() {
    assert!(size_of::<FrameDecoder>() <= 96);
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    assert_eq!(feed(&mut decoder, &part(TEXT, b"SECRET")), Ok(vec![]));
    let debug = format!("{decoder:?}");
    assert!(debug.contains("max_payload"), "{debug}");
    assert!(!debug.contains("SECRET") && !debug.contains("83"), "{debug}");
}
