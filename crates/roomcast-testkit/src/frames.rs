//! WebSocket frames as a client sees them: its own are masked, those of the server are whole and unmasked.

use bytes::{Buf as _, BytesMut};
use roomcast_protocol::Packet;
use roomcast_protocol::frame::{Opcode, frame_header};

/// Not zero, so that the server has something to unmask. A client of the network takes random bytes, for the sake of
/// proxies, of which there are none here.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const FIN: u8 = 0x80;
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

/// The frames of a packet: its text, then its attachments.
pub(crate) fn of_packet(packet: &Packet) -> Vec<u8> {
    let text = packet.text().map(|text| masked(Opcode::Text, text.as_bytes()));
    let mut frames = text.unwrap_or_default();
    for bytes in packet.binaries() {
        frames.extend(masked(Opcode::Binary, bytes));
    }
    frames
}

/// Takes the next frame off the front of what was received. `None`: it has not come completely.
///
/// # Errors
/// The bytes are no frame that roomcast sends: it fragments nothing, masks nothing, and knows no extension that was not
/// offered.
pub(crate) fn take(received: &mut BytesMut) -> Result<Option<Frame>, String> {
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
    if first & 0x70 != 0 || first & FIN == 0 || second & MASKED != 0 {
        return Err(format!("a frame that begins with {first:#04x} {second:#04x}"));
    }
    if received.len() - header < length {
        return Ok(None);
    }
    received.advance(header);
    let payload = received.split_to(length).to_vec();
    match first & 0x0f {
        1 => String::from_utf8(payload).map(Frame::Text).map(Some).map_err(|error| error.to_string()),
        2 => Ok(Some(Frame::Binary(payload))),
        8 => Ok(Some(Frame::Close)),
        9 => Ok(Some(Frame::Ping(payload))),
        10 => Ok(Some(Frame::Pong)),
        opcode => Err(format!("a frame of the unknown kind {opcode}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_protocol::frame::{FrameDecoder, FrameLimits, Message, push_frame};

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
                while let Some(frame) = take(&mut received).unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [Frame::Binary(vec![7; length]), Frame::Close]);
        }
    }

    #[test]
    fn what_no_server_sends_is_an_error() {
        for bytes in [&[0x01, 0][..], &[0xc1, 0], &[0x81, 0x80, 0, 0, 0, 0], &[0x83, 0], &[0x81, 1, 0xff]] {
            assert!(take(&mut BytesMut::from(bytes)).is_err(), "{bytes:x?}");
        }
    }
}
