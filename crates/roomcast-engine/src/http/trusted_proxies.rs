//! [`TrustedProxies`]: the proxies whose word about a client's address is believed.

use crate::limits::FORWARDED_ENTRIES;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// The header in which each proxy appends the address of its own peer. It has no constant in `http`.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of the proxies and load balancers in front of the server. What they say about a client's address is
/// believed; what others say is not. The default is none.
///
/// The client is the TCP peer, unless that is a trusted proxy. Then `X-Forwarded-For` is read from right to left, as
/// each proxy appends the address of its own peer: the first address that is not a trusted proxy is the client. If all
/// are trusted, it is the leftmost. An entry that is no address ends the search, and what was found before it counts. At
/// most 32 entries are looked at. `Forwarded` (RFC 7239) and headers of single vendors (`X-Real-IP`,
/// `CF-Connecting-IP`) are not read: any client can send them, and a proxy that does not know them passes them on.
///
/// **List only networks in which nobody but your proxies can open connections to this server.** Whoever can connect from
/// a trusted network chooses the address under which the server knows it.
///
/// As text, networks are separated by commas: `10.0.0.0/8, ::1`. An address without a prefix is that address alone.
///
/// ```
/// # use roomcast_engine::TrustedProxies;
/// let proxies: TrustedProxies = "10.0.0.0/8, fd00::/8, 127.0.0.1".parse()?;
/// assert!(proxies.contains("10.1.2.3".parse()?) && !proxies.contains("203.0.113.5".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[Network]>);

/// A text that is no network. It says what to write instead, where that is clear.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {what}")]
pub struct NetworkError {
    text: String,
    what: String,
}

impl TrustedProxies {
    /// No proxy: the client is always the TCP peer.
    pub fn none() -> Self {
        Self::default()
    }

    /// The proxies of these networks.
    ///
    /// # Errors
    /// [`NetworkError`] for the first text that is neither an address nor a network.
    pub fn new<T: AsRef<str>>(networks: impl IntoIterator<Item = T>) -> Result<Self, NetworkError> {
        networks.into_iter().map(|text| Network::parse(text.as_ref().trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address is a trusted proxy's. An IPv4 address that is written as an IPv6 one (`::ffff:10.0.0.1`), as
    /// a listener for both kinds names its peers, counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// Which entry of `X-Forwarded-For`, counted from the right and from 1, names the client. 0 is the peer itself.
    pub(crate) fn client_entry(&self, peer: IpAddr, headers: &HeaderMap) -> u8 {
        if self.is_empty() || !self.contains(peer) {
            return 0;
        }
        let values = headers.get_all(X_FORWARDED_FOR).iter().rev().map(HeaderValue::as_bytes);
        let mut found = 0;
        for entry in entries_from_the_right(values).take(FORWARDED_ENTRIES) {
            let Some(address) = address(entry) else { break };
            found += 1;
            if !self.contains(address) {
                break;
            }
        }
        found
    }
}

/// The address in an entry, which was counted by [`TrustedProxies::client_entry`]. `values` are the values of
/// `X-Forwarded-For`, the last one first.
pub(crate) fn nth_address<'a>(values: impl Iterator<Item = &'a [u8]>, entry: u8) -> Option<IpAddr> {
    let before = usize::from(entry).checked_sub(1)?;
    entries_from_the_right(values).nth(before).and_then(address)
}

/// A client may have sent any bytes, and they must not spoil the entries that proxies have added behind them.
fn entries_from_the_right<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    values.flat_map(|value| value.rsplit(|byte| *byte == b','))
}

/// Some proxies write the port too, and brackets around an IPv6 address.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let address = entry.parse::<IpAddr>().or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()));
    let in_brackets = || entry.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    address.ok().or_else(|| in_brackets().map(IpAddr::V6)).map(|address| address.to_canonical())
}

impl FromStr for TrustedProxies {
    type Err = NetworkError;

    /// Networks that are separated by commas. An empty text is none.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if text.trim().is_empty() { Ok(Self::none()) } else { Self::new(text.split(',')) }
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedProxies({self})")
    }
}

