//! Each rule by hand, at its limit and one past it. What holds for all inputs is in `tests/frames.rs`.

#![allow(clippy::panic)]

use super::decoder::{Unfinished, unmask};
use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CONTINUATION: u8 = 0x0;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// A client's frame, written apart from the code under test.
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
    frame.extend(
        payload
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ MASK[at % 4]),
    );
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
            Message::Close(close) => {
                Self::Close(close.map(|(code, reason)| (code, reason.to_owned())))
            }
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

/// Decodes byte by byte; on an error also tells how many bytes it took to see it.
fn decode_bytewise(bytes: &[u8]) -> Result<Vec<Owned>, (FrameError, usize)> {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let mut messages = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        messages.extend(feed(&mut decoder, &[*byte]).map_err(|error| (error, at + 1))?);
    }
    Ok(messages)
}

/// The error must come with the last byte of `bytes`, not before; and stay.
#[track_caller]
fn assert_fails_at_end(bytes: &[u8], error: &FrameError, close_code: u16) {
    assert_eq!(decode_bytewise(bytes), Err((error.clone(), bytes.len())));

    let mut decoder = FrameDecoder::new(FrameLimits::default());
    assert_eq!(feed(&mut decoder, bytes), Err(error.clone()));
    assert_eq!(error.close_code(), close_code);
    assert_eq!(decoder.heap_bytes(), 0);
    assert!(decoder.is_idle());
    let mut more = last(TEXT, b"x");
    let mut input = &mut more[..];
    assert_eq!(decoder.decode(&mut input), Err(error.clone()));
    assert!(input.is_empty());
}

#[test]
fn messages_of_one_frame() {
    let close = close_payload(1001, b"gone");
    for (bytes, expected) in [
        (last(TEXT, b""), text("")),
        (
            last(TEXT, "h\u{e9}llo \u{1f600}".as_bytes()),
            text("h\u{e9}llo \u{1f600}"),
        ),
        (last(BINARY, b""), Owned::Binary(vec![])),
        (
            last(BINARY, &[0xff, 0, 0xfe]),
            Owned::Binary(vec![0xff, 0, 0xfe]),
        ),
        (last(PING, b"1"), Owned::Ping(b"1".to_vec())),
        (last(PONG, b""), Owned::Pong(vec![])),
        (last(CLOSE, b""), Owned::Close(None)),
        (
            last(CLOSE, &close),
            Owned::Close(Some((1001, "gone".to_owned()))),
        ),
    ] {
        assert_eq!(decode_bytewise(&bytes).as_deref(), Ok(&[expected][..]));
        let whole = decode_all(&bytes);
        assert_eq!(whole, decode_bytewise(&bytes).map_err(|(error, _)| error));
    }
}

#[test]
fn lengths_at_the_borders_of_the_three_forms() {
    for len in [
        0,
        1,
        7,
        8,
        9,
        125,
        126,
        127,
        65_535,
        65_536,
        65_537,
        MAX_PAYLOAD,
    ] {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        assert_eq!(
            decode_all(&last(BINARY, &payload)),
            Ok(vec![Owned::Binary(payload)]),
            "{len}"
        );
    }
}

#[test]
fn unmasking_at_every_length_and_alignment() {
    for start in 0..8 {
        for len in 0..40 {
            let plain: Vec<u8> = (0..len as u8).collect();
            let mut bytes = vec![0; start];
            bytes.extend(
                plain
                    .iter()
                    .enumerate()
                    .map(|(at, byte)| byte ^ MASK[at % 4]),
            );
            unmask(&mut bytes[start..], MASK);
            assert_eq!(bytes[start..], plain);
        }
    }
}

