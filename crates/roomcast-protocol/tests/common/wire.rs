//! Frames and packets in one form, for ours and Node's.

use super::js::{self, Js};
use roomcast_protocol::{
    ArgsRef, DecodeError, Decoder, EngineData, EngineKind, EnginePacket, Packet, Payload, Received,
};

/// What one WebSocket message carries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
}

/// A decoded packet. The decoder keeps no data of packets that only a server sends, and drops ids of kinds that have
/// none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoded {
    /// 0 CONNECT, 1 DISCONNECT, 2 EVENT, 3 ACK, 4 CONNECT_ERROR.
    pub(crate) kind: u8,
    pub(crate) namespace: String,
    pub(crate) id: Option<u64>,
    pub(crate) data: Vec<Js>,
}

impl From<Received<'_>> for Decoded {
    fn from(received: Received<'_>) -> Self {
        let new = |kind, namespace: &str, id, data| Self { kind, namespace: namespace.to_owned(), id, data };
        match received {
            Received::Connect { namespace, auth } => {
                new(0, namespace, None, auth.map(|auth| js::parse(auth).unwrap()).into_iter().collect())
            }
            Received::Disconnect { namespace } => new(1, namespace, None, Vec::new()),
            Received::Event { namespace, id, event } => {
                let mut data = vec![Js::string(&event.name)];
                data.extend(values(event.args));
                new(2, namespace, id, data)
            }
            Received::Ack { namespace, id, args } => new(3, namespace, id, values(args)),
            Received::ConnectError { namespace } => new(4, namespace, None, Vec::new()),
        }
    }
}

/// Arguments as values, attachments in their places.
pub(crate) fn values(args: ArgsRef<'_>) -> Vec<Js> {
    args.iter().map(|raw| js::parse(raw).unwrap().filled(args.attachments)).collect()
}

/// Passes one frame to the decoder, through the Engine.IO packet around it.
pub(crate) fn decode(decoder: &mut Decoder, frame: &Frame) -> Result<Option<Decoded>, String> {
    let packet = match frame {
        Frame::Text(text) => EnginePacket::from_text(text).map_err(|error| error.to_string())?,
        Frame::Binary(bytes) => EnginePacket::from_binary(bytes),
    };
    decode_engine(decoder, &packet)
}

fn decode_engine(decoder: &mut Decoder, packet: &EnginePacket<'_>) -> Result<Option<Decoded>, String> {
    assert_eq!(packet.kind, EngineKind::Message, "{packet:?}");
    let decoded = match &packet.data {
        EngineData::Text(text) => decoder.text(text).map(|received| received.map(Decoded::from)),
        EngineData::Binary(bytes) => attachment(decoder, bytes),
    };
    decoded.map_err(|error| error.to_string())
}

/// Passes an attachment to the decoder.
pub(crate) fn attachment(decoder: &mut Decoder, bytes: &[u8]) -> Result<Option<Decoded>, DecodeError> {
    decoder.binary(bytes).map(|packet| packet.map(|packet| Decoded::from(packet.received())))
}

/// The three ways in which a packet travels, each read back into frames with the packet's own text and bytes.
pub(crate) struct Ways {
    pub(crate) websocket: Vec<Frame>,
    pub(crate) base64: Vec<Frame>,
    pub(crate) polling: String,
}

impl Ways {
    pub(crate) fn of(packet: &Packet) -> Self {
        let mut polling = Vec::new();
        packet.push_polling(&mut polling);
        Self {
            websocket: messages(packet.frames(false)),
            base64: messages(packet.frames(true)),
            polling: String::from_utf8(polling).unwrap(),
        }
    }

    /// What a peer decodes in each way: over WebSocket, over WebSocket with `b64`, and by polling.
    pub(crate) fn decoded(&self, decoder: impl Fn() -> Decoder) -> [Vec<Decoded>; 3] {
        let from_frames = |frames: &[Frame]| {
            let mut decoder = decoder();
            frames.iter().filter_map(|frame| decode(&mut decoder, frame).unwrap()).collect()
        };
        let mut polling_decoder = decoder();
        let from_polling = Payload::new(&self.polling)
            .filter_map(|packet| decode_engine(&mut polling_decoder, &packet.unwrap()).unwrap())
            .collect();
        [from_frames(&self.websocket), from_frames(&self.base64), from_polling]
    }
}

/// Reads a server's frames: final, unmasked, no control frames.
pub(crate) fn messages(mut frames: &[u8]) -> Vec<Frame> {
    let mut messages = Vec::new();
    while let [first, short, rest @ ..] = frames {
        assert_eq!(short & 0x80, 0, "a server does not mask");
        let (length, rest) = match short {
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            short => (usize::from(*short), rest),
        };
        let (payload, rest) = rest.split_at(length);
        messages.push(match first {
            0x81 => Frame::Text(String::from_utf8(payload.to_vec()).unwrap()),
            0x82 => Frame::Binary(payload.to_vec()),
            other => panic!("frame begins with {other:#x}"),
        });
        frames = rest;
    }
    assert_eq!(frames, b"", "half a header is left");
    messages
}
