//! Both ways of the dialect for the repository's own fuzz target (`fuzz/`). No part of the API: it may change at any time.

use super::decode;
use super::encode::encode as write;
use super::names::Prefix;
use crate::wire::servers;
use bytes::Bytes;
use roomcast_adapter::cluster::{Message, Outgoing, ServerId};

/// The kinds of channel, each with a decoder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Broadcasts to everybody or to one room.
    Broadcast,
    /// Questions.
    Request,
    /// Answers.
    Response,
    /// What roomcast servers tell of themselves.
    Servers,
}

/// A message as it is heard by the server `me` in `namespace`; `None` is one for somebody else.
///
/// # Errors
/// What is wrong with it.
pub fn decode(channel: Channel, payload: &Bytes, namespace: &str, me: &str) -> Result<Option<Message>, String> {
    let heard = match channel {
        Channel::Broadcast => decode::broadcast(payload, namespace, &ServerId::from(me)),
        Channel::Request => decode::request(payload, namespace),
        Channel::Response => decode::response(payload).map(Some),
        Channel::Servers => servers::read(payload).map(Some),
    };
    heard.map_err(|error| error.to_string())
}

/// A message as it is published.
///
/// # Errors
/// Why it cannot be.
pub fn encode(outgoing: &Outgoing) -> Result<Vec<u8>, String> {
    let written = write(outgoing, &Prefix("socket.io".into()), false);
    written.map(|(_, payload)| payload).map_err(|error| error.to_string())
}
