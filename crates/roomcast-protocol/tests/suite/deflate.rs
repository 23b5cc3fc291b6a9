//! permessage-deflate in both directions, beside flate2's own compressor and inflater.

use allocation_counter::measure;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_protocol::deflate::{Deflate, Format, InflateError, compress_body, inflate};
use roomcast_protocol::frame::{FrameDecoder, FrameError, FrameLimits, Message};
use roomcast_protocol::limits::{DEFLATE_LARGEST, DEFLATE_THRESHOLD, MAX_PAYLOAD};
use roomcast_protocol::{Args, EngineKind, Packet};
use std::io::Read;

const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
const RSV1: u8 = 0x40;

/// A message as a client compresses it.
fn deflated(payload: &[u8], level: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + payload.len() / 2 + 1_000);
    Compress::new(Compression::new(level), false).compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
    let length = out.strip_suffix(&TAIL).expect("a flush ends so").len();
    out.truncate(length);
    out
}

/// A message as a client that marks its last block compresses it.
fn finished(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + payload.len() / 2 + 1_000);
    Compress::new(Compression::new(6), false).compress_vec(payload, &mut out, FlushCompress::Finish).unwrap();
    out
}

/// Reads a message as a client does.
fn inflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(3_000_000);
    let mut state = Decompress::new(false);
    state.decompress_vec(&[message, &TAIL].concat(), &mut out, FlushDecompress::Sync).unwrap();
    out
}

