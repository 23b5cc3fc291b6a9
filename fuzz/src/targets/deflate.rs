//! permessage-deflate: a compressed message within its bound, in one frame and in fragments, and the offers of a handshake.

use crate::input::Input;
use crate::mutator::Random;
use crate::novelty::{seen, size};
use roomcast_protocol::deflate::{Deflate, InflateError, inflate, negotiate};
use roomcast_protocol::frame::{FrameDecoder, FrameError, FrameLimits, Message};
use roomcast_protocol::{EngineKind, Packet};

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let max_payload = input.choice(&[1_000_000, 1_000, 100, 3, 0]);
    let mut random = Random::new(u64::from(input.byte()));
    let what = input.byte();
    let bytes = input.rest();
    if what % 8 == 7 {
        return offers(bytes);
    }
    let whole = inflate(bytes, max_payload);
    assert_eq!(inflate(bytes, max_payload), whole, "something was kept from one message to the next");
    match &whole {
        Ok(inflated) => {
            assert!(inflated.len() <= max_payload);
            seen((1, size(inflated.len()), size(bytes.len())));
            compressed_again(inflated);
        }
        Err(error) => seen((2, *error == InflateError::TooLong, size(bytes.len()))),
    }
    // As frames: a binary message in random fragments, read in random pieces.
    let mut stream = Vec::new();
    let (mut rest, mut first) = (bytes, 0x42);
    while what % 2 == 1 && !rest.is_empty() && random.below(4) > 0 {
        let (piece, after) = rest.split_at(random.below(rest.len() + 1));
        push(&mut stream, first, piece);
        (rest, first) = (after, 0);
    }
    push(&mut stream, 0x80 | first, rest);
    let limits = FrameLimits { max_payload, ..FrameLimits::default() };
    let mut decoder = FrameDecoder::new(limits).with_deflate(true);
    let mut outcome = None;
    let mut left = &mut stream[..];
    while !left.is_empty() && outcome.is_none() {
        let (mut piece, after) = left.split_at_mut(1 + random.below(left.len()));
        left = after;
        match decoder.decode(&mut piece) {
            Ok(Some(Message::Binary(bytes))) => outcome = Some(Ok(bytes.to_vec())),
            Ok(Some(other)) => panic!("a binary message became {other:?}"),
            Ok(None) => {}
            Err(error) => outcome = Some(Err(error)),
        }
    }
    let expected =
        if bytes.len() > max_payload { Err(FrameError::MessageTooLong) } else { whole.map_err(FrameError::from) };
    assert_eq!(outcome, Some(expected));
}

/// Appends a client's frame under the mask 00 00 00 00.
fn push(stream: &mut Vec<u8>, first: u8, payload: &[u8]) {
    stream.push(first);
    match payload.len() {
        length @ 0..=125 => stream.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            stream.push(0xfe);
            stream.extend((length as u16).to_be_bytes());
        }
        length => {
            stream.push(0xff);
            stream.extend((length as u64).to_be_bytes());
        }
    }
    stream.extend([0; 4]);
    stream.extend(payload);
}

/// What is compressed here is inflated to the same.
fn compressed_again(payload: &[u8]) {
    let mut deflate = Deflate::default();
    deflate.threshold = 0;
    let packet = match std::str::from_utf8(payload) {
        Ok(text) => Packet::engine(EngineKind::Message, text),
        Err(_) => Packet::binary(payload),
    };
    let packet = packet.expect("a megabyte fits");
    let frames = packet.deflated_frames(false, &deflate, |_, _| {}).to_vec();
    if frames[0] & 0x40 == 0 {
        return;
    }
    let header = match frames[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let inflated = inflate(&frames[header..], 2_000_000).expect("our own compression");
    let plain = packet.text().map_or(payload, str::as_bytes);
    assert!(inflated == plain, "it came back as something else");
}

fn offers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let answer = negotiate(text);
    seen((3, answer.is_ok(), answer.is_ok_and(|agreed| agreed.is_some())));
    if let Ok(Some(agreed)) = answer {
        let answer = agreed.to_string();
        assert_eq!(negotiate(&answer).expect("our own answer").expect("it asks for nothing more").to_string(), answer);
        // What is declined before it changes nothing.
        assert_eq!(negotiate(&format!("other; a=\"b\", {text}")), Ok(Some(agreed)));
    }
}
