//! [`ProxyHeader`]: the PROXY protocol, versions 1 and 2, by which a proxy names the client of a TCP connection before
//! the client's first byte (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).
//!
//! It is decided from bytes alone, and says how many more it needs, so that the reader takes none of what follows.

use crate::limits::PROXY_HEADER_BYTES;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What version 2 begins with. Version 1 has as many bytes at least.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";

/// The longest line of version 1, with its line ending.
const LONGEST_LINE: usize = 107;

/// The part of version 2 before its addresses.
const FIXED: usize = SIGNATURE.len() + 4;

/// What a proxy says about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// The proxy speaks for this client.
    Client(SocketAddr),
    /// The proxy speaks for itself, as for a health check, or does not know the client.
    Peer,
}

/// What the bytes so far mean.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The header is complete, and ends with the last byte.
    Done(ProxyHeader),
    /// This many more bytes belong to the header for certain; at least one.
    Needs(usize),
    /// A line of version 1 has begun. It ends with the first line feed, within this many more bytes.
    NeedsLine(usize),
}

/// The bytes are no header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl ProxyHeader {
    /// Reads what has come so far. `bytes` must end at most where the header does: the caller reads no more than it is
    /// told to.
    pub(crate) fn read(bytes: &[u8]) -> Result<Progress, Malformed> {
        if bytes.is_empty() {
            // The shortest header has 15 bytes, so these belong to it in either version.
            return Ok(Progress::Needs(SIGNATURE.len()));
        }
        let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, expected)| byte == expected);
        if begins(&SIGNATURE) {
            Self::read_binary(bytes)
        } else if begins(WORD) {
            Self::read_line(bytes)
        } else {
            Err(Malformed)
        }
    }

    fn read_line(bytes: &[u8]) -> Result<Progress, Malformed> {
        let Some(line) = bytes.strip_suffix(b"\n") else {
            return match LONGEST_LINE.checked_sub(bytes.len()) {
                Some(left @ 1..) if !bytes.contains(&b'\n') => Ok(match WORD.len().checked_sub(bytes.len()) {
                    Some(needed @ 1..) => Progress::Needs(needed),
                    _ => Progress::NeedsLine(left),
                }),
                _ => Err(Malformed),
            };
        };
        let line = line.strip_suffix(b"\r").filter(|_| bytes.len() <= LONGEST_LINE).ok_or(Malformed)?;
        if line.split(|byte| *byte == b' ').nth(1) == Some(b"UNKNOWN") {
            // Whatever follows is to be ignored.
            return Ok(Progress::Done(Self::Peer));
        }
        let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
        let mut words = line.split(' ').skip(1);
        let mut word = || words.next().ok_or(Malformed);
        let family = word()?;
        let (source, destination, port) = (word()?, word()?, word()?);
        number(word()?)?;
        let (source, destination): (IpAddr, IpAddr) = match family {
            "TCP4" => (read::<Ipv4Addr>(source)?.into(), read::<Ipv4Addr>(destination)?.into()),
            "TCP6" => (read::<Ipv6Addr>(source)?.into(), read::<Ipv6Addr>(destination)?.into()),
            _ => return Err(Malformed),
        };
        let _ = destination;
        let port = number(port)?;
        if words.next().is_some() {
            return Err(Malformed);
        }
        Ok(Progress::Done(Self::Client(SocketAddr::new(source, port))))
    }

    fn read_binary(bytes: &[u8]) -> Result<Progress, Malformed> {
        let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
            return Ok(Progress::Needs(FIXED - bytes.len()));
        };
        let [.., command, family, high, low] = *fixed;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if FIXED + length > PROXY_HEADER_BYTES {
            return Err(Malformed);
        }
        let is_local = match command {
            0x20 => true,
            0x21 => false,
            _ => return Err(Malformed),
        };
        if let Some(needed @ 1..) = length.checked_sub(rest.len()) {
            return Ok(Progress::Needs(needed));
        }
        if rest.len() > length {
            return Err(Malformed);
        }
        if is_local {
            return Ok(Progress::Done(Self::Peer));
        }
        // Source, destination, source port, destination port; then extensions, which are ignored.
        let client = match (family >> 4, family & 0xf) {
            // Unspecified, or a Unix socket.
            (0, 0..=2) | (1 | 2, 0) | (3, 0..=2) => None,
            (1, 1 | 2) => {
                let (addresses, _) = rest.split_first_chunk::<12>().ok_or(Malformed)?;
                let [a, b, c, d, _, _, _, _, high, low, ..] = *addresses;
                Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
            }
            (2, 1 | 2) => {
                let (addresses, _) = rest.split_first_chunk::<36>().ok_or(Malformed)?;
                let (source, _) = addresses.split_first_chunk::<16>().ok_or(Malformed)?;
                let [.., high, low, _, _] = *addresses;
                Some(SocketAddr::new(Ipv6Addr::from(*source).into(), u16::from_be_bytes([high, low])))
            }
            _ => return Err(Malformed),
        };
        Ok(Progress::Done(client.map_or(Self::Peer, Self::Client)))
    }
}

