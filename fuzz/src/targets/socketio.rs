//! Sequences of Socket.IO messages, text and binary: the heap is bounded, and packets are the same when they are sent
//! on.

use crate::heap;
use crate::input::Input;
use crate::novelty::{seen, size};
use roomcast_protocol::json;
use roomcast_protocol::{
    Args, ArgsRef, Assembled, ByteStr, DecodeError, Decoder, DecoderLimits, Packet, RESERVED_EVENTS, Received,
};

/// A packet without its lifetime, in the `Debug` form of its contents.
fn told(received: &Received<'_>) -> String {
    format!("{received:?}")
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = DecoderLimits {
        max_attachments: input.choice(&[10, 2, 1, 0, 1_000]),
        max_bytes: input.choice(&[1_000_000, 100, 3, 0]),
        // Not 0: an acknowledgement without arguments is written with an empty list, which could not be read again.
        max_depth: input.choice(&[128, 4, 2, 1, 1_024]),
    };
    let mut messages = Vec::new();
    while !input.is_empty() {
        let binary = input.byte() & 1 == 1;
        messages.push((binary, input.piece()));
    }
    let most = messages.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    // Text and attachments are kept once each, and there is a fixed size for each attachment.
    heap::within(2_048 + 2 * most + 64 * messages.len(), || decode(limits, &messages, |_| {}));
    decode(limits, &messages, |received| check(limits, received));
}

fn decode(limits: DecoderLimits, messages: &[(bool, &[u8])], mut each: impl FnMut(&Received<'_>)) {
    let mut decoder = Decoder::new(limits);
    let mut before = 0;
    for (binary, bytes) in messages {
        let awaiting = decoder.is_awaiting();
        let assembled;
        let answer = match (binary, std::str::from_utf8(bytes)) {
            (false, Ok(text)) => decoder.text(text),
            (false, Err(_)) => continue,
            (true, _) => {
                assembled = decoder.binary(bytes);
                let whole = assembled.as_ref().map(|packet| packet.as_ref().map(Assembled::received));
                whole.map_err(|error| *error)
            }
        };
        assert!(awaiting || !binary || answer == Err(DecodeError::UnexpectedBinary));
        assert!(!awaiting || *binary || answer == Err(DecodeError::UnexpectedText));
        let kind = match &answer {
            Ok(None) => 1,
            Ok(Some(Received::Connect { auth, .. })) => 2 + u8::from(auth.is_some()),
            Ok(Some(Received::Disconnect { .. })) => 4,
            Ok(Some(Received::Event { id, .. })) => 5 + u8::from(id.is_some()),
            Ok(Some(Received::Ack { id, .. })) => 7 + u8::from(id.is_some()),
            Ok(Some(Received::ConnectError { .. })) => 9,
            Err(error) => {
                seen(std::mem::discriminant(error));
                10
            }
        };
        seen((before, kind, size(bytes.len())));
        before = kind;
        match answer {
            Ok(None) => assert!(decoder.is_awaiting()),
            Ok(Some(received)) => {
                each(&received);
                assert!(!decoder.is_awaiting());
            }
            // The connection is closed.
            Err(_) => return,
        }
    }
}

fn check(limits: DecoderLimits, received: &Received<'_>) {
    let packet = match received {
        Received::Connect { namespace, auth } => {
            assert!(namespace.starts_with('/'), "{namespace}");
            if let Some(auth) = auth {
                assert_eq!(json::check(auth, limits.max_depth), Ok(json::JsonKind::Object));
            }
            return;
        }
        Received::Disconnect { namespace } => Packet::disconnect(namespace),
        Received::ConnectError { .. } => return,
        Received::Event { namespace, id, event } => {
            assert!(!RESERVED_EVENTS.contains(&&*event.name));
            check_args(event.args);
            let name = serde_json::to_string(&event.name).unwrap();
            let comma = if event.args.items.is_empty() { "" } else { "," };
            let items = format!("{name}{comma}{}", event.args.items);
            let args = Args::from_parts(ByteStr::from(&*items), event.args.attachments.to_vec());
            Packet::event(namespace, *id, &args)
        }
        Received::Ack { namespace, id: Some(id), args } => {
            check_args(*args);
            Packet::ack(namespace, *id, &ArgsRef::to_owned(*args))
        }
        Received::Ack { id: None, args, .. } => return check_args(*args),
    };
    // Sent on, it is the same packet for all its recipients.
    let packet = packet.unwrap();
    let text = packet.text().unwrap();
    let mut decoder = Decoder::new(limits);
    let mut answer = decoder.text(text.strip_prefix('4').unwrap()).unwrap().as_ref().map(told);
    for attachment in packet.binaries() {
        assert_eq!(answer, None);
        answer = decoder.binary(attachment).unwrap().as_ref().map(|packet| told(&packet.received()));
    }
    assert_eq!(answer, Some(told(received)));
}

/// The arguments are JSON values with commas between them.
fn check_args(args: ArgsRef<'_>) {
    let array = format!("[{}]", args.items);
    let whole: Vec<&serde_json::value::RawValue> = serde_json::from_str(&array).unwrap();
    assert!(args.iter().eq(whole.iter().map(|raw| raw.get())), "{array}");
}