/// T20: a pong that is made of the ping must have its bytes, at every length, whole or in parts.
#[test]
fn pongs_echo_pings_of_every_length() {
    for len in 0..=MAX_CONTROL_PAYLOAD {
        let payload: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        let ping = last(PING, &payload);
        for cut in 0..=ping.len() {
            let mut decoder = FrameDecoder::new(FrameLimits::default());
            let mut received = feed(&mut decoder, &ping[..cut]).expect("valid");
            received.extend(feed(&mut decoder, &ping[cut..]).expect("valid"));
            let [Owned::Ping(echo)] = &received[..] else {
                panic!("one ping, not {received:?}")
            };
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
    let expected = [
        (5, true),
        (4, true),
        (7, true),
        (7, false),
        (100_000, true),
        (3, true),
    ];
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
        let Ok(Some(Message::Text(text))) = decoder.decode(&mut input) else {
            panic!("cut {cut}")
        };
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
    assert_eq!(
        decoder.decode(&mut input),
        Ok(Some(Message::Binary(&[1; 1000])))
    );
    assert!(
        decoder.heap_bytes() >= 1000,
        "the message was lent from here"
    );
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
    assert_eq!(
        feed(&mut decoder, &ping[9..]),
        Ok(vec![Owned::Ping(b"0123456789".to_vec())])
    );
    assert_eq!(
        decoder.heap_bytes(),
        with_message,
        "the ping's bytes are released"
    );
    assert!(!decoder.is_idle());
    assert_eq!(
        feed(&mut decoder, &last(PONG, b"")),
        Ok(vec![Owned::Pong(vec![])])
    );
    assert_eq!(
        feed(&mut decoder, &last(CONTINUATION, b"two")),
        Ok(vec![text("one two")])
    );
    assert_eq!(decoder.heap_bytes(), 0);

    // Without a message around it nothing is left.
    assert_eq!(feed(&mut decoder, &ping[..9]), Ok(vec![]));
    assert!(!decoder.is_idle());
    assert_eq!(
        feed(&mut decoder, &ping[9..]),
        Ok(vec![Owned::Ping(b"0123456789".to_vec())])
    );
    assert_eq!(decoder.heap_bytes(), 0);
}

/// T05, and each bit alone.
#[test]
fn reserved_bits_are_refused() {
    let t05 = [0xb1, 0x81, 0, 0, 0, 0, 0x32];
    assert_eq!(decode_all(&t05), Err(FrameError::ReservedBits));
    for bit in [0x10, 0x20, 0x40] {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION] {
            assert_fails_at_end(&[0x80 | bit | opcode], &FrameError::ReservedBits, 1002);
        }
    }
}

#[test]
fn unknown_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        assert_fails_at_end(&[0x80 | opcode], &FrameError::UnknownOpcode(opcode), 1002);
    }
}

#[test]
fn unmasked_frames_are_refused() {
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        for len in [0, 125, 126, 127] {
            assert_fails_at_end(&[0x80 | opcode, len], &FrameError::NotMasked, 1002);
        }
    }
}

/// T21 and T28: no length that is written down costs memory, and the wrong forms are refused.
#[test]
fn declared_lengths_are_checked_before_anything_is_stored() {
    let header = |second: u8, length: &[u8]| [&[0x82, second], length].concat();

    for len in [0u16, 1, 125] {
        let bytes = header(0xfe, &len.to_be_bytes());
        assert_fails_at_end(&bytes, &FrameError::LengthNotMinimal, 1002);
    }
    for len in [0u64, 1, 126, 65_535] {
        let bytes = header(0xff, &len.to_be_bytes());
        assert_fails_at_end(&bytes, &FrameError::LengthNotMinimal, 1002);
    }
    for len in [1 << 63, u64::MAX] {
        let bytes = header(0xff, &len.to_be_bytes());
        assert_fails_at_end(&bytes, &FrameError::LengthTopBit, 1002);
    }
    for len in [
        MAX_PAYLOAD as u64 + 1,
        u64::from(u32::MAX),
        1 << 32,
        (1 << 63) - 1,
    ] {
        let bytes = header(0xff, &len.to_be_bytes());
        assert_fails_at_end(&bytes, &FrameError::MessageTooLong, 1009);
    }

    // The longest that is allowed: a header costs nothing, and one byte costs about one byte.
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let longest = header(0xff, &(MAX_PAYLOAD as u64).to_be_bytes());
    assert_eq!(feed(&mut decoder, &longest), Ok(vec![]));
    assert_eq!(feed(&mut decoder, &MASK), Ok(vec![]));
    assert_eq!(decoder.heap_bytes(), 0);
    assert_eq!(feed(&mut decoder, &[0]), Ok(vec![]));
    assert!(decoder.heap_bytes() <= size_of::<Unfinished>() + 2);
}

