//! What of a request's headers and query decides, each beside a second reading: `X-Forwarded-For` behind trusted proxies,
//! `Accept-Encoding`, lists of tokens, and the query.

use super::proxy_header::{v4, v6};
use crate::input::Input;
use crate::novelty::{seen, size};
use http::header::{ACCEPT_ENCODING, CONNECTION, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use roomcast_engine::fuzzing::headers::{Query, has_token, preferred_encoding, query};
use roomcast_engine::limits::FORWARDED_ENTRIES;
use roomcast_engine::{Handshake, PeerAddr, TrustedProxies};
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => forwarded(&mut input),
        1 => encodings(&values(&mut input)),
        2 => tokens(&values(&mut input)),
        _ => queries(&String::from_utf8_lossy(input.rest())),
    }
}

/// The values of one header, in the order of their lines.
fn values(input: &mut Input<'_>) -> Vec<HeaderValue> {
    let mut values = Vec::new();
    while !input.is_empty() && values.len() < 6 {
        values.extend(HeaderValue::from_bytes(input.piece()).ok());
    }
    values
}

fn headers(name: &HeaderName, values: &[HeaderValue]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name, value.clone());
    }
    headers
}

/// Several lines of a header are one list (RFC 9110, 5.3).
fn joined(values: &[HeaderValue]) -> Vec<u8> {
    values.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b","[..])
}

/// The values as one line. `None` if one of them is not ASCII text: it is ignored, where a whole line would be too.
fn one_line(values: &[HeaderValue]) -> Option<(String, Vec<HeaderValue>)> {
    let text = values.iter().map(|value| value.to_str().ok()).collect::<Option<Vec<&str>>>()?.join(",");
    let value = HeaderValue::try_from(&text).ok()?;
    Some((text, if values.is_empty() { Vec::new() } else { vec![value] }))
}

// --- X-Forwarded-For ---

/// Networks, and the same as first address and number of bits.
const NETWORKS: [(&str, &[(&str, usize)]); 5] = [
    ("10.0.0.0/8, ::1", &[("10.0.0.0", 8), ("::1", 128)]),
    ("", &[]),
    ("192.0.2.8/29,2001:db8::/33", &[("192.0.2.8", 29), ("2001:db8::", 33)]),
    ("0.0.0.0/0", &[("0.0.0.0", 0)]),
    ("::ffff:10.0.0.0/104, ::/0", &[("10.0.0.0", 8), ("::", 0)]),
];

const PEERS: [&str; 6] = ["10.0.0.1", "::ffff:10.255.0.1", "192.0.2.15", "203.0.113.5", "::1", "2001:db8:7fff::1"];

fn forwarded(input: &mut Input<'_>) {
    let (networks, trusted) = input.choice(&NETWORKS);
    let peer: IpAddr = input.choice(&PEERS).parse().unwrap();
    let values = values(input);
    let proxies: TrustedProxies = networks.parse().unwrap();
    let client = |values: &[HeaderValue]| {
        let (mut request, ()): (Parts, ()) = http::Request::new(()).into_parts();
        request.headers = headers(&FORWARDED_FOR, values);
        request.extensions.insert(PeerAddr(SocketAddr::new(peer, 4_711)));
        let told = proxies.client_address(&request).expect("a peer has an address");
        assert_eq!(Handshake::behind(&proxies, &request).client_address(), Some(told), "what is kept says otherwise");
        told
    };
    let told = client(&values);
    let is_trusted = |address: IpAddr| trusted.iter().any(|(first, bits)| is_in(address, first, *bits));
    let (expected, entries) = walk(peer, &joined(&values), is_trusted);
    assert_eq!(told, expected, "behind {networks:?}");
    assert_eq!(proxies.contains(told), is_trusted(told));
    if !is_trusted(told) {
        // A client may send what it likes: its proxies append to that.
        for claim in ["198.51.100.99", "10.0.0.9,::1", "\"", "unknown, 10.0.0.9,"] {
            let claimed = [&[HeaderValue::from_static(claim)], &values[..]].concat();
            assert_eq!(client(&claimed), told, "{claim:?} in front changes the client");
        }
    }
    seen(("forwarded", networks, size(entries), is_trusted(told), told.is_ipv4(), values.len().min(3)));
}

/// Compares bit by bit. Addresses of IPv4 inside IPv6 are those of IPv4.
fn is_in(address: IpAddr, first: &str, bits: usize) -> bool {
    let bits_of = |address: IpAddr| -> Vec<bool> {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1)).collect()
    };
    let (address, first) = (bits_of(address.to_canonical()), bits_of(first.parse().unwrap()));
    address.len() == first.len() && address[..bits] == first[..bits]
}