/// How many of the bytes that have arrived behind the beginning of a line may be read: those up to its line feed, and at
/// most `most`. At least one, so that the read waits if none has arrived.
pub(crate) fn line_part(ahead: &[u8], most: usize) -> usize {
    let ahead = ahead.get(..most).unwrap_or(ahead);
    ahead.iter().position(|byte| *byte == b'\n').map_or(ahead.len(), |end| end + 1).max(1)
}

fn read<T: std::str::FromStr>(text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_| Malformed)
}

/// A port, without leading zeros.
fn number(text: &str) -> Result<u16, Malformed> {
    let is_shortest = text == "0" || !text.starts_with('0');
    if is_shortest && text.bytes().all(|byte| byte.is_ascii_digit()) { read(text) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header as the server does, one byte at a time or as many as it may, and returns what it means and how
    /// many bytes were taken.
    fn take(bytes: &[u8], one_by_one: bool) -> Result<Option<(ProxyHeader, usize)>, Malformed> {
        let mut taken = 0;
        loop {
            let ahead = &bytes[taken..];
            let ahead = if one_by_one { &ahead[..ahead.len().min(1)] } else { ahead };
            let needed = match ProxyHeader::read(&bytes[..taken])? {
                Progress::Done(header) => return Ok(Some((header, taken))),
                Progress::Needs(needed) => needed,
                Progress::NeedsLine(most) => line_part(ahead, most),
            };
            assert!(needed > 0 && taken + needed <= PROXY_HEADER_BYTES);
            if ahead.is_empty() {
                return Ok(None);
            }
            taken += needed.min(ahead.len());
        }
    }

    fn both(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, Malformed> {
        let at_once = take(bytes, false);
        assert_eq!(take(bytes, true), at_once, "{bytes:x?}");
        at_once
    }

    /// Nothing of the request behind the header is taken.
    fn check(header: &[u8], expected: ProxyHeader) {
        for behind in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"\n", b"\r\n\r\n\0\r\nQUIT\n", &[0; 300]] {
            assert_eq!(both(&[header, behind].concat()), Ok(Some((expected, header.len()))), "{header:x?}");
        }
        // Any part of it is waited for.
        for length in 0..header.len() {
            assert_eq!(both(&header[..length]), Ok(None), "{:x?}", &header[..length]);
        }
    }

    fn client(address: &str) -> ProxyHeader {
        ProxyHeader::Client(address.parse().unwrap())
    }

    #[test]
    fn lines() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n", client("192.0.2.1:4711")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client("255.255.255.255:65535")),
            ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", client("0.0.0.0:0")),
            ("PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", client("[2001:db8::1]:4711")),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            ("PROXY UNKNOWN\r\n", ProxyHeader::Peer),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ProxyHeader::Peer),
            ("PROXY UNKNOWN what ever\r\n", ProxyHeader::Peer),
        ] {
            check(line.as_bytes(), expected);
        }
        // Whatever bytes they are.
        check(b"PROXY UNKNOWN \xff\xfe\0\r \r\n", ProxyHeader::Peer);
        // The longest line, and one past it.
        let long = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
        check(long(LONGEST_LINE).as_bytes(), ProxyHeader::Peer);
        assert_eq!(both(long(LONGEST_LINE + 1).as_bytes()), Err(Malformed));
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 x\r\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 4711 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 04711 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 x\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.1 4711 443\r\n",
            "PROXY TCP4 2001:db8::1 ::1 4711 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 4711 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UNKNOWN a\nb\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 4711 443\r\n",
            "PROXY TCP4 192.0.2.1\r 198.51.100.1 4711 443\r\n",
            "PROXY \u{e9}\r\n",
        ] {
            assert_eq!(both(line.as_bytes()), Err(Malformed), "{line:?}");
        }
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [&SIGNATURE[..], &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    #[test]
    fn binary_headers() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xbb];
        let mut six = [0; 36];
        (six[0], six[1], six[15], six[32], six[33]) = (0x20, 1, 9, 0x12, 0x67);
        let with = |addresses: &[u8], extensions: usize| [addresses, &vec![7; extensions]].concat();
        for (header, expected) in [
            (binary(0x21, 0x11, &four), client("192.0.2.1:4711")),
            (binary(0x21, 0x12, &four), client("192.0.2.1:4711")),
            (binary(0x21, 0x11, &with(&four, 100)), client("192.0.2.1:4711")),
            (binary(0x21, 0x21, &six), client("[2001::9]:4711")),
            (binary(0x21, 0x21, &with(&six, 1)), client("[2001::9]:4711")),
            (binary(0x20, 0x00, &[]), ProxyHeader::Peer),
            (binary(0x20, 0x11, &four), ProxyHeader::Peer),
            // The family of a connection that the proxy made itself is to be ignored.
            (binary(0x20, 0xff, &[1, 2, 3]), ProxyHeader::Peer),
            (binary(0x21, 0x00, &[]), ProxyHeader::Peer),
            (binary(0x21, 0x00, &with(&[], 20)), ProxyHeader::Peer),
            (binary(0x21, 0x31, &[0; 216]), ProxyHeader::Peer),
        ] {
            check(&header, expected);
        }
        // The longest header, and one past it, which is refused before its addresses have come.
        check(&binary(0x21, 0x11, &with(&four, PROXY_HEADER_BYTES - FIXED - 12)), client("192.0.2.1:4711"));
        let past = binary(0x21, 0x11, &with(&four, PROXY_HEADER_BYTES - FIXED - 11));
        assert_eq!(both(&past[..FIXED]), Err(Malformed));
        for header in [
            binary(0x11, 0x11, &four),
            binary(0x22, 0x11, &four),
            binary(0x01, 0x11, &four),
            binary(0x21, 0x41, &four),
            binary(0x21, 0x13, &four),
            binary(0x21, 0x11, &four[..11]),
            binary(0x21, 0x21, &six[..35]),
        ] {
            assert_eq!(both(&header), Err(Malformed), "{header:x?}");
        }
        assert_eq!(both(b"\r\n\r\n\0\r\nQUIX"), Err(Malformed));
    }

    /// Whatever comes, it is decided within the bound, and the same in one piece as byte by byte.
    #[test]
    fn random_bytes_are_decided_within_the_bound() {
        let mut state = 7_u64;
        let mut draw = move |most: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % most
        };
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xbb];
        let seeds = [
            b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\nGET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            binary(0x21, 0x11, &four),
            binary(0x21, 0x21, &[9; 60]),
            binary(0x20, 0x00, &[]),
        ];
        let (mut done, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut bytes = seeds[draw(seeds.len())].clone();
            for _ in 0..draw(4) {
                let at = draw(bytes.len());
                match draw(4) {
                    0 => bytes[at] = draw(256) as u8,
                    1 => bytes[at] ^= 1 << draw(8),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b" \r\n0:.P\0"[draw(8)]),
                }
            }
            bytes.extend((0..draw(200)).map(|_| draw(256) as u8));
            match both(&bytes) {
                Ok(Some((_, taken))) => {
                    assert!(taken <= PROXY_HEADER_BYTES && taken <= bytes.len());
                    done += 1;
                }
                Ok(None) => {}
                Err(Malformed) => refused += 1,
            }
        }
        assert!(done > 1_000 && refused > 1_000, "{done} {refused}");
    }
}