#[test]
fn stored_bytes_grow_with_what_arrives_and_stop_at_the_limit() {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let half = MAX_PAYLOAD / 2 + 1;
    let mut stored = 0;
    let stream = [
        part(BINARY, &vec![1; half]),
        last(CONTINUATION, &vec![2; MAX_PAYLOAD - half]),
    ];
    for (number, frame) in stream.iter().enumerate() {
        let mut header_left = [8 + 6, 8 + 6][number];
        for chunk in frame.chunks(1460) {
            let in_header = header_left.min(chunk.len());
            header_left -= in_header;
            stored += chunk.len() - in_header;
            let messages = feed(&mut decoder, chunk).expect("valid");
            let heap = decoder.heap_bytes();
            if messages.is_empty() {
                assert!(
                    heap <= size_of::<Unfinished>() + (2 * stored).min(MAX_PAYLOAD),
                    "{heap}"
                );
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
fn the_limit_counts_all_fragments_and_no_control_frames() {
    let limits = FrameLimits {
        max_payload: 10,
        ..FrameLimits::default()
    };
    let decode = |frames: &[Vec<u8>]| feed(&mut FrameDecoder::new(limits), &frames.concat());

    assert_eq!(
        decode(&[last(TEXT, b"0123456789")]),
        Ok(vec![text("0123456789")])
    );
    assert_eq!(
        decode(&[last(TEXT, b"0123456789a")]),
        Err(FrameError::MessageTooLong)
    );

    let ping = last(PING, &[7; 125]);
    let at = [
        part(TEXT, b"01234"),
        ping.clone(),
        last(CONTINUATION, b"56789"),
    ];
    assert_eq!(
        decode(&at),
        Ok(vec![Owned::Ping(vec![7; 125]), text("0123456789")])
    );
    let past = [part(TEXT, b"01234"), ping, last(CONTINUATION, b"56789a")];
    assert_eq!(decode(&past), Err(FrameError::MessageTooLong));

    let full = [
        part(TEXT, b"0123456789"),
        part(CONTINUATION, b""),
        last(CONTINUATION, b""),
    ];
    assert_eq!(decode(&full), Ok(vec![text("0123456789")]));
    // Each message has the limit for itself.
    let two = [last(TEXT, b"0123456789"), last(TEXT, b"9876543210")];
    assert_eq!(
        decode(&two),
        Ok(vec![text("0123456789"), text("9876543210")])
    );

    let nothing = FrameLimits {
        max_payload: 0,
        ..FrameLimits::default()
    };
    let decode = |frame: &[u8]| feed(&mut FrameDecoder::new(nothing), frame);
    assert_eq!(decode(&last(TEXT, b"")), Ok(vec![text("")]));
    assert_eq!(decode(&last(TEXT, b"0")), Err(FrameError::MessageTooLong));
}

#[test]
fn the_number_of_fragments_is_limited() {
    let message = |fragments: u32| {
        let mut bytes = part(TEXT, b"");
        for _ in 2..fragments {
            bytes.extend(last(PING, b""));
            bytes.extend(part(CONTINUATION, b""));
        }
        bytes.extend(last(CONTINUATION, b"end"));
        bytes
    };
    let texts = |bytes: &[u8], limits| {
        let mut messages = feed(&mut FrameDecoder::new(limits), bytes)?;
        messages.retain(|message| matches!(message, Owned::Text(_)));
        Ok(messages)
    };
    let limits = FrameLimits::default();
    assert_eq!(limits.max_fragments, 1024);
    assert_eq!(texts(&message(1024), limits), Ok(vec![text("end")]));
    assert_eq!(
        texts(&message(1025), limits),
        Err(FrameError::TooManyFragments)
    );
    assert_eq!(FrameError::TooManyFragments.close_code(), 1009);
    // The count begins anew with each message.
    let twice = [message(1024), message(1024)].concat();
    assert_eq!(texts(&twice, limits), Ok(vec![text("end"), text("end")]));

    for max_fragments in [0, 1] {
        let limits = FrameLimits {
            max_fragments,
            ..limits
        };
        assert_eq!(
            texts(&last(TEXT, b"whole"), limits),
            Ok(vec![text("whole")])
        );
        assert_eq!(
            texts(&message(2), limits),
            Err(FrameError::TooManyFragments)
        );
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [CLOSE, PING, PONG] {
        assert_fails_at_end(&[opcode], &FrameError::ControlFragmented, 1002);
        for length in [126, 127] {
            assert_fails_at_end(
                &[0x80 | opcode, 0x80 | length],
                &FrameError::ControlTooLong,
                1002,
            );
        }
    }
    let at = [7; 125];
    assert_eq!(
        decode_all(&last(PING, &at)),
        Ok(vec![Owned::Ping(at.to_vec())])
    );
    assert_eq!(
        decode_all(&last(PONG, &at)),
        Ok(vec![Owned::Pong(at.to_vec())])
    );
    let close = close_payload(1000, &[b'x'; 123]);
    let expected = Owned::Close(Some((1000, "x".repeat(123))));
    assert_eq!(decode_all(&last(CLOSE, &close)), Ok(vec![expected]));
}

#[test]
fn continuations_need_a_message_and_a_message_needs_its_end() {
    assert_fails_at_end(
        &[0x80 | CONTINUATION],
        &FrameError::UnexpectedContinuation,
        1002,
    );
    assert_fails_at_end(&[CONTINUATION], &FrameError::UnexpectedContinuation, 1002);

    for opcode in [TEXT, BINARY] {
        for open in [TEXT, BINARY] {
            for fin in [0x80, 0] {
                let bytes = [part(open, b"a"), vec![fin | opcode]].concat();
                assert_fails_at_end(&bytes, &FrameError::ExpectedContinuation, 1002);
            }
        }
    }
    // Also when the open message is still empty, and after a ping.
    let bytes = [part(TEXT, b""), last(PING, b""), vec![0x80 | TEXT]].concat();
    let pinged = decode_bytewise(&bytes);
    assert_eq!(pinged, Err((FrameError::ExpectedContinuation, bytes.len())));

    // A message that ended is no longer there to be continued, whole or fragmented.
    let bytes = [last(TEXT, b"a"), vec![0x80]].concat();
    assert_eq!(decode_all(&bytes), Err(FrameError::UnexpectedContinuation));
    let bytes = [part(TEXT, b"a"), last(CONTINUATION, b"b"), vec![0x80]].concat();
    assert_eq!(decode_all(&bytes), Err(FrameError::UnexpectedContinuation));
}

#[test]
fn empty_fragments_make_an_empty_message() {
    let bytes = [
        part(BINARY, b""),
        part(CONTINUATION, b""),
        last(CONTINUATION, b""),
    ]
    .concat();
    assert_eq!(decode_all(&bytes), Ok(vec![Owned::Binary(vec![])]));
    assert_eq!(decode_bytewise(&bytes), Ok(vec![Owned::Binary(vec![])]));
}

#[test]
fn text_fails_at_the_first_byte_that_cannot_become_valid() {
    // (valid up to and including this prefix, the byte that spoils it): overlong forms, surrogates, beyond U+10FFFF, a
    // lone continuation byte, a character cut short by the next.
    let cases: [(&[u8], u8); 13] = [
        (b"", 0x80),
        (b"", 0xc0),
        (b"", 0xc1),
        (b"", 0xf5),
        (b"", 0xff),
        (b"\xe0", 0x9f),
        (b"\xed", 0xa0),
        (b"\xf0", 0x8f),
        (b"\xf4", 0x90),
        (b"\xc3", b'a'),
        (b"\xe2\x82", b'a'),
        (b"\xf0\x9f\x98", b'a'),
        (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4", 0x90), // Autobahn 6.4.1
    ];
    for (before, bad) in cases {
        for ascii in ["", "a", "0123456789abcdef"] {
            let wrong = [ascii.as_bytes(), before, &[bad]].concat();
            let payload = [&wrong, &b"more"[..]].concat();

            // One frame, byte by byte: the header has 6 bytes.
            let error = decode_bytewise(&last(TEXT, &payload));
            assert_eq!(
                error,
                Err((FrameError::InvalidText, 6 + wrong.len())),
                "{wrong:?}"
            );
            // One frame, whole.
            let mut decoder = FrameDecoder::new(FrameLimits::default());
            assert_eq!(
                feed(&mut decoder, &last(TEXT, &payload)),
                Err(FrameError::InvalidText)
            );
            assert_eq!(
                feed(&mut decoder, b""),
                Err(FrameError::InvalidText),
                "it stays failed"
            );
            // Cut into fragments before each byte; the message never ends.
            for cut in 0..wrong.len() {
                let bytes = [part(TEXT, &wrong[..cut]), part(CONTINUATION, &wrong[cut..])].concat();
                assert_eq!(decode_all(&bytes), Err(FrameError::InvalidText));
                assert_eq!(
                    decode_bytewise(&bytes),
                    Err((FrameError::InvalidText, bytes.len()))
                );
            }
        }
    }
    assert_eq!(FrameError::InvalidText.close_code(), 1007);
}

#[test]
fn text_may_be_cut_anywhere_but_must_end_with_a_whole_character() {
    let whole = "a\u{e9}\u{20ac}\u{1f600}";
    for cut in 0..=whole.len() {
        let (front, back) = whole.as_bytes().split_at(cut);
        let bytes = [
            part(TEXT, front),
            last(PING, b"\xff"),
            last(CONTINUATION, back),
        ]
        .concat();
        let expected = vec![Owned::Ping(vec![0xff]), text(whole)];
        assert_eq!(decode_all(&bytes).as_ref(), Ok(&expected));
        assert_eq!(decode_bytewise(&bytes), Ok(expected));

        let at_character = whole.is_char_boundary(cut);
        let fragmented = [part(TEXT, front), last(CONTINUATION, b"")].concat();
        for bytes in [last(TEXT, front), fragmented] {
            if at_character {
                assert_eq!(decode_all(&bytes), Ok(vec![text(&whole[..cut])]));
            } else {
                assert_fails_at_end(&bytes, &FrameError::InvalidText, 1007);
            }
        }
    }
    // Binary is not looked at.
    let bytes = [part(BINARY, b"\xff"), last(CONTINUATION, b"\xc3")].concat();
    assert_eq!(
        decode_all(&bytes),
        Ok(vec![Owned::Binary(vec![0xff, 0xc3])])
    );
}

#[test]
fn close_payloads() {
    assert_fails_at_end(&last(CLOSE, &[3]), &FrameError::CloseTooShort, 1002);
    for code in 0..=u16::MAX {
        let payload = close_payload(code, b"");
        let allowed = match code {
            1004..=1006 | 1015 => false,
            1000..=1014 | 3000..=4999 => true,
            _ => false,
        };
        let expected = if allowed {
            Ok(vec![Owned::Close(Some((code, String::new())))])
        } else {
            Err(FrameError::InvalidCloseCode(code))
        };
        assert_eq!(decode_all(&last(CLOSE, &payload)), expected);
    }
    assert_eq!(FrameError::InvalidCloseCode(1005).close_code(), 1002);
    let bad = last(CLOSE, &close_payload(1000, b"caf\xe9"));
    assert_fails_at_end(&bad, &FrameError::InvalidCloseReason, 1007);
    let good = last(CLOSE, &close_payload(4999, "caf\u{e9}".as_bytes()));
    let expected = vec![Owned::Close(Some((4999, "caf\u{e9}".to_owned())))];
    assert_eq!(decode_bytewise(&good), Ok(expected));
}

#[test]
fn nothing_is_read_after_a_close() {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let close = last(CLOSE, &close_payload(1000, b""));
    // In the middle of a message, in two parts, with a valid and an invalid frame behind it.
    let bytes = [
        part(TEXT, b"half"),
        close,
        last(TEXT, b"late"),
        vec![0xff; 100],
    ]
    .concat();
    assert_eq!(feed(&mut decoder, &bytes[..17]), Ok(vec![]));
    let closed = Owned::Close(Some((1000, String::new())));
    assert_eq!(feed(&mut decoder, &bytes[17..]), Ok(vec![closed]));
    assert_eq!(feed(&mut decoder, &[0xff; 10]), Ok(vec![]));
    assert_eq!(decoder.heap_bytes(), 0);
    assert!(decoder.is_idle());
}

#[test]
fn sent_headers_have_the_shortest_form() {
    for (len, header) in [
        (0, &[0x82, 0][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (65_535, &[0x82, 126, 0xff, 0xff]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        (
            usize::MAX,
            &[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
    ] {
        assert_eq!(&*frame_header(Opcode::Binary, len), header);
    }
    for (opcode, first) in [
        (Opcode::Text, 0x81),
        (Opcode::Binary, 0x82),
        (Opcode::Close, 0x88),
        (Opcode::Ping, 0x89),
        (Opcode::Pong, 0x8a),
    ] {
        let mut out = vec![0xaa];
        push_frame(&mut out, opcode, b"xyz");
        assert_eq!(out, [0xaa, first, 3, b'x', b'y', b'z']);
    }
}

#[test]
fn sent_control_frames_are_cut_to_125_bytes() {
    for (opcode, len) in [
        (Opcode::Ping, 125),
        (Opcode::Pong, 125),
        (Opcode::Text, 126),
    ] {
        let mut out = Vec::new();
        push_frame(&mut out, opcode, &[b'x'; 126]);
        assert_eq!(out.iter().filter(|&&byte| byte == b'x').count(), len);
        assert_eq!(out[1], len as u8);
    }
}

/// T25: a code and at most 123 bytes of valid UTF-8, never cut inside a character.
#[test]
fn close_frames_fit_and_cut_no_character() {
    assert_eq!(close_frame(None, ""), [0x88, 0]);
    assert_eq!(close_frame(None, "a reason needs a code"), [0x88, 0]);
    assert_eq!(close_frame(Some(1000), ""), [0x88, 2, 0x03, 0xe8]);
    assert_eq!(
        close_frame(Some(4000), "bye"),
        [0x88, 5, 0x0f, 0xa0, b'b', b'y', b'e']
    );
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
        assert_eq!(
            close_frame(Some(code), "x"),
            [0x88, 0],
            "{code} never travels"
        );
    }
    for character in ["x", "\u{e9}", "\u{20ac}", "\u{1f600}"] {
        for ascii in 0..=130 {
            let reason = "a".repeat(ascii) + &character.repeat(130);
            let frame = close_frame(Some(1001), &reason);
            assert_eq!(frame[..2], [0x88, frame.len() as u8 - 2]);
            let sent = str::from_utf8(&frame[4..]).expect("no character is cut");
            assert!(reason.starts_with(sent));
            assert!(sent.len() <= MAX_CLOSE_REASON);
            let next = reason[sent.len()..]
                .chars()
                .next()
                .map_or(0, char::len_utf8);
            assert!(sent.len() + next > MAX_CLOSE_REASON, "no more would fit");
        }
    }
}

#[test]
fn the_decoder_is_small_and_its_debug_form_shows_no_payload() {
    assert!(size_of::<FrameDecoder>() <= 96);
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    assert_eq!(feed(&mut decoder, &part(TEXT, b"SECRET")), Ok(vec![]));
    let debug = format!("{decoder:?}");
    assert!(debug.contains("max_payload"), "{debug}");
    assert!(
        !debug.contains("SECRET") && !debug.contains("83"),
        "{debug}"
    );
}