/// Whom one believes: the peer names its own peer last, which names its own before that, as long as each is a proxy of
/// ours. Returns the client, and how many entries were believed.
fn walk(peer: IpAddr, list: &[u8], is_trusted: impl Fn(IpAddr) -> bool) -> (IpAddr, usize) {
    let mut client = peer.to_canonical();
    for (believed, entry) in list.rsplit(|byte| *byte == b',').take(FORWARDED_ENTRIES).enumerate() {
        match address(entry) {
            Some(named) if is_trusted(client) => client = named,
            _ => return (client, believed),
        }
    }
    (client, FORWARDED_ENTRIES)
}

/// An address, perhaps with a port, and perhaps in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let inside = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or_default();
    let plain = v4(entry.as_bytes()).map(IpAddr::from);
    let plain = plain.or_else(|| v6(entry.as_bytes()).or_else(|| v6(inside.as_bytes())).map(IpAddr::from));
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    plain.or_else(with_port).map(|address| address.to_canonical())
}

// --- Accept-Encoding ---

fn encodings(values: &[HeaderValue]) {
    let chosen = preferred_encoding(&headers(&ACCEPT_ENCODING, values));
    let sent = joined(values).to_ascii_lowercase();
    let names = |name: &str| sent.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(chosen.is_none_or(|chosen| names(chosen) || names("*")), "{chosen:?} was never named");
    let Some((text, line)) = one_line(values) else { return };
    assert_eq!(preferred_encoding(&headers(&ACCEPT_ENCODING, &line)), chosen, "as one line");
    let weights: Option<Vec<(String, u32)>> = text.split(',').map(item).collect();
    seen(("encodings", chosen, weights.is_some(), text.split(',').count().min(5)));
    // Other numbers are read in some way.
    let Some(items) = weights else { return };
    let rank = |name: &str| {
        let named = |wanted: &str| {
            let found = items.iter().enumerate().filter(|(_, (name, _))| name == wanted);
            found.map(|(at, (_, weight))| (*weight, items.len() - at)).max()
        };
        let (weight, is_named, before) = match (named(name), named("*")) {
            (Some((weight, before)), _) => (weight, true, before),
            (None, Some((weight, before))) => (weight, false, before),
            (None, None) => return None,
        };
        (weight > 0).then_some((weight, is_named, before))
    };
    let (gzip, deflate) = (rank("gzip"), rank("deflate"));
    let expected = match gzip.max(deflate) {
        None => None,
        best if best == gzip => Some("gzip"),
        _ => Some("deflate"),
    };
    assert_eq!(chosen, expected, "of {text:?}");
}

/// Name and weight, in thousandths. `None` if the weight is not one (RFC 9110, 12.4.2).
fn item(text: &str) -> Option<(String, u32)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let Some((_, weight)) = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim() == "q") else {
        return Some((name, 1_000));
    };
    let (whole, decimals) = weight.trim().split_once('.').unwrap_or((weight.trim(), ""));
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{whole}{decimals:0<3}").parse().ok()?;
    (thousandths <= 1_000).then_some((name, thousandths))
}

// --- lists of tokens ---

fn tokens(values: &[HeaderValue]) {
    let has = |values: &[HeaderValue], token: &str| has_token(&headers(&CONNECTION, values), &CONNECTION, token);
    let chosen = has(values, "upgrade");
    let listed = values.iter().filter(|value| value.to_str().is_ok()).any(|value| {
        value.as_bytes().to_ascii_lowercase().split(|byte| *byte == b',').any(|token| token.trim_ascii() == b"upgrade")
    });
    assert_eq!(chosen, listed, "of {values:?}");
    if let Some((text, line)) = one_line(values) {
        assert_eq!(has(&line, "upgrade"), chosen, "as one line");
        for token in text.split(',').map(str::trim).filter(|token| !token.is_empty()) {
            assert!(has(values, token) && has(values, &token.to_ascii_uppercase()), "{token:?} is in the list");
        }
    }
    seen(("tokens", chosen, values.len().min(3), size(joined(values).len())));
}

// --- the query ---

fn queries(text: &str) {
    let told = query(text);
    let mut expected = Query::default();
    for pair in text.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value);
        match &*decoded(name) {
            "EIO" => expected.protocol = Some(value),
            "transport" => expected.transport = Some(value),
            // An empty one counts as none, also where another stands before it.
            "sid" => expected.sid = Some(value).filter(|sid| !sid.is_empty()),
            "b64" => expected.base64 = !value.is_empty(),
            "j" => expected.jsonp = true,
            _ => {}
        }
    }
    assert_eq!(told, expected, "of {text:?}");
    let Query { protocol, transport, sid, base64, jsonp } = told;
    seen((
        "query",
        protocol.map(|it| size(it.len())),
        transport.map(|it| size(it.len())),
        sid.is_some(),
        base64,
        jsonp,
    ));
}

/// As forms are encoded: `+` is a space, `%` begins a byte, and what is not UTF-8 is replaced.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        (rest, _) = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => (&after[2..], bytes.push((high << 4 | low) as u8)),
            (b'+', ..) => (after, bytes.push(b' ')),
            (other, ..) => (after, bytes.push(*other)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
