//! Frames that the server sends.

use super::close_code::is_sendable_close_code;
use super::limits::{MAX_CLOSE_REASON, MAX_CONTROL_PAYLOAD};
use super::opcode::{FIN, LENGTH_16, LENGTH_64, Opcode, RSV1};
use std::ops::Deref;

/// The header of a frame that a server sends; dereferences to its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl FrameHeader {
    /// Bytes of the longest header: 2 and a 64-bit length. There is no masking key, as servers must not mask.
    pub const MAX_LEN: usize = 10;
}

impl Deref for FrameHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }
}

/// The header of a final, unmasked frame with a payload of `len` bytes: 2, 4 or 10 bytes.
///
/// The payload of [`Opcode::Close`], [`Opcode::Ping`] and [`Opcode::Pong`] must not be longer than
/// [`MAX_CONTROL_PAYLOAD`], or the peer fails the connection.
pub fn frame_header(opcode: Opcode, len: usize) -> FrameHeader {
    let mut bytes = [0; FrameHeader::MAX_LEN];
    bytes[0] = FIN | opcode.bits();
    let header_len = if len < usize::from(LENGTH_16) {
        bytes[1] = len as u8;
        2
    } else if let Ok(len) = u16::try_from(len) {
        bytes[1] = LENGTH_16;
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        4
    } else {
        bytes[1] = LENGTH_64;
        bytes[2..].copy_from_slice(&(len as u64).to_be_bytes());
        10
    };
    FrameHeader { bytes, len: header_len }
}

/// Appends a final, unmasked frame. The payload of a control frame is cut to [`MAX_CONTROL_PAYLOAD`] bytes; the payload
/// of a received ping or pong always fits.
pub fn push_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let cut = if opcode.is_control() { payload.get(..MAX_CONTROL_PAYLOAD) } else { None };
    let payload = cut.unwrap_or(payload);
    let header = frame_header(opcode, payload.len());
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// Appends a final, unmasked frame whose payload is compressed. Only for a client that has agreed to permessage-deflate
/// ([`deflate`](crate::deflate)).
pub fn push_compressed_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let start = out.len();
    push_frame(out, opcode, payload);
    if let Some(first) = out.get_mut(start) {
        *first |= RSV1;
    }
}

/// A close frame with `code` and as much of `reason` as fits [`MAX_CLOSE_REASON`] bytes without cutting a character.
///
/// A reason cannot be sent without a code: with `None`, or with a code that may not be sent (such as 1005 or 1006), the
/// frame is empty, and a browser reports 1005.
pub fn close_frame(code: Option<u16>, reason: &str) -> Vec<u8> {
    let mut payload = Vec::with_capacity(MAX_CONTROL_PAYLOAD);
    if let Some(code) = code.filter(|&code| is_sendable_close_code(code)) {
        let mut reason_len = reason.len().min(MAX_CLOSE_REASON);
        while !reason.is_char_boundary(reason_len) {
            reason_len -= 1;
        }
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend(reason.bytes().take(reason_len));
    }
    let mut frame = Vec::new();
    push_frame(&mut frame, Opcode::Close, &payload);
    frame
}

#[cfg(test)]
mod sending {
    use super::*;

    #[test]
    fn sent_headers_have_the_shortest_form() {
        for (len, header) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (usize::MAX, &[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(&*frame_header(Opcode::Binary, len), header);
        }
        for (opcode, first) in [
            (Opcode::Text, 0x81),
            (Opcode::Binary, 0x82),
            (Opcode::Close, 0x88),
            (Opcode::Ping, 0x89),
            (Opcode::Pong, 0x8a),
        ] {
            let mut out = vec![0xaa];
            push_frame(&mut out, opcode, b"xyz");
            assert_eq!(out, [0xaa, first, 3, b'x', b'y', b'z']);
        }
    }

    #[test]
    fn sent_control_frames_are_cut_to_125_bytes() {
        for (opcode, len) in [(Opcode::Ping, 125), (Opcode::Pong, 125), (Opcode::Text, 126)] {
            let mut out = Vec::new();
            push_frame(&mut out, opcode, &[b'x'; 126]);
            assert_eq!(out.iter().filter(|&&byte| byte == b'x').count(), len);
            assert_eq!(out[1], len as u8);
        }
    }

    /// A code and at most 123 bytes of valid UTF-8, never cut inside a character.
    #[test]
    fn close_frames_fit_and_cut_no_character() {
        assert_eq!(close_frame(None, ""), [0x88, 0]);
        assert_eq!(close_frame(None, "a reason needs a code"), [0x88, 0]);
        assert_eq!(close_frame(Some(1000), ""), [0x88, 2, 0x03, 0xe8]);
        assert_eq!(close_frame(Some(4000), "bye"), [0x88, 5, 0x0f, 0xa0, b'b', b'y', b'e']);
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
            assert_eq!(close_frame(Some(code), "x"), [0x88, 0], "{code} is never sent");
        }
        for character in ["x", "\u{e9}", "\u{20ac}", "\u{1f600}"] {
            for ascii in 0..=130 {
                let reason = "a".repeat(ascii) + &character.repeat(130);
                let frame = close_frame(Some(1001), &reason);
                assert_eq!(frame[..2], [0x88, frame.len() as u8 - 2]);
                let sent = str::from_utf8(&frame[4..]).expect("no character is cut");
                assert!(reason.starts_with(sent));
                assert!(sent.len() <= 123);
                let next = reason[sent.len()..].chars().next().map_or(0, char::len_utf8);
                assert!(sent.len() + next > 123, "no more would fit");
            }
        }
    }
}