/// The frames of a server: the first byte and the payload of each.
fn server_frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, short, rest @ ..] = bytes {
        let (length, rest) = match short {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            short => (usize::from(*short), rest),
        };
        frames.push((*first, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    frames
}

/// A client's frame under the mask 01 02 03 04.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0xfe);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([1, 2, 3, 4]);
    frame.extend(payload.iter().zip([1, 2, 3, 4].into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn decoder(max_payload: usize) -> FrameDecoder {
    FrameDecoder::new(FrameLimits { max_payload, ..FrameLimits::default() }).with_deflate(true)
}

/// The messages in `bytes`, in which text and binary are the same.
fn decode(decoder: &mut FrameDecoder, bytes: &[u8]) -> Result<Vec<Vec<u8>>, FrameError> {
    let mut bytes = bytes.to_vec();
    let mut input = &mut bytes[..];
    let mut messages = Vec::new();
    while let Some(message) = decoder.decode(&mut input)? {
        messages.push(match message {
            Message::Text(text) => text.as_bytes().to_vec(),
            Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.to_vec(),
            Message::Close(_) => Vec::new(),
        });
    }
    Ok(messages)
}

/// Text that compresses somewhat, of so many bytes.
fn text(length: usize) -> String {
    let mut state = 7_u32;
    let words = ["{\"name\":\"", "value\",", "room-", "42", "\",\"", "x"];
    let mut text = String::new();
    while text.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(words[(state >> 24) as usize % words.len()]);
    }
    text.truncate(length);
    text
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 3_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

// --- out ---

#[test]
fn what_is_compressed_comes_back_at_all_sizes_around_the_bounds() {
    let deflate = Deflate::default();
    for length in [
        0,
        1,
        125,
        126,
        127,
        1_000,
        1_021,
        1_022,
        1_023,
        1_024,
        1_025,
        65_535,
        65_536,
        100_000,
        DEFLATE_LARGEST - 2,
        DEFLATE_LARGEST - 1,
        DEFLATE_LARGEST,
    ] {
        // The type's character is part of the message.
        let text = text(length);
        let packet = Packet::engine(EngineKind::Message, &text).unwrap();
        let mut made = None;
        let frames = packet.deflated_frames(false, &deflate, |before, after| made = Some((before, after)));
        let [(first, payload)] = &server_frames(frames)[..] else { panic!("one frame") };
        let compressed = (DEFLATE_THRESHOLD - 1..DEFLATE_LARGEST).contains(&length);
        assert_eq!(*first, if compressed { 0xc1 } else { 0x81 }, "{length}");
        let payload = if compressed { inflated(payload) } else { payload.clone() };
        assert!(payload == format!("4{text}").as_bytes(), "{length}");
        assert_eq!(made, compressed.then_some((packet.size(), frames.len())), "{length}");
        assert!(packet.size() >= frames.len());
        // Once is enough.
        packet.deflated_frames(false, &deflate, |_, _| panic!("made again"));
    }
}

#[test]
fn what_does_not_become_smaller_is_not_compressed() {
    let packet = Packet::binary(&noise(10_000)).unwrap();
    let frames = packet.deflated_frames(false, &Deflate::default(), |_, _| panic!("nothing is made"));
    assert_eq!(frames, packet.frames(false));
    // Whatever the threshold: neither a control frame nor a few bytes.
    let mut deflate = Deflate::default();
    deflate.threshold = 0;
    for packet in
        [Packet::control(vec![0x8a; 120]), Packet::engine(EngineKind::Ping, "").unwrap(), Packet::binary(b"").unwrap()]
    {
        assert_eq!(packet.deflated_frames(false, &deflate, |_, _| panic!("nothing is made")), packet.frames(false));
    }
}

#[test]
fn attachments_are_compressed_by_themselves() {
    let data =
        Args::event("e", &(bytes::Bytes::from(vec![7; 5_000]), bytes::Bytes::from(noise(5_000)), "x".repeat(2_000)))
            .unwrap();
    let packet = Packet::event("/", None, &data).unwrap();
    let frames = server_frames(packet.deflated_frames(false, &Deflate::default(), |_, _| {}));
    let firsts: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
    assert_eq!(firsts, [0xc1, 0xc2, 0x82]);
    assert_eq!(inflated(&frames[0].1), packet.text().unwrap().as_bytes());
    assert_eq!(inflated(&frames[1].1), vec![7; 5_000]);
    assert_eq!(frames[2].1, noise(5_000));
    // Base64 stays as it is, unless there is none.
    let plain = packet.frames(true).to_vec();
    assert_eq!(packet.deflated_frames(true, &Deflate::default(), |_, _| {}), plain);
    let text = Packet::engine(EngineKind::Message, &text(5_000)).unwrap();
    assert_eq!(text.deflated_frames(true, &Deflate::default(), |_, _| {})[0], 0xc1);
}

#[test]
fn a_packet_that_must_not_be_compressed_is_not() {
    let packet = Packet::engine(EngineKind::Message, &text(5_000)).unwrap();
    assert!(packet.may_be_compressed());
    let packet = packet.with_compress(false);
    assert!(!packet.may_be_compressed());
    assert_eq!(
        packet.deflated_frames(false, &Deflate::default(), |_, _| panic!("nothing is made")),
        packet.frames(false)
    );
}

#[test]
fn every_level_can_be_read() {
    for level in [0, 1, 5, 6, 9, 200] {
        let mut deflate = Deflate::default();
        deflate.level = level;
        let packet = Packet::engine(EngineKind::Message, &text(20_000)).unwrap();
        let frames = server_frames(packet.deflated_frames(false, &deflate, |_, _| {}));
        assert_eq!(inflated(&frames[0].1), format!("4{}", text(20_000)).as_bytes(), "{level}");
    }
}

#[test]
fn bodies_are_read_by_other_decoders() {
    for length in [1_000, 5_551, 5_552, 5_553, 65_521, 300_000, DEFLATE_LARGEST] {
        let body = text(length).into_bytes();
        let mut out = Vec::new();
        GzDecoder::new(&compress_body(&body, Format::Gzip, 6).unwrap()[..]).read_to_end(&mut out).unwrap();
        assert!(out == body, "gzip of {length}");
        out.clear();
        ZlibDecoder::new(&compress_body(&body, Format::Zlib, 6).unwrap()[..]).read_to_end(&mut out).unwrap();
        assert!(out == body, "zlib of {length}");
    }
    assert_eq!(compress_body(text(DEFLATE_LARGEST + 1).as_bytes(), Format::Gzip, 6), None);
    assert_eq!(compress_body(&noise(10_000), Format::Gzip, 6), None);
    assert_eq!(compress_body(b"", Format::Gzip, 6), None);
    let high = vec![0xff; 100_000];
    let mut out = Vec::new();
    ZlibDecoder::new(&compress_body(&high, Format::Zlib, 1).unwrap()[..]).read_to_end(&mut out).unwrap();
    assert!(out == high, "the sums do not overflow");
}

// --- in ---

#[test]
fn messages_of_all_sizes_are_inflated_up_to_max_payload_and_not_beyond() {
    for length in [0, 1, 2, 63, 64, 65, 1_000, 32_767, 32_768, 32_769, 99_999, 100_000, 100_001, 200_000] {
        for (payload, level) in [(text(length).into_bytes(), 6), (vec![b'a'; length], 9), (noise(length), 1)] {
            let message = deflated(&payload, level);
            let read = decode(&mut decoder(100_000), &client_frame(0xc2, &message));
            if length <= 100_000 && message.len() <= 100_000 {
                assert!(read == Ok(vec![payload]), "{length}: {:?}", read.map(|_| ()));
            } else {
                assert_eq!(read, Err(FrameError::MessageTooLong), "{length}");
            }
        }
    }
    assert_eq!(inflate(&deflated(b"abc", 6), 3), Ok(b"abc".to_vec()));
    assert_eq!(inflate(&deflated(b"abc", 6), 2), Err(InflateError::TooLong));
    assert_eq!(inflate(&deflated(b"a", 6), 0), Err(InflateError::TooLong));
    assert_eq!(inflate(&[0], 0), Ok(vec![]), "an empty message");
}

#[test]
fn compressed_and_other_messages_may_alternate() {
    let long = text(5_000);
    let stream = [
        client_frame(0xc1, &deflated(long.as_bytes(), 6)),
        client_frame(0x81, b"plain"),
        client_frame(0x82, b"binary"),
        client_frame(0xc2, &deflated(b"short", 9)),
        client_frame(0xc1, &[0]),
    ]
    .concat();
    let expected = [long.as_bytes(), b"plain", b"binary", b"short", b""];
    let mut decoder = decoder(MAX_PAYLOAD);
    assert_eq!(decode(&mut decoder, &stream).unwrap(), expected);
    assert_eq!((decoder.heap_bytes(), decoder.is_idle()), (0, true));
}

/// The examples of RFC 7692, section 7.2.3.
#[test]
fn the_examples_of_the_rfc() {
    for message in [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        // A block without compression.
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        // A last block.
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        // Two blocks.
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ] {
        assert_eq!(inflate(message, 5), Ok(b"Hello".to_vec()), "{message:x?}");
        assert_eq!(decode(&mut decoder(100), &client_frame(0xc1, message)).unwrap(), [b"Hello"]);
    }
    let fragments = [client_frame(0x41, &[0xf2, 0x48, 0xcd]), client_frame(0x80, &[0xc9, 0xc9, 0x07, 0x00])].concat();
    assert_eq!(decode(&mut decoder(100), &fragments).unwrap(), [b"Hello"]);
}

#[test]
fn a_damaged_message_ends_the_connection() {
    let message = deflated(text(300).as_bytes(), 6);
    for cut in 0..message.len() {
        assert_eq!(inflate(&message[..cut], MAX_PAYLOAD), Err(InflateError::Damaged), "cut at {cut}");
    }
    let last = finished(b"abc");
    assert_eq!(inflate(&last, MAX_PAYLOAD), Ok(b"abc".to_vec()));
    assert_eq!(inflate(&[&last[..], &[0]].concat(), MAX_PAYLOAD), Ok(b"abc".to_vec()));
    for more in [&[0, 0][..], &[1], &last, &TAIL] {
        assert_eq!(inflate(&[&last[..], more].concat(), MAX_PAYLOAD), Err(InflateError::Damaged), "{more:x?}");
    }
    let error = decode(&mut decoder(1_000), &client_frame(0xc1, &[0xff; 10])).unwrap_err();
    assert_eq!((error.close_code(), error), (1007, FrameError::InvalidDeflate));
    // What is inflated must be UTF-8 in a text.
    for invalid in [&b"abc\xff"[..], b"\xe2\x82", b"\xc3"] {
        let frame = client_frame(0xc1, &deflated(invalid, 6));
        assert_eq!(decode(&mut decoder(1_000), &frame), Err(FrameError::InvalidText));
        assert!(decode(&mut decoder(1_000), &client_frame(0xc2, &deflated(invalid, 6))).is_ok());
    }
}

/// A client can refer to bytes before the beginning of its message. They must not be those of another client's message, which the
/// same thread has inflated before.
#[test]
fn a_reference_to_what_was_before_tells_nothing() {
    let secret = noise(32_000);
    let mut client = Compress::new(Compression::new(9), false);
    let (mut one, mut two) = (Vec::with_capacity(100_000), Vec::with_capacity(100_000));
    client.compress_vec(&secret, &mut one, FlushCompress::Sync).unwrap();
    client.compress_vec(&secret, &mut two, FlushCompress::Sync).unwrap();
    assert!(two.len() < 1_000, "it is all references to the first message");
    let mut kept = Decompress::new(false);
    let mut out = Vec::with_capacity(100_000);
    kept.decompress_vec(&[&one[..], &two].concat(), &mut out, FlushDecompress::Sync).unwrap();
    assert!(out == secret.repeat(2), "with a context it would be there");
    assert!(inflate(one.strip_suffix(&TAIL).unwrap(), MAX_PAYLOAD).unwrap() == secret);
    if let Ok(read) = inflate(two.strip_suffix(&TAIL).unwrap(), MAX_PAYLOAD) {
        let known: std::collections::HashSet<&[u8]> = secret.windows(6).collect();
        assert!(!read.windows(6).any(|bytes| known.contains(bytes)), "it is there");
    }
}

#[test]
fn reserved_bits() {
    let message = deflated(b"Hello", 6);
    let fresh = || decoder(1_000);
    for (first, before) in [
        (0xa1, vec![]),
        (0x91, vec![]),
        (0xe1, vec![]),
        (0xf2, vec![]),
        // On control frames.
        (0xc8, vec![]),
        (0xc9, vec![]),
        (0xca, vec![]),
        // On a continuation, of a compressed message and of another.
        (0xc0, client_frame(0x41, &message)),
        (0xc0, client_frame(0x01, b"x")),
        (0x40, client_frame(0x41, &message)),
    ] {
        let mut decoder = fresh();
        assert_eq!(decode(&mut decoder, &before), Ok(vec![]));
        let error = decode(&mut decoder, &client_frame(first, b"")).unwrap_err();
        assert_eq!((error.close_code(), error), (1002, FrameError::ReservedBits), "{first:x}");
    }
    // Without the negotiation.
    let mut plain = FrameDecoder::new(FrameLimits::default());
    assert_eq!(decode(&mut plain, &client_frame(0xc1, &message)), Err(FrameError::ReservedBits));
}

/// A bomb in one frame and in fragments: a thousandth of what it would inflate to.
#[test]
fn a_bomb_allocates_no_more_than_max_payload() {
    const MOST: usize = 100_000;
    let bomb = deflated(&vec![0; 50_000_000], 9);
    assert!((20_000..MOST).contains(&bomb.len()), "{}", bomb.len());
    // The thread's inflater is kept.
    inflate(&[0], 10).unwrap();
    let whole = client_frame(0xc2, &bomb);
    let mut fragments = client_frame(0x42, b"");
    for piece in bomb.chunks(1_000) {
        fragments.extend(client_frame(0x00, piece));
    }
    fragments.extend(client_frame(0x80, b""));
    for (mut stream, held) in [(whole, 0), (fragments, bomb.len().next_power_of_two())] {
        let mut decoder = decoder(MOST);
        let mut input = &mut stream[..];
        let mut result = None;
        let info = measure(|| {
            result = Some(decoder.decode(&mut input).map(|_| ()));
        });
        let error = result.unwrap().unwrap_err();
        assert_eq!((error.close_code(), error), (1009, FrameError::MessageTooLong));
        // The buffer doubles, so half of it is copied once.
        assert!(info.bytes_max as usize <= MOST + MOST / 2 + held + 1_000, "{}", info.bytes_max);
        assert_eq!(decoder.heap_bytes(), 0);
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..600),
        vec(97..100_u8, 0..5_000),
        (0..20_000_usize).prop_map(|length| vec![0; length])
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A compressed message in random fragments, with pings between them, read in random pieces.
    #[test]
    fn fragments_and_reads_do_not_matter(
        messages in vec((payload(), any::<bool>(), vec(0..40_usize, 0..5)), 1..4),
        level in 1..10_u32,
        reads in vec(1..2_000_usize, 1..10),
    ) {
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for (payload, compress, cuts) in &messages {
            let message = if *compress { deflated(payload, level) } else { payload.clone() };
            let mut rest = &message[..];
            let mut first = 2 | if *compress { RSV1 } else { 0 };
            for cut in cuts {
                let (piece, after) = rest.split_at(rest.len() * *cut / 40);
                stream.extend(client_frame(first, piece));
                stream.extend(client_frame(0x89, b"ping"));
                expected.push(b"ping".to_vec());
                (rest, first) = (after, 0);
            }
            stream.extend(client_frame(0x80 | first, rest));
            expected.push(payload.clone());
        }
        let mut decoder = decoder(MAX_PAYLOAD);
        let mut read = Vec::new();
        let mut rest = &stream[..];
        for length in reads.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*length));
            read.extend(decode(&mut decoder, piece).unwrap());
            rest = after;
        }
        prop_assert!(read == expected);
        prop_assert_eq!(decoder.heap_bytes(), 0);
    }

    /// Whatever a client sends, the bound holds, and the result does not depend on what was inflated before.
    #[test]
    fn any_bytes_are_inflated_within_the_bound(
        bytes in vec(any::<u8>(), 0..300),
        flips in vec((0..2_000_usize, any::<u8>()), 0..4),
        most in 0..3_000_usize,
    ) {
        let mut damaged = deflated(text(2_000).as_bytes(), 6);
        for (at, byte) in flips {
            let at = at % damaged.len();
            damaged[at] ^= byte;
        }
        for message in [bytes, damaged] {
            let once = inflate(&message, most);
            if let Ok(out) = &once {
                prop_assert!(out.len() <= most);
            }
            prop_assert_eq!(inflate(&message, most), once);
        }
    }
}