/// A network: the first address, and how many of its bits all addresses share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    V4(Ipv4Addr, u32),
    V6(Ipv6Addr, u32),
}

impl Network {
    fn parse(text: &str) -> Result<Self, NetworkError> {
        let wrong = |what: &str| NetworkError { text: text.chars().take(64).collect(), what: what.to_owned() };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            wrong("is no address or network: write an IP address such as 10.0.0.7, or a network such as 10.0.0.0/8")
        })?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            // `parse` would accept a plus sign.
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => match digits.parse() {
                Ok(prefix) if prefix <= bits => prefix,
                _ => {
                    return Err(wrong(&format!("has a wrong prefix: write a number from 0 to {bits} after the slash")));
                }
            },
            Some(_) => {
                return Err(wrong(&format!(
                    "has a wrong prefix: write a number from 0 to {bits} after the slash, and no mask"
                )));
            }
        };
        let network = Self::around(address, prefix);
        if network.first() != address {
            return Err(wrong(&format!("is not the first address of its network: write {network}")));
        }
        Ok(match network {
            // Addresses are compared in their IPv4 form.
            Self::V6(first, prefix) if prefix >= 96 => match first.to_ipv4_mapped() {
                Some(first) => Self::V4(first, prefix - 96),
                None => network,
            },
            network => network,
        })
    }

    /// The network with this prefix that has the address in it.
    fn around(address: IpAddr, prefix: u32) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(Ipv4Addr::from_bits(address.to_bits() & mask_v4(prefix)), prefix),
            IpAddr::V6(address) => Self::V6(Ipv6Addr::from_bits(address.to_bits() & mask_v6(prefix)), prefix),
        }
    }

    fn first(&self) -> IpAddr {
        match self {
            Self::V4(first, _) => IpAddr::V4(*first),
            Self::V6(first, _) => IpAddr::V6(*first),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(first, prefix), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()) & mask_v4(*prefix) == 0
            }
            (Self::V6(first, prefix), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()) & mask_v6(*prefix) == 0
            }
            _ => false,
        }
    }
}

fn mask_v4(prefix: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0)
}

fn mask_v6(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(first, 32) => first.fmt(f),
            Self::V6(first, 128) => first.fmt(f),
            Self::V4(first, prefix) => write!(f, "{first}/{prefix}"),
            Self::V6(first, prefix) => write!(f, "{first}/{prefix}"),
        }
    }
}

