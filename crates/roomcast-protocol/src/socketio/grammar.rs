//! The header of a Socket.IO packet in nom: `<type>[<attachments>-][<namespace>,][<id>]`, then the JSON.

use crate::limits::{MAX_ACK_ID, MAX_ACK_ID_DIGITS, MAX_ATTACHMENT_DIGITS, MAX_NAMESPACE_BYTES};
use crate::socketio::decode_error::DecodeError;
use nom::bytes::complete::take_while_m_n;
use nom::character::complete::{char, one_of};
use nom::combinator::{map_res, opt, peek, recognize, verify};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

/// What a packet is, by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PacketKind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

/// A packet's header, and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub(crate) kind: PacketKind,
    /// 0 unless the packet is binary.
    pub(crate) attachments: usize,
    pub(crate) namespace: &'a str,
    pub(crate) id: Option<u64>,
    pub(crate) json: &'a str,
}

/// Reads the header of a packet. It is stricter than Node where the decoder table of docs/protocol.md says so: counts
/// and ids are plain digits, and each field has a bound that is checked before anything is copied.
pub(crate) fn header(input: &str) -> Result<Header<'_>, DecodeError> {
    let (rest, kind) = kind(input).map_err(|_| DecodeError::UnknownType(input.chars().next()))?;
    let (rest, attachments) = match kind {
        PacketKind::BinaryEvent | PacketKind::BinaryAck => {
            attachments(rest).map_err(|_| DecodeError::IllegalAttachments)?
        }
        _ => (rest, 0),
    };
    let (rest, namespace) = opt(namespace).parse(rest).map_err(|_: NomError<'_>| DecodeError::InvalidPayload)?;
    let namespace = namespace.unwrap_or("/");
    if namespace.len() > MAX_NAMESPACE_BYTES {
        return Err(DecodeError::NamespaceTooLong);
    }
    let (json, id) = match rest.as_bytes().first() {
        Some(b'0'..=b'9') => id(rest).map(|(rest, id)| (rest, Some(id))).map_err(|_| DecodeError::InvalidId)?,
        // JavaScript reads a blank here as the id 0, so skipping it would lose the answer.
        Some(b' ' | b'\t' | b'\n' | b'\r') => return Err(DecodeError::InvalidPayload),
        _ => (rest, None),
    };
    Ok(Header { kind, attachments, namespace, id, json })
}

type NomError<'a> = nom::Err<nom::error::Error<&'a str>>;

fn kind(input: &str) -> IResult<&str, PacketKind> {
    one_of("0123456")
        .map(|digit| match digit {
            '0' => PacketKind::Connect,
            '1' => PacketKind::Disconnect,
            '2' => PacketKind::Event,
            '3' => PacketKind::Ack,
            '4' => PacketKind::ConnectError,
            '5' => PacketKind::BinaryEvent,
            _ => PacketKind::BinaryAck,
        })
        .parse(input)
}

/// `3-`: at least one attachment, or the packet would not be binary.
fn attachments(input: &str) -> IResult<&str, usize> {
    let digits = take_while_m_n(1, MAX_ATTACHMENT_DIGITS, |c: char| c.is_ascii_digit());
    let count = verify(map_res(digits, str::parse::<usize>), |count| *count > 0);
    terminated(count, char('-')).parse(input)
}

/// `/chat,`: up to the comma, or to the end of the text. A query is part of the name. One character more than a name
/// may have bytes suffices to see that it is too long.
fn namespace(input: &str) -> IResult<&str, &str> {
    let name = take_while_m_n(0, MAX_NAMESPACE_BYTES + 1, |c| c != ',');
    terminated(recognize(preceded(peek(char('/')), name)), opt(char(','))).parse(input)
}

fn id(input: &str) -> IResult<&str, u64> {
    let digits = take_while_m_n(1, MAX_ACK_ID_DIGITS, |c: char| c.is_ascii_digit());
    let id = verify(map_res(digits, str::parse::<u64>), |id| *id <= MAX_ACK_ID);
    // If another digit follows, the number is too long for an id.
    terminated(id, nom::combinator::not(one_of("0123456789"))).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: (PacketKind, usize, &str, Option<u64>, &str)) {
        let (kind, attachments, namespace, id, json) = expected;
        assert_eq!(header(input), Ok(Header { kind, attachments, namespace, id, json }), "{input}");
    }

    #[test]
    fn headers() {
        check("0", (PacketKind::Connect, 0, "/", None, ""));
        check("0/admin", (PacketKind::Connect, 0, "/admin", None, ""));
        check("0/admin?a=1,{}", (PacketKind::Connect, 0, "/admin?a=1", None, "{}"));
        check("2/,[\"a\"]", (PacketKind::Event, 0, "/", None, "[\"a\"]"));
        check("2007[\"a\"]", (PacketKind::Event, 0, "/", Some(7), "[\"a\"]"));
        check("51-/é,14[]", (PacketKind::BinaryEvent, 1, "/é", Some(14), "[]"));
        check("6010-1[]", (PacketKind::BinaryAck, 10, "/", Some(1), "[]"));
    }

    #[test]
    fn a_blank_is_not_an_id() {
        for input in ["2 [\"a\"]", "2 1[\"a\"]", "2\t5[\"a\"]", "3 []", "2/a, [\"a\"]", "51-\n[\"a\"]", "0 {}", "1 "] {
            assert_eq!(header(input), Err(DecodeError::InvalidPayload), "{input:?}");
        }
        // After an id it is JSON's own white space.
        check("27 [\"a\"]", (PacketKind::Event, 0, "/", Some(7), " [\"a\"]"));
    }

    #[test]
    fn each_field_at_its_limit_and_one_past_it() {
        let namespace = |bytes: usize| format!("0/{},", "a".repeat(bytes - 1));
        assert!(header(&namespace(MAX_NAMESPACE_BYTES)).is_ok());
        assert_eq!(header(&namespace(MAX_NAMESPACE_BYTES + 1)), Err(DecodeError::NamespaceTooLong));
        // The bound is on bytes, whatever the characters.
        let wide = |characters: usize| format!("0/{},", "é".repeat(characters));
        assert!(header(&wide(MAX_NAMESPACE_BYTES / 2 - 1)).is_ok());
        assert_eq!(header(&wide(MAX_NAMESPACE_BYTES / 2)), Err(DecodeError::NamespaceTooLong));
        assert_eq!(header(&wide(MAX_NAMESPACE_BYTES * 2)), Err(DecodeError::NamespaceTooLong));
        assert_eq!(header("29007199254740991[]").map(|header| header.id), Ok(Some(MAX_ACK_ID)));
        assert_eq!(header("29007199254740992[]"), Err(DecodeError::InvalidId));
        assert_eq!(header("20000000000000001[]").map(|header| header.id), Ok(Some(1)));
        assert_eq!(header("200000000000000001[]"), Err(DecodeError::InvalidId));
        assert_eq!(header("50000000001-[]").map(|header| header.attachments), Ok(1));
        assert_eq!(header("500000000001-[]"), Err(DecodeError::IllegalAttachments));
    }
}
