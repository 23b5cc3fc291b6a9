//! WebSocket frames as a client sees them: its own are masked, those of the server are whole and unmasked.

use bytes::{Buf as _, BytesMut};
use roomcast_protocol::Packet;
use roomcast_protocol::deflate::{Deflate, compress_message, inflate};
use roomcast_protocol::frame::{Opcode, frame_header};
use roomcast_protocol::limits::DEFLATE_LARGEST;

/// Not zero, so that the server has something to unmask. A client of the network takes random bytes, for the sake of
/// proxies, of which there are none here.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const FIN: u8 = 0x80;
/// The message is compressed.
const RSV1: u8 = 0x40;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// A frame of the server, and whether it came compressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) frame: Frame,
    pub(crate) compressed: bool,
}

/// A final frame of a client.
pub(crate) fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let header = frame_header(opcode, payload.len());
    let mut frame = Vec::with_capacity(header.len() + MASK.len() + payload.len());
    frame.extend_from_slice(&header);
    if let Some(length) = frame.get_mut(1) {
        *length |= MASKED;
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The frames of a packet: its text, then its attachments. With `deflate`, those that have its threshold and become smaller
/// are compressed; the number of these is returned too.
pub(crate) fn of_packet(packet: &Packet, deflate: Option<&Deflate>) -> (Vec<u8>, u64) {
    let text = packet.text().map(|text| (Opcode::Text, text.as_bytes()));
    let binaries = packet.binaries().map(|bytes| (Opcode::Binary, bytes));
    let (mut frames, mut compressed) = (Vec::new(), 0);
    for (opcode, payload) in text.into_iter().chain(binaries) {
        let deflate = deflate.filter(|deflate| payload.len() >= deflate.threshold);
        match deflate.and_then(|deflate| compress_message(payload, deflate.level)) {
            Some(smaller) => {
                let mut frame = masked(opcode, &smaller);
                if let Some(first) = frame.first_mut() {
                    *first |= RSV1;
                }
                frames.extend(frame);
                compressed += 1;
            }
            None => frames.extend(masked(opcode, payload)),
        }
    }
    (frames, compressed)
}

/// Takes the next frame off the front of what was received. `None`: it has not come completely.
///
/// # Errors
/// The bytes are no frame that roomcast sends: it fragments nothing, masks nothing, and compresses messages alone, after
/// both have agreed (`deflate`).
pub(crate) fn take(received: &mut BytesMut, deflate: bool) -> Result<Option<Taken>, String> {
    let (Some(&first), Some(&second)) = (received.first(), received.get(1)) else { return Ok(None) };
    let header = match second {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let Some(extended) = received.get(2..header) else { return Ok(None) };
    let length = match extended {
        [] => usize::from(second),
        bytes => bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
    };
    let is_message = matches!(first & 0x0f, 1 | 2);
    let compressed = deflate && is_message && first & RESERVED == RSV1;
    if (first & RESERVED != 0 && !compressed) || first & FIN == 0 || second & MASKED != 0 {
        return Err(format!("a frame that begins with {first:#04x} {second:#04x}"));
    }
    if received.len() - header < length {
        return Ok(None);
    }
    received.advance(header);
    let mut payload = received.split_to(length).to_vec();
    if compressed {
        payload = inflate(&payload, DEFLATE_LARGEST).map_err(|error| error.to_string())?;
    }
    let frame = match first & 0x0f {
        1 => Frame::Text(String::from_utf8(payload).map_err(|error| error.to_string())?),
        2 => Frame::Binary(payload),
        8 => Frame::Close,
        9 => Frame::Ping(payload),
        10 => Frame::Pong,
        opcode => return Err(format!("a frame of the unknown kind {opcode}")),
    };
    Ok(Some(Taken { frame, compressed }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_protocol::frame::{FrameDecoder, FrameLimits, Message, push_frame};
    use roomcast_protocol::{Args, Attachment, EngineKind};

    #[test]
    fn the_server_reads_what_a_client_masks() {
        for length in [0, 1, 5, 125, 126, 65_535, 65_536] {
            let payload = "x".repeat(length);
            let mut sent = masked(Opcode::Text, payload.as_bytes());
            let mut decoder = FrameDecoder::new(FrameLimits::default());
            assert_eq!(decoder.decode(&mut &mut sent[..]), Ok(Some(Message::Text(&payload))));
        }
    }

    #[test]
    fn a_client_reads_what_the_server_frames_however_it_is_cut() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let mut sent = Vec::new();
            push_frame(&mut sent, Opcode::Binary, &vec![7; length]);
            push_frame(&mut sent, Opcode::Close, b"");
            let (mut received, mut frames) = (BytesMut::new(), Vec::new());
            for chunk in sent.chunks(1_000) {
                received.extend_from_slice(chunk);
                while let Some(taken) = take(&mut received, false).unwrap() {
                    assert!(!taken.compressed);
                    frames.push(taken.frame);
                }
            }
            assert_eq!(frames, [Frame::Binary(vec![7; length]), Frame::Close]);
        }
    }

    #[test]
    fn the_server_inflates_what_a_client_compresses() {
        let mut deflate = Deflate::default();
        deflate.threshold = 100;
        for (length, compressed) in [(99, 0), (100, 1), (70_000, 1)] {
            let text = "ab".repeat(length).split_off(length + 1);
            let packet = Packet::engine(EngineKind::Message, &text).unwrap();
            let (mut sent, count) = of_packet(&packet, Some(&deflate));
            assert_eq!((count, sent.len() < length), (compressed, compressed == 1), "{length} bytes");
            let mut decoder = FrameDecoder::new(FrameLimits::default()).with_deflate(true);
            assert_eq!(decoder.decode(&mut &mut sent[..]), Ok(Some(Message::Text(&format!("4{text}")))));
            assert_eq!(of_packet(&packet, None).1, 0);
        }
        // What does not become smaller goes as it is.
        let noise: Vec<u8> = (0..200_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(of_packet(&Packet::binary(&noise).unwrap(), Some(&deflate)).1, 0);
    }

    #[test]
    fn a_client_inflates_what_the_server_compresses() {
        let mut deflate = Deflate::default();
        deflate.threshold = 10;
        let args = Args::event("e", &("long ".repeat(300), Attachment::from(vec![7_u8; 300]))).unwrap();
        let packet = Packet::event("/", None, &args).unwrap();
        let sent = packet.deflated_frames(false, &deflate, |_, _| {});
        let (mut received, mut frames) = (BytesMut::from(sent), Vec::new());
        while let Some(taken) = take(&mut received, true).unwrap() {
            frames.push(taken);
        }
        let text = Frame::Text(packet.text().unwrap().to_owned());
        let expected = [text, Frame::Binary(vec![7; 300])].map(|frame| Taken { frame, compressed: true });
        assert_eq!(frames, expected);
        assert!(take(&mut BytesMut::from(sent), false).is_err(), "it was not agreed");
    }

    #[test]
    fn what_no_server_sends_is_an_error() {
        for bytes in [&[0x01, 0][..], &[0xc1, 0], &[0x81, 0x80, 0, 0, 0, 0], &[0x83, 0], &[0x81, 1, 0xff]] {
            assert!(take(&mut BytesMut::from(bytes), false).is_err(), "{bytes:x?}");
        }
        // Control frames are never compressed, the other bits stand for nothing, and a message is complete.
        for bytes in [&[0xc9, 0][..], &[0xc8, 0], &[0xa1, 0], &[0xd1, 0], &[0x41, 0], &[0xc1, 1, 0xff]] {
            assert!(take(&mut BytesMut::from(bytes), true).is_err(), "{bytes:x?}");
        }
    }
}