/// The key under which the rates of an address are kept. A single user of IPv6 has a network of 64 bits, and could use
/// another address for each connection.
pub fn rate_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask_v6(64))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks() {
        let shown = |text: &str| text.parse::<TrustedProxies>().map(|proxies| proxies.to_string());
        for (text, expected) in [
            ("", ""),
            ("  ", ""),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.7", "10.0.0.7"),
            ("10.0.0.7/32,::1/128", "10.0.0.7, ::1"),
            (" 0.0.0.0/0 , ::/0 ", "0.0.0.0/0, ::/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
        let told = |text: &str| text.parse::<TrustedProxies>().unwrap_err().to_string();
        assert_eq!(told("10.0.0.1/8"), "\"10.0.0.1/8\" is not the first address of its network: write 10.0.0.0/8");
        assert_eq!(
            told("2001:db8::1/64"),
            "\"2001:db8::1/64\" is not the first address of its network: write 2001:db8::/64"
        );
        for (text, part) in [
            ("proxy.example", "is no address or network"),
            ("unix", "is no address or network"),
            ("10.0.0.0/8,", "is no address or network"),
            ("10.0.0", "is no address or network"),
            ("10.0.0.0:80", "is no address or network"),
            ("[::1]", "is no address or network"),
            ("fe80::1%eth0", "is no address or network"),
            ("10.0.0.0/33", "0 to 32"),
            ("::/129", "0 to 128"),
            ("10.0.0.0/", "0 to 32"),
            ("10.0.0.0/+8", "no mask"),
            ("10.0.0.0/255.0.0.0", "no mask"),
            ("10.0.0.0/99999999999", "0 to 32"),
        ] {
            assert!(told(text).contains(part), "{text}: {}", told(text));
        }
        assert!(told(&"x".repeat(1_000)).len() < 300);
    }

    #[test]
    fn the_first_and_the_last_address_of_a_network_and_those_beside_it() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("192.0.2.8/29", ["192.0.2.8", "192.0.2.15"], ["192.0.2.7", "192.0.2.16"]),
            ("192.0.2.8", ["192.0.2.8", "::ffff:192.0.2.8"], ["192.0.2.9", "::c000:208"]),
            ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"], ["2001:db7::", "2001:db9::"]),
            ("::1", ["::1", "0:0::1"], ["::2", "127.0.0.1"]),
        ] {
            let proxies: TrustedProxies = network.parse().unwrap();
            assert!(inside.iter().all(|address| proxies.contains(ip(address))), "{network}");
            assert!(!outside.iter().any(|address| proxies.contains(ip(address))), "{network}");
        }
        let all: TrustedProxies = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(ip("255.255.255.255")) && !all.contains(ip("::1")));
        assert!(!TrustedProxies::none().contains(ip("127.0.0.1")));
    }

    /// The client, as it is found when the request comes and again later.
    fn client(proxies: &str, peer: &str, headers: &[&str]) -> IpAddr {
        let proxies: TrustedProxies = proxies.parse().unwrap();
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(X_FORWARDED_FOR, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        match proxies.client_entry(ip(peer), &map) {
            0 => ip(peer),
            entry => nth_address(headers.iter().rev().map(|value| value.as_bytes()), entry).unwrap(),
        }
    }

    #[test]
    fn the_first_address_from_the_right_that_is_no_proxy_is_the_client() {
        const PROXIES: &str = "10.0.0.0/8, ::1";
        for (peer, headers, expected) in [
            // Nobody is believed but a proxy.
            ("203.0.113.5", &["198.51.100.1"][..], "203.0.113.5"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::1", &["2001:db8::5"], "2001:db8::5"),
            // What stands to the left of the client is what the client sent.
            ("10.0.0.1", &["127.0.0.1, 10.9.9.9, 198.51.100.1,10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            // All trusted: the leftmost.
            ("10.0.0.1", &["10.0.0.4,10.0.0.3", "10.0.0.2"], "10.0.0.4"),
            // What is no address ends the search.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1", "é"], "10.0.0.1"),
            ("10.0.0.1", &["é, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1;"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, _hidden, 10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            // With a port, as some balancers write it.
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::5]:4711"], "2001:db8::5"),
            ("10.0.0.1", &["[2001:db8::5]"], "2001:db8::5"),
            ("10.0.0.1", &["\t198.51.100.1 "], "198.51.100.1"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
        ] {
            assert_eq!(client(PROXIES, peer, headers), ip(expected), "{peer} {headers:?}");
        }
        assert_eq!(client("", "10.0.0.1", &["198.51.100.1"]), ip("10.0.0.1"));
    }

    #[test]
    fn as_many_entries_as_are_looked_at_and_one_more() {
        let with = |proxies: usize| format!("198.51.100.1{}", ", 10.0.0.2".repeat(proxies));
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &[&with(FORWARDED_ENTRIES - 1)]), ip("198.51.100.1"));
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &[&with(FORWARDED_ENTRIES)]), ip("10.0.0.2"));
    }

    #[test]
    fn a_network_of_64_bits_has_one_key() {
        assert_eq!(rate_key(ip("2001:db8::1")), rate_key(ip("2001:db8::ffff:ffff:ffff:ffff")));
        assert_ne!(rate_key(ip("2001:db8::1")), rate_key(ip("2001:db8:0:1::1")));
        assert_eq!(rate_key(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
        assert_ne!(rate_key(ip("192.0.2.1")), rate_key(ip("192.0.2.2")));
    }
}
