//! What Redis carries in the classic dialect: any bytes are accepted, and what is understood can be written again.

use crate::heap;
use crate::input::Input;
use crate::novelty::{seen, size};
use bytes::Bytes;
use roomcast_adapter::cluster::{Body, Message, Outgoing, SERVERS};
use roomcast_redis::fuzzing::classic::{Channel, decode, encode};

const NAMESPACE: &str = "/";

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let channel = input.choice(&[Channel::Broadcast, Channel::Request, Channel::Response, Channel::Servers]);
    let payload = Bytes::copy_from_slice(input.rest());
    // Rooms and sockets become objects of some hundred bytes, and a few bytes are enough to name one.
    let heard = heap::within(16_384 + 512 * payload.len(), || decode(channel, &payload, NAMESPACE, "me"));
    let Ok(Some(message)) = heard else {
        // The first word of the error names what was not understood.
        seen((channel, heard.err().and_then(|error| error.split(' ').next().map(str::to_owned))));
        return;
    };
    seen((channel, std::mem::discriminant(&message.body), message.trailer.is_some(), size(payload.len())));
    if let Body::Broadcast { data, .. } | Body::BroadcastWithAck { data, .. } | Body::ServerSideEmit { data, .. } =
        &message.body
    {
        assert!(!data.is_empty());
    }
    // Answers are written as Node's servers write them, which omits something. The rest must not change.
    let second = heard_again(message);
    let third = second.clone().and_then(heard_again);
    if let (Some(second), Some(third)) = (&second, &third) {
        assert_eq!(second, third);
    }
    assert_eq!(second.is_some(), third.is_some());
}

/// The message as another server receives it, or `None` if it cannot be written.
fn heard_again(message: Message) -> Option<Message> {
    let (channel, namespace) = match message.body {
        Body::Broadcast { .. } => (Channel::Broadcast, NAMESPACE),
        Body::BroadcastWithAck { .. }
        | Body::Join { .. }
        | Body::Leave { .. }
        | Body::Disconnect { .. }
        | Body::FetchSockets { .. }
        | Body::Count { .. }
        | Body::FetchIds { .. }
        | Body::FetchRooms { .. }
        | Body::ServerSideEmit { .. } => (Channel::Request, NAMESPACE),
        Body::Alive { .. } | Body::Goodbye => (Channel::Servers, SERVERS),
        _ => (Channel::Response, NAMESPACE),
    };
    let outgoing = Outgoing { namespace: namespace.into(), message };
    let payload = Bytes::from(encode(&outgoing).ok()?);
    let again = decode(channel, &payload, NAMESPACE, "me");
    assert!(matches!(again, Ok(Some(_))), "{outgoing:?} is written {payload:?} and read {again:?}");
    again.ok().flatten()
}
