//! Packets of MessagePack: memory in proportion, arguments that are JSON, and the same packet when it is sent on.

use crate::heap;
use crate::input::Input;
use crate::novelty::{seen, size};
use bytes::Bytes;
use roomcast_protocol::json;
use roomcast_protocol::limits::{MAX_ACK_ID, MAX_NAMESPACE_BYTES, MAX_UNPACKED_PAYLOADS};
use roomcast_protocol::{
    Args, ArgsRef, ByteStr, Decoder, DecoderLimits, Packet, Parser, RESERVED_EVENTS, Received, Unpacked,
};

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = DecoderLimits {
        max_attachments: 0,
        max_bytes: input.choice(&[1_000_000, 100, 3, 0]),
        max_depth: input.choice(&[128, 4, 2, 1, 0, 1_024]),
    };
    let message = input.rest();
    let read = heap::within(4_096 + 128 * message.len(), || Unpacked::read(message, limits));
    let packet = match read {
        Ok(packet) => packet,
        Err(error) => return seen((std::mem::discriminant(&error), size(message.len()))),
    };
    let received = packet.received();
    // What is still open is closed after the last look at the size.
    let most = limits.max_bytes * MAX_UNPACKED_PAYLOADS + limits.max_depth;
    match &received {
        Received::Connect { namespace, auth } => {
            check_namespace(namespace);
            if let Some(auth) = auth {
                assert_eq!(json::check(auth, limits.max_depth), Ok(json::JsonKind::Object));
                assert!(auth.len() <= most);
            }
            seen((0, auth.map(|auth| size(auth.len()))));
        }
        Received::Disconnect { namespace } | Received::ConnectError { namespace } => check_namespace(namespace),
        Received::Event { namespace, id, event } => {
            check_namespace(namespace);
            assert!(!RESERVED_EVENTS.contains(&&*event.name) && id.is_none_or(|id| id <= MAX_ACK_ID));
            check_args(event.args, limits.max_depth, most);
            let name = serde_json::to_string(&event.name).unwrap();
            let comma = if event.args.items.is_empty() { "" } else { "," };
            let items = format!("{name}{comma}{}", event.args.items);
            let args = Args::from_parts(ByteStr::from(&*items), event.args.attachments.to_vec());
            same(&Parser::MessagePack.event(namespace, *id, &args).unwrap(), &received);
            the_default_parser_holds_it(namespace, *id, &args, event.args);
            seen((1, id.is_some(), event.args.attachments.len(), size(items.len())));
        }
        Received::Ack { namespace, id, args } => {
            check_namespace(namespace);
            check_args(*args, limits.max_depth, most);
            if let Some(id) = id {
                same(&Parser::MessagePack.ack(namespace, *id, &ArgsRef::to_owned(*args)).unwrap(), &received);
            }
            seen((2, id.is_some(), args.attachments.len(), size(args.items.len())));
        }
    }
}

fn check_namespace(name: &str) {
    assert!(name.starts_with('/') && name.len() <= MAX_NAMESPACE_BYTES, "{name}");
}

fn check_args(args: ArgsRef<'_>, max_depth: usize, most: usize) {
    let array = format!("[{}]", args.items);
    assert_eq!(json::check(&array, max_depth), Ok(json::JsonKind::Array), "{array}");
    assert!(args.items.len() + args.attachments.iter().map(Bytes::len).sum::<usize>() <= most);
}

fn roomy() -> DecoderLimits {
    DecoderLimits { max_attachments: usize::MAX, max_bytes: usize::MAX, max_depth: 1_024 }
}

/// Sent on, it is the same packet, in one message.
fn same(packet: &Packet, received: &Received<'_>) {
    let mut messages = packet.binaries();
    let message = messages.next().unwrap();
    assert_eq!((packet.parts(), packet.text(), messages.next()), (1, None, None));
    let again = Unpacked::read(message, roomy()).unwrap();
    assert_eq!(again.received(), *received);
}

/// Servers of the other parser may send it on too.
fn the_default_parser_holds_it(namespace: &str, id: Option<u64>, args: &Args, expected: ArgsRef<'_>) {
    if namespace.contains(',') {
        return;
    }
    let packet = Packet::event(namespace, id, args).unwrap();
    let text = packet.text().unwrap().strip_prefix('4').unwrap();
    let mut decoder = Decoder::new(roomy());
    let mut found = decoder.text(text).unwrap().map(|received| format!("{received:?}"));
    for attachment in packet.binaries() {
        assert_eq!(found, None);
        found = decoder.binary(attachment).unwrap().map(|packet| format!("{:?}", packet.received()));
    }
    assert!(found.unwrap().contains(&format!("{:?}", expected.items)));
}
