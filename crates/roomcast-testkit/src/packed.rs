//! MessagePack as the parser, where a client's packets differ from those of a server.

use roomcast_protocol::limits::MAX_DEPTH;
use roomcast_protocol::msgpack::{MsgpackError, Reader, Writer, to_json};
use roomcast_protocol::{Packet, PacketTooLarge};

/// A CONNECT without auth, as the official client writes it: its data is `undefined`.
pub(crate) fn connect(namespace: &str) -> Result<Packet, PacketTooLarge> {
    let mut packet = Vec::new();
    Writer::new(&mut packet).map(3).str("type").uint(0).str("data").undefined().str("nsp").str(namespace);
    Packet::binary(&packet)
}

/// The data of a packet as JSON. The decoder is that of a server, which has no use for what a refusal says.
pub(crate) fn data(packet: &[u8]) -> Result<String, MsgpackError> {
    let (mut reader, mut json) = (Reader::new(packet), Vec::new());
    for _ in 0..reader.map_len()? {
        if reader.key()? == "data" {
            to_json(&mut reader, &mut json, &mut Vec::new(), MAX_DEPTH)?;
        } else {
            reader.skip_value()?;
        }
    }
    Ok(String::from_utf8_lossy(&json).into_owned())
}
