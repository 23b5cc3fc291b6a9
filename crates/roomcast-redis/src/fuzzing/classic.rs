//! Messages of the classic dialect into bytes, and back.

use crate::classic::decode;
use crate::classic::encode::encode as write;
use crate::classic::names::Prefix;
use crate::wire::servers;
use bytes::Bytes;
use roomcast_adapter::cluster::{Message, Outgoing, ServerId};

/// The kinds of channel. Each has a decoder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Broadcasts to everybody or to one room.
    Broadcast,
    /// Requests.
    Request,
    /// Answers.
    Response,
    /// Announcements of roomcast servers.
    Servers,
}

/// Decodes a payload as the server `me` does in `namespace`. `None` if the message is not for it.
///
/// # Errors
/// What is wrong with the payload.
pub fn decode(channel: Channel, payload: &Bytes, namespace: &str, me: &str) -> Result<Option<Message>, String> {
    let decoded = match channel {
        Channel::Broadcast => decode::broadcast(payload, namespace, &ServerId::from(me)),
        Channel::Request => decode::request(payload, namespace),
        Channel::Response => decode::response(payload).map(Some),
        Channel::Servers => servers::read(payload).map(Some),
    };
    decoded.map_err(|error| error.to_string())
}

/// Encodes a message for publishing.
///
/// # Errors
/// Why it cannot be encoded.
pub fn encode(outgoing: &Outgoing) -> Result<Vec<u8>, String> {
    let written = write(outgoing, &Prefix("socket.io".into()), false);
    written.map(|(_, payload)| payload).map_err(|error| error.to_string())
}
