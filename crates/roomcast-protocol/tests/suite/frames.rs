//! What holds for every stream of WebSocket frames, however it is fragmented and cut.

use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_protocol::frame::{FrameDecoder, FrameError, FrameLimits, Message, Opcode, close_frame, push_frame};

#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Appends a client's frame. It shares no code with the crate.
fn push_client_frame(out: &mut Vec<u8>, fin: bool, opcode: u8, mask: [u8; 4], payload: &[u8]) {
    out.push(u8::from(fin) << 7 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0xfe);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0xff);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// One message with the way it is sent.
#[derive(Debug, Clone)]
struct Sent {
    message: Owned,
    /// Where a text or binary message is cut into fragments, modulo its length. Each cut may have a control frame.
    cuts: Vec<(usize, Option<Owned>)>,
    mask: [u8; 4],
}

impl Sent {
    /// Appends the frames to `out`, and to `expected` what they must decode to.
    fn encode(&self, out: &mut Vec<u8>, expected: &mut Vec<Owned>) {
        let (opcode, payload) = match &self.message {
            Owned::Text(text) => (1, text.as_bytes()),
            Owned::Binary(bytes) => (2, &bytes[..]),
            Owned::Ping(bytes) => (9, &bytes[..]),
            Owned::Pong(bytes) => (10, &bytes[..]),
            Owned::Close(close) => {
                let payload = close
                    .as_ref()
                    .map_or(Vec::new(), |(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat());
                push_client_frame(out, true, 8, self.mask, &payload);
                expected.push(self.message.clone());
                return;
            }
        };
        if opcode > 2 || self.cuts.is_empty() {
            push_client_frame(out, true, opcode, self.mask, payload);
            expected.push(self.message.clone());
            return;
        }
        let mut cuts: Vec<_> = self.cuts.iter().map(|(at, _)| at % (payload.len() + 1)).collect();
        cuts.sort_unstable();
        let mut start = 0;
        let mut opcode = opcode;
        for (end, (_, between)) in cuts.into_iter().zip(&self.cuts) {
            push_client_frame(out, false, opcode, self.mask, &payload[start..end]);
            (start, opcode) = (end, 0);
            if let Some(control) = between {
                let control = Sent { message: control.clone(), cuts: Vec::new(), mask: [1, 2, 3, 4] };
                control.encode(out, expected);
            }
        }
        push_client_frame(out, true, 0, self.mask, &payload[start..]);
        expected.push(self.message.clone());
    }
}

fn control() -> impl Strategy<Value = Owned> {
    let payload = || vec(any::<u8>(), 0..=125);
    prop_oneof![payload().prop_map(Owned::Ping), payload().prop_map(Owned::Pong)]
}

fn data() -> impl Strategy<Value = Owned> {
    prop_oneof![
        8 => "\\PC{0,60}".prop_map(Owned::Text),
        8 => vec(any::<u8>(), 0..300).prop_map(Owned::Binary),
        1 => (65_000..66_500usize, any::<u8>()).prop_map(|(len, byte)| Owned::Binary(vec![byte; len])),
    ]
}

fn close() -> impl Strategy<Value = Owned> {
    let code = prop_oneof![1000..=1003u16, 1007..=1014u16, 3000..=4999u16];
    proptest::option::of((code, "\\PC{0,30}")).prop_map(Owned::Close)
}

fn sent(message: impl Strategy<Value = Owned>) -> impl Strategy<Value = Sent> {
    let cuts = vec((any::<usize>(), proptest::option::weighted(0.3, control())), 0..5);
    (message, cuts, any::<[u8; 4]>()).prop_map(|(message, cuts, mask)| Sent { message, cuts, mask })
}

/// Any messages, maybe with a close at the end, as bytes and as what they mean.
fn stream() -> impl Strategy<Value = (Vec<u8>, Vec<Owned>)> {
    let messages = vec(sent(prop_oneof![3 => data(), 1 => control()]), 0..6);
    (messages, proptest::option::of(sent(close()))).prop_map(|(messages, close)| {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for message in messages.iter().chain(&close) {
            message.encode(&mut bytes, &mut expected);
        }
        (bytes, expected)
    })
}

/// The sizes of the reads that a stream is cut into, used cyclically.
fn reads() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![3 => 1..20usize, 1 => 20..2_000usize, 1 => Just(usize::MAX)], 1..8)
}

/// Decodes one read to its end. Checks that the calls end, and that memory is bounded by `received`.
fn feed(decoder: &mut FrameDecoder, read: &[u8], received: usize, messages: &mut Vec<Owned>) -> Result<(), FrameError> {
    let mut bytes = read.to_vec();
    let mut input = &mut bytes[..];
    loop {
        let left = input.len();
        let message = decoder.decode(&mut input)?.map(Owned::from);
        assert!(decoder.heap_bytes() <= 2 * received + 256, "{} B", decoder.heap_bytes());
        let Some(message) = message else { break };
        // Two bytes of header and the mask are the least that a frame takes, but a frame may have begun in an earlier
        // read.
        assert!(input.len() < left, "a message came from nothing");
        messages.push(message);
    }
    assert!(input.is_empty());
    if decoder.is_idle() {
        assert_eq!(decoder.heap_bytes(), 0);
    }
    Ok(())
}

