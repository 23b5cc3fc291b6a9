//! The numbers that the simulator gives messages, by which it knows them again.

use roomcast_adapter::cluster::Body;
use roomcast_protocol::Args;

/// The number of the packet with which a connection to a namespace begins.
pub(crate) const WELCOME: u64 = u64::MAX - 1;

/// The number that the simulator gave a message.
pub(crate) fn mark(body: &Body) -> Option<u64> {
    match body {
        Body::Broadcast { data, .. } | Body::BroadcastWithAck { data, .. } | Body::ServerSideEmit { data, .. } => {
            mark_of(data)
        }
        Body::Join { target, .. }
        | Body::Leave { target, .. }
        | Body::Disconnect { target, .. }
        | Body::FetchSockets { target, .. }
        | Body::Count { target, .. } => target.except.iter().find_map(|room| room.strip_prefix('#')?.parse().ok()),
        _ => None,
    }
}

/// The number in an event's arguments.
pub(crate) fn mark_of(data: &Args) -> Option<u64> {
    data.items().split(',').nth(1)?.parse().ok()
}
