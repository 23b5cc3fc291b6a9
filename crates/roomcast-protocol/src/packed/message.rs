//! Packets to send, in notepack's bytes. The order of the keys is that of Node's server.
//!
//! What Node's server leaves `undefined` is written so too: the `pid` of a CONNECT without recovery, and the `data` of a
//! refusal without data. Clients read it as absent, but would read nil as a value.

use crate::arguments::args::Args;
use crate::msgpack::{Flavour, MsgpackError, Reader, Writer, args_array, from_json};
use crate::packed::encode_error::EncodeError;
use crate::socketio::packet::Packet;

/// Bytes of a packet's map besides its namespace and its data: at most 37.
const AROUND: usize = 40;

pub(crate) fn event(namespace: &str, id: Option<u64>, data: &Args) -> Result<Packet, EncodeError> {
    Packet::packed(room(namespace, data), |out| {
        Writer::new(out).map(3 + usize::from(id.is_some())).str("type").uint(2).str("data");
        args_array(data, out, Flavour::Notepack)?;
        let mut writer = Writer::new(out);
        if let Some(id) = id {
            writer.str("id").uint(id);
        }
        writer.str("nsp").str(namespace);
        Ok(())
    })
}

pub(crate) fn ack(namespace: &str, id: u64, args: &Args) -> Result<Packet, EncodeError> {
    Packet::packed(room(namespace, args), |out| {
        Writer::new(out).map(4).str("id").uint(id).str("type").uint(3).str("data");
        args_array(args, out, Flavour::Notepack)?;
        Writer::new(out).str("nsp").str(namespace);
        Ok(())
    })
}

pub(crate) fn connect(namespace: &str, json: &str) -> Result<Packet, EncodeError> {
    object(0, namespace, json, "pid")
}

pub(crate) fn connect_error(namespace: &str, json: &str) -> Result<Packet, EncodeError> {
    object(4, namespace, json, "data")
}

pub(crate) fn disconnect(namespace: &str) -> Result<Packet, EncodeError> {
    Packet::packed(AROUND + namespace.len(), |out| {
        Writer::new(out).map(2).str("type").uint(1).str("nsp").str(namespace);
        Ok(())
    })
}

/// What arguments take, roughly: their JSON text is longer than their MessagePack, except for fractions and for
/// attachments that are named again.
fn room(namespace: &str, args: &Args) -> usize {
    let attached: usize = args.attachments().iter().map(|bytes| bytes.len() + 5).sum();
    AROUND + namespace.len() + args.items_bytes().len() + attached
}

/// A packet whose data is an object, in which `optional` is `undefined` if it is not there.
fn object(kind: u64, namespace: &str, json: &str, optional: &str) -> Result<Packet, EncodeError> {
    let mut members = Vec::with_capacity(json.len());
    from_json(json, &[], &mut members, Flavour::Notepack)?;
    let mut reader = Reader::new(&members);
    let (count, has_optional) = contents(&mut reader, optional)?;
    let members = members.get(reader.position()..).unwrap_or_default();
    Packet::packed(AROUND + namespace.len() + members.len(), |out| {
        let mut writer = Writer::new(out);
        writer.map(3).str("type").uint(kind).str("data").map(count + usize::from(!has_optional)).raw(members);
        if !has_optional {
            writer.str(optional).undefined();
        }
        writer.str("nsp").str(namespace);
        Ok(())
    })
}

/// The number of a map's members, and whether one has that name. The reader is before the first of them then.
fn contents(reader: &mut Reader<'_>, name: &str) -> Result<(usize, bool), MsgpackError> {
    let count = reader.map_len()?;
    let mut members = reader.clone();
    let mut found = false;
    for _ in 0..count {
        found |= members.key()? == name;
        members.skip_value()?;
    }
    Ok((count, found))
}