fn decode(bytes: &[u8], reads: &[usize], limits: FrameLimits) -> (Vec<Owned>, Result<bool, FrameError>) {
    let mut decoder = FrameDecoder::new(limits);
    let mut messages = Vec::new();
    let mut sizes = reads.iter().cycle();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + sizes.next().map_or(1, |&size| size.min(bytes.len() - at));
        if let Err(error) = feed(&mut decoder, &bytes[at..end], end, &mut messages) {
            assert_eq!(feed(&mut decoder, &bytes[end..], end, &mut messages), Err(error.clone()));
            assert_eq!(decoder.heap_bytes(), 0);
            return (messages, Err(error));
        }
        at = end;
    }
    (messages, Ok(decoder.is_idle()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_stream_decodes_to_its_messages_however_it_is_cut((bytes, expected) in stream(), reads in reads()) {
        let (messages, end) = decode(&bytes, &reads, FrameLimits::default());
        prop_assert_eq!(messages, expected);
        prop_assert_eq!(end, Ok(true));
    }

    /// A prefix yields the first of the messages and no error; then the rest completes them.
    #[test]
    fn every_prefix_decodes_to_a_prefix_of_the_messages((bytes, expected) in stream(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(bytes.len() + 1);
        let mut decoder = FrameDecoder::new(FrameLimits::default());
        let mut messages = Vec::new();
        prop_assert_eq!(feed(&mut decoder, &bytes[..cut], cut, &mut messages), Ok(()));
        prop_assert!(expected.starts_with(&messages));
        prop_assert_eq!(feed(&mut decoder, &bytes[cut..], bytes.len(), &mut messages), Ok(()));
        prop_assert_eq!(messages, expected);
    }

    /// Any bytes are decoded without a panic, and to the same result however they are cut.
    #[test]
    fn any_bytes_end_and_the_cuts_make_no_difference(bytes in vec(any::<u8>(), 0..400), reads in reads()) {
        let limits = FrameLimits { max_payload: 100, max_fragments: 3 };
        prop_assert_eq!(decode(&bytes, &reads, limits), decode(&bytes, &[usize::MAX], limits));
    }

    /// Random bytes rarely get past the first header, so here valid streams are damaged in a few places.
    #[test]
    fn damaged_streams_end_and_the_cuts_make_no_difference(
        (mut bytes, _) in stream(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        reads in reads(),
    ) {
        prop_assume!(!bytes.is_empty());
        for (at, value) in damage {
            // Headers are few among the bytes; the front has one.
            let at = at.index(bytes.len().min(200));
            bytes[at] = value;
        }
        let limits = FrameLimits { max_payload: 1_000, max_fragments: 3 };
        let whole = decode(&bytes, &[usize::MAX], limits);
        let cut = decode(&bytes, &reads, limits);
        prop_assert_eq!(whole.0, cut.0);
        prop_assert_eq!(whole.1, cut.1);
    }

    /// Text that is not UTF-8 is refused exactly where the standard library refuses it, wherever it is cut.
    #[test]
    fn text_is_checked_as_the_standard_library_does(
        payload in vec(prop_oneof![any::<u8>(), Just(0xe2), Just(0x82), Just(0xac), Just(0xf0), Just(0x9f)], 0..12),
        cuts in vec(any::<usize>(), 0..4),
        mask in any::<[u8; 4]>(),
        reads in reads(),
    ) {
        let cuts = cuts.into_iter().map(|at| (at, None)).collect();
        let mut bytes = Vec::new();
        // It is sent as binary, with the opcode changed, as a `String` could not hold it.
        Sent { message: Owned::Binary(payload.clone()), cuts, mask }.encode(&mut bytes, &mut Vec::new());
        bytes[0] = bytes[0] & 0xf0 | 1;
        let (messages, end) = decode(&bytes, &reads, FrameLimits::default());
        match String::from_utf8(payload) {
            Ok(text) => {
                prop_assert_eq!(messages, vec![Owned::Text(text)]);
                prop_assert_eq!(end, Ok(true));
            }
            Err(_) => {
                prop_assert_eq!(messages, vec![]);
                prop_assert_eq!(end, Err(FrameError::InvalidText));
            }
        }
    }

    /// What the server sends has the header of RFC 6455 and then the payload.
    #[test]
    fn sent_frames_can_be_read(len in prop_oneof![0..300usize, 65_500..65_600usize], byte in any::<u8>()) {
        let payload = vec![byte; len];
        let mut out = Vec::new();
        push_frame(&mut out, Opcode::Binary, &payload);
        prop_assert_eq!(out[0], 0x82);
        let (len, rest) = match out[1] {
            126 => (u64::from(u16::from_be_bytes([out[2], out[3]])), &out[4..]),
            127 => (out[2..10].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)), &out[10..]),
            short => (u64::from(short), &out[2..]),
        };
        prop_assert_eq!(len, payload.len() as u64);
        prop_assert_eq!(rest, payload);
    }

    #[test]
    fn close_frames_are_at_most_125_bytes_of_valid_payload(code in any::<u16>(), reason in "\\PC{0,200}") {
        let frame = close_frame(Some(code), &reason);
        prop_assert_eq!(frame[0], 0x88);
        prop_assert!(frame[1] <= 125);
        prop_assert_eq!(usize::from(frame[1]), frame.len() - 2);
        if let Some((sent_code, sent_reason)) = frame[2..].split_at_checked(2) {
            prop_assert_eq!(sent_code, code.to_be_bytes());
            let sent_reason = str::from_utf8(sent_reason);
            prop_assert!(sent_reason.is_ok_and(|sent| reason.starts_with(sent)));
        }
    }
}
