//! The PROXY protocol: a header in pieces of any size, beside a second reading of the specification's rules.

use crate::input::Input;
use crate::mutator::Random;
use crate::novelty::{seen, size};
use roomcast_engine::fuzzing::proxy_header::{Step, step};
use roomcast_engine::limits::PROXY_HEADER_BYTES;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1.
const LONGEST_LINE: usize = 107;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut random = Random::new(u64::from(input.byte()));
    let padded = input.byte() % 2 == 1;
    let mut bytes = input.rest().to_vec();
    if padded {
        // Enough for the longest header, and for one past it.
        bytes.resize(bytes.len().max(PROXY_HEADER_BYTES + 2), 0);
    }
    let heard = read(&bytes, usize::MAX, |left| left);
    assert_eq!(read(&bytes, usize::MAX, |_| 1), heard, "byte by byte");
    assert_eq!(read(&bytes, usize::MAX, |left| 1 + random.below(left)), heard, "in random pieces");
    assert_eq!(read_plainly(&bytes), heard, "read plainly");
    match heard {
        Heard::Header { client, length } => {
            let most = if bytes[0] == b'P' { LONGEST_LINE } else { PROXY_HEADER_BYTES };
            assert!(length <= most, "a header of {length} bytes");
            let other = [&bytes[..length], b"\nGET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(read(&other, usize::MAX, |left| left), heard, "what comes behind it counts");
            for cut in 0..length {
                assert_eq!(read(&bytes, cut, |left| left), Heard::Unfinished, "{cut} of {length} bytes");
            }
            if let Some(client) = client {
                written_again(client);
            }
        }
        Heard::Malformed => {
            bytes.extend_from_slice(b"\r\n");
            assert_eq!(read(&bytes, usize::MAX, |left| left), heard, "more bytes mend it");
        }
        Heard::Unfinished => {}
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// So many bytes belong to it.
    Header {
        client: Option<SocketAddr>,
        length: usize,
    },
    Malformed,
    /// The connection ended too early.
    Unfinished,
}

/// What the server makes of a connection that ends after `end` of these bytes. Of those left, so many arrive together as
/// `piece` returns.
fn read(bytes: &[u8], end: usize, mut piece: impl FnMut(usize) -> usize) -> Heard {
    let bytes = &bytes[..bytes.len().min(end)];
    let (mut taken, mut arrived) = (0, 0);
    loop {
        let more = match step(&bytes[..taken], &bytes[taken..arrived]) {
            Step::Done(client) => return Heard::Header { client, length: taken },
            Step::Malformed => return Heard::Malformed,
            Step::Read(more) => more,
        };
        assert!(more > 0 && taken + more <= PROXY_HEADER_BYTES, "{more} bytes more than {taken}");
        if taken < arrived {
            taken += more.min(arrived - taken);
        } else if arrived < bytes.len() {
            let left = bytes.len() - arrived;
            arrived += piece(left).clamp(1, left);
        } else {
            return Heard::Unfinished;
        }
    }
}

/// The header that a proxy would write for this client, in both versions.
fn written_again(client: SocketAddr) {
    let (family, number, address) = match client.ip() {
        IpAddr::V4(address) => ("TCP4", 0x11, address.octets().to_vec()),
        IpAddr::V6(address) => ("TCP6", 0x21, address.octets().to_vec()),
    };
    let (ip, port) = (client.ip(), client.port());
    let line = format!("PROXY {family} {ip} {ip} {port} 443\r\n").into_bytes();
    let addresses = [&address[..], &address, &port.to_be_bytes(), &443_u16.to_be_bytes()].concat();
    let binary = [SIGNATURE, &[0x21, number, 0, addresses.len() as u8], &addresses].concat();
    for header in [line, binary] {
        let expected = Heard::Header { client: Some(client), length: header.len() };
        assert_eq!(read(&header, usize::MAX, |left| left), expected, "written again");
    }
}

/// The rules of both versions, implemented for clarity: all bytes at once, and addresses by hand. Two of the rules are ours.
/// A line ends with its first line feed, also where the specification would let a receiver ignore one; and a header of
/// version 2 has at most [`PROXY_HEADER_BYTES`].
fn read_plainly(bytes: &[u8]) -> Heard {
    if bytes.starts_with(SIGNATURE) {
        binary(bytes)
    } else if bytes.starts_with(b"PROXY ") {
        line(bytes)
    } else if SIGNATURE.starts_with(bytes) || b"PROXY ".starts_with(bytes) {
        unfinished("no signature yet")
    } else {
        malformed("no signature")
    }
}

fn malformed(why: &str) -> Heard {
    seen(("malformed", why));
    Heard::Malformed
}

fn unfinished(why: &str) -> Heard {
    seen(("unfinished", why));
    Heard::Unfinished
}

/// Version 1: words with one space between them, within the first 107 bytes.
fn line(bytes: &[u8]) -> Heard {
    let looked = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = looked.iter().position(|byte| *byte == b'\n') else {
        return if looked.len() == LONGEST_LINE { malformed("long line") } else { unfinished("line") };
    };
    let Some(line) = looked[..end].strip_suffix(b"\r") else { return malformed("line end") };
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let client = match words[..] {
        // Whatever stands between this and the line's end is to be ignored.
        [_, b"UNKNOWN", ..] => None,
        [_, family, source, destination, from, to] => {
            let address: fn(&[u8]) -> Option<IpAddr> = match family {
                b"TCP4" => |text| v4(text).map(|octets| IpAddr::from(Ipv4Addr::from(octets))),
                b"TCP6" => |text| v6(text).map(|groups| IpAddr::from(Ipv6Addr::from(groups))),
                _ => return malformed("family"),
            };
            let (Some(source), Some(_)) = (address(source), address(destination)) else {
                return malformed("address");
            };
            let (Some(from), Some(_)) = (decimal(from, 65_535), decimal(to, 65_535)) else { return malformed("port") };
            Some(SocketAddr::new(source, from))
        }
        _ => return malformed("words"),
    };
    seen(("line", words.len().min(8), client.map(|client| client.is_ipv4()), size(end)));
    Heard::Header { client, length: end + 1 }
}

/// Decimal digits without leading zeros.
fn decimal(text: &[u8], most: u16) -> Option<u16> {
    let is_canonical = !text.is_empty() && text.len() <= 5 && (text == b"0" || text[0] != b'0');
    if !is_canonical || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    u16::try_from(number).ok().filter(|number| *number <= most)
}

pub(super) fn v4(text: &[u8]) -> Option<[u8; 4]> {
    let octets: Option<Vec<u8>> =
        text.split(|byte| *byte == b'.').map(|octet| decimal(octet, 255).map(|octet| octet as u8)).collect();
    octets?.try_into().ok()
}

/// Groups of up to four digits. One `::` stands for a run of zeros. As `inet_ntop` writes addresses of IPv4 inside IPv6,
/// the last two groups may be such an address.
pub(super) fn v6(text: &[u8]) -> Option<[u16; 8]> {
    let groups = |text: &[u8]| {
        let mut groups = Vec::new();
        let words: Vec<&[u8]> = text.split(|byte| *byte == b':').filter(|_| !text.is_empty()).collect();
        for (at, word) in words.iter().enumerate() {
            if word.contains(&b'.') && at + 1 == words.len() {
                let [a, b, c, d] = v4(word)?.map(u16::from);
                groups.extend([a << 8 | b, c << 8 | d]);
            } else {
                let digits: Option<Vec<u32>> = word.iter().map(|digit| char::from(*digit).to_digit(16)).collect();
                let digits = digits.filter(|digits| (1..=4).contains(&digits.len()))?;
                groups.push(digits.iter().fold(0, |group, digit| group << 4 | *digit as u16));
            }
        }
        Some(groups)
    };
    let all = match text.windows(2).position(|two| two == b"::") {
        None => groups(text)?,
        Some(at) => {
            let (left, right) = (&text[..at], groups(&text[at + 2..])?);
            let left = groups(left).filter(|_| !left.contains(&b'.'))?;
            let zeros = 8_usize.checked_sub(left.len() + right.len()).filter(|zeros| *zeros > 0)?;
            [left, vec![0; zeros], right].concat()
        }
    };
    all.try_into().ok()
}

/// Version 2: 16 bytes, the last two of which say how many follow.
fn binary(bytes: &[u8]) -> Heard {
    let [version_and_command, family_and_protocol, high, low] = match bytes.get(12..16) {
        Some(fixed) => [fixed[0], fixed[1], fixed[2], fixed[3]],
        None => return unfinished("fixed part"),
    };
    let length = 16 + (usize::from(high) << 8 | usize::from(low));
    if length > PROXY_HEADER_BYTES {
        return malformed("long header");
    }
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return malformed("version or command"),
    };
    let Some(rest) = bytes.get(16..length) else { return unfinished("addresses") };
    let (family, protocol) = (family_and_protocol >> 4, family_and_protocol & 0xf);
    // Of what the proxy says of itself, nothing counts.
    if !is_local && (family > 3 || protocol > 2) {
        return malformed("family or protocol");
    }
    let bytes_of_address = match (is_local, family, protocol) {
        (false, 1, 1 | 2) => Some(4),
        (false, 2, 1 | 2) => Some(16),
        // Unspecified, or not supported: then it counts as unspecified.
        _ => None,
    };
    let client = match bytes_of_address {
        Some(each) if rest.len() < 2 * each + 4 => return malformed("short addresses"),
        Some(each) => {
            let port = u16::from(rest[2 * each]) << 8 | u16::from(rest[2 * each + 1]);
            let address = &rest[..each];
            let ip = match <[u8; 4]>::try_from(address) {
                Ok(octets) => IpAddr::from(octets),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(address).unwrap()),
            };
            Some(SocketAddr::new(ip, port))
        }
        None => None,
    };
    seen(("binary", is_local, family.min(4), protocol.min(3), size(rest.len())));
    Heard::Header { client, length }
}
