//! [`Wire`]: the form in which a client takes packets over its WebSocket.

use crate::http::compressed::count_compressed;
use roomcast_protocol::Packet;
use roomcast_protocol::deflate::Deflate;

/// The form of packets over one WebSocket, as it was agreed on at its handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wire {
    /// Attachments go out as base64 text.
    pub(crate) base64: bool,
    /// permessage-deflate was negotiated.
    pub(crate) deflate: bool,
}

impl Wire {
    /// The packet's frames in this form. It stays the same from one call to the next, as a packet may have left in part.
    pub(crate) fn frames<'a>(self, packet: &'a Packet, deflate: Option<&Deflate>) -> &'a [u8] {
        match deflate {
            Some(deflate) if self.deflate => {
                packet.deflated_frames(self.base64, deflate, |before, after| count_compressed("message", before, after))
            }
            _ => packet.frames(self.base64),
        }
    }
}
