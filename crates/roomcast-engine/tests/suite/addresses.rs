//! Whose address a client has, behind proxies and through the PROXY protocol, and how often an address may do what.

use crate::common::counting::Counters;
use crate::common::over::Over;
use crate::common::streams::over_streams;
use crate::common::wire::{Wire, request, upgrade};
use crate::common::{Server, until};
use roomcast_engine::{Rate, ServeOptions, TrustedProxies, bind, serve};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const POLLING: &str = "/engine.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

/// The signature of version 2, a connection of a client, over TCP and IPv4, and 12 bytes of addresses: from
/// 127.9.9.9:4711.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\x09\x09\x09\x7f\0\0\x01\x12\x67\x01\xbb";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn loopback() -> TrustedProxies {
    "127.0.0.1".parse().unwrap()
}

fn rate(text: &str) -> Option<Rate> {
    Some(text.parse().unwrap())
}

// --- X-Forwarded-For ---

/// For both transports; the address that Node knows stays the peer's.
async fn the_client_is_whom_a_trusted_proxy_names() {
    for (proxies, headers, client) in [
        (TrustedProxies::none(), &["198.51.100.1"][..], "127.0.0.1"),
        ("10.0.0.0/8".parse().unwrap(), &["198.51.100.1"], "127.0.0.1"),
        (loopback(), &["198.51.100.1"], "198.51.100.1"),
        (loopback(), &["192.0.2.1, 198.51.100.1", "127.0.0.1"], "198.51.100.1"),
        (loopback(), &["2001:db8::1"], "2001:db8::1"),
        (loopback(), &[], "127.0.0.1"),
        (loopback(), &["nonsense"], "127.0.0.1"),
    ] {
        let server = Server::with(|config| config.trusted_proxies = proxies.clone()).await;
        let headers: Vec<_> = headers.iter().map(|value| ("X-Forwarded-For", *value)).collect();
        for websocket in [false, true] {
            let mut wire = server.connect().await;
            wire.send(if websocket { upgrade(WEBSOCKET, &headers) } else { request("GET", POLLING, &headers, "") })
                .await;
            assert_eq!(wire.answer().await.status, if websocket { 101 } else { 200 });
            until("the session is open", || server.log.opened() > usize::from(websocket)).await;
            let connection = server.connection();
            assert_eq!(connection.handshake().client_address(), Some(ip(client)), "{proxies} {headers:?}");
            assert_eq!(connection.handshake().address().unwrap().ip(), ip("127.0.0.1"));
        }
        server.finish().await;
    }
}

// --- rates ---

/// Past the rate a handshake is told when to retry, for both transports. Sessions that are open go on.
async fn handshakes_at_the_rate_and_one_past_it() {
    let counters = Counters::default();
    let _guard = metrics::set_default_local_recorder(&counters);
    let server = Server::with(|config| {
        config.trusted_proxies = loopback();
        config.handshakes_per_address = rate("2/h");
    })
    .await;
    let from = |address| [("X-Forwarded-For", address)];
    let get = async |address| server.ask("GET", POLLING, &from(address), "").await;
    let first = get("198.51.100.1").await;
    assert_eq!(first.status, 200);
    let mut wire = server.connect().await;
    wire.send(upgrade(WEBSOCKET, &from("198.51.100.1"))).await;
    assert_eq!(wire.answer().await.status, 101);
    let assert_retry = |seconds: Option<String>| {
        let seconds: u32 = seconds.unwrap().parse().unwrap();
        assert!((1..=1_800).contains(&seconds), "{seconds}");
    };
    let refused = get("198.51.100.1").await;
    assert_eq!(refused.error(), (429, 3, "Too many handshakes, try again later".to_owned()));
    assert_retry(refused.header("retry-after"));
    let refused = server.refused(WEBSOCKET, &from("198.51.100.1")).await;
    assert_eq!((refused.status, &*refused.body), (429, "Too many handshakes, try again later"));
    assert_eq!(refused.header("connection").as_deref(), Some("close"));
    assert_retry(refused.header("retry-after"));
    assert_eq!(counters.of("roomcast_requests_refused_total{error=RATE_LIMITED}"), 2);
    // Other requests are no handshakes.
    server.post(&first.sid(), "4x").await.assert_ok();
    let mut probing = server.connect().await;
    probing.send(upgrade(&format!("{WEBSOCKET}&sid={}", first.sid()), &from("198.51.100.1"))).await;
    assert_eq!(probing.answer().await.status, 101);
    // Other addresses have their own; a network of IPv6 has one.
    assert_eq!(get("198.51.100.2").await.status, 200);
    assert_eq!(get("2001:db8::1").await.status, 200);
    assert_eq!(get("2001:db8::2").await.status, 200);
    assert_eq!(get("2001:db8::3").await.status, 429);
    assert_eq!(get("2001:db8:0:1::3").await.status, 200);
    server.finish().await;
}

/// The bound belongs to `serve`.
async fn connections_at_the_rate_and_one_past_it() {
    let counters = Counters::default();
    let _guard = metrics::set_default_local_recorder(&counters);
    let server = Server::serving(|_| {}, |options| options.connections_per_address = rate("2/h")).await;
    for _ in 0..2 {
        assert_eq!(server.ask("GET", "/", &[], "").await.status, 404);
    }
    for count in 1..=3 {
        let mut wire = server.connect().await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 429);
        let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=1_800).contains(&seconds), "{seconds}");
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
        wire.assert_ended().await;
        assert_eq!(counters.of("roomcast_connections_rate_limited_total"), count);
    }
    assert_eq!(counters.of("roomcast_connections_refused_total"), 0);
    server.finish().await;
    // All clients come from a trusted proxy.
    let exempt = |options: &mut ServeOptions| {
        options.connections_per_address = rate("1/h");
        options.trusted_proxies = loopback();
    };
    let server = Server::serving(|_| {}, exempt).await;
    for _ in 0..5 {
        assert_eq!(server.ask("GET", "/", &[], "").await.status, 404);
    }
    server.finish().await;
}

// --- the PROXY protocol ---

fn behind_a_proxy(options: &mut ServeOptions) {
    options.trusted_proxies = loopback();
    options.proxy_protocol = true;
}

/// Opens a session behind this header. The bytes are sent in two parts, split at `at`.
async fn open_behind(server: &Server, header: &[u8], at: usize) -> Wire {
    let bytes = [header, upgrade(WEBSOCKET, &[]).as_bytes()].concat();
    let (first, second) = bytes.split_at(at.min(bytes.len()));
    let mut wire = Wire::over(Over::Serve, server.address, false).await;
    wire.send(first).await;
    // The server reads the first part alone.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    wire.send(second).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 101, "{header:x?} {at}");
    assert!(wire.text().await.starts_with('0'));
    wire
}

/// Version 1 and version 2, in one piece and in two, of which the first ends at each byte.
async fn the_proxy_names_the_client_and_no_byte_of_the_request_is_lost() {
    let server = Server::serving(|_| {}, behind_a_proxy).await;
    let line = b"PROXY TCP4 127.9.9.9 127.0.0.1 4711 443\r\n";
    let six = b"PROXY TCP6 ::1 ::1 65535 443\r\n";
    let mut with_extension = BINARY.to_vec();
    with_extension[15] += 7;
    with_extension.extend(b"\x02\0\x04host");
    for (header, client) in [
        (&line[..], "127.9.9.9:4711"),
        (six, "[::1]:65535"),
        (BINARY, "127.9.9.9:4711"),
        (&with_extension, "127.9.9.9:4711"),
    ] {
        for at in 0..=header.len() + 1 {
            let mut wire = open_behind(&server, header, at).await;
            wire.assert_alive("x").await;
            let connection = server.connection();
            assert_eq!(connection.handshake().address(), Some(client.parse::<SocketAddr>().unwrap()));
            assert_eq!(
                connection.handshake().client_address(),
                Some(ip(client.rsplit_once(':').unwrap().0.trim_matches(['[', ']'])))
            );
        }
    }
    // The proxy speaks for itself.
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        drop(open_behind(&server, header, usize::MAX).await);
        assert_eq!(server.connection().handshake().address().unwrap().ip(), ip("127.0.0.1"));
    }
    server.finish().await;
}

async fn connections_without_the_proxy_protocol_are_closed_and_counted() {
    let counters = Counters::default();
    let _guard = metrics::set_default_local_recorder(&counters);
    let refused = |why: &str| counters.of(&format!("roomcast_proxy_headers_refused_total{{why={why}}}"));
    let server = Server::serving(
        |_| {},
        |options| {
            behind_a_proxy(options);
            options.header_timeout = Duration::from_millis(200);
        },
    )
    .await;
    for bytes in [
        request("GET", "/", &[], "").into_bytes(),
        b"PROXY TCP4 127.9.9.9 127.0.0.1 4711\r\n".to_vec(),
        [&BINARY[..12], b"\x31\x11\0\x0c"].concat(),
    ] {
        let before = refused("malformed");
        let mut wire = server.connect().await;
        wire.try_send(&bytes).await;
        wire.assert_ended().await;
        assert_eq!(refused("malformed"), before + 1, "{bytes:x?}");
    }
    // A part of a header, and a byte now and then, until the deadline.
    let mut wire = server.connect().await;
    let mut is_cut = false;
    for byte in b"PROXY TCP4 127.9.9.9 127.0.0.1 4711 443".iter().cycle().take(107) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        is_cut = !wire.try_send([*byte]).await;
        if is_cut {
            break;
        }
    }
    assert!(is_cut, "it is never cut");
    wire.assert_ended().await;
    assert_eq!(refused("late"), 1);
    // A health check that only connects is no error.
    drop(server.connect().await);
    drop(open_behind(&server, BINARY, usize::MAX).await);
    assert_eq!((refused("late"), refused("malformed"), refused("untrusted")), (1, 3, 0));
    server.finish().await;

    let server = Server::serving(
        |_| {},
        |options| {
            behind_a_proxy(options);
            options.trusted_proxies = "10.0.0.0/8".parse().unwrap();
        },
    )
    .await;
    for count in 1..=2 {
        let mut wire = server.connect().await;
        wire.try_send(BINARY).await;
        wire.assert_ended().await;
        assert_eq!(refused("untrusted"), count);
    }
    assert_eq!(server.log.requests(), 0);
    server.finish().await;
}

/// The rate is that of the client, whom the proxy names.
async fn the_named_address_counts_for_the_rate() {
    let server = Server::serving(
        |_| {},
        |options| {
            behind_a_proxy(options);
            options.connections_per_address = rate("2/h");
        },
    )
    .await;
    let ask = async |address: &str| {
        let header = format!("PROXY TCP4 {address} 127.0.0.1 4711 443\r\n");
        let mut wire = server.connect().await;
        wire.send(header + &request("GET", "/", &[], "")).await;
        wire.answer().await.status
    };
    assert_eq!([ask("127.9.9.9").await, ask("127.9.9.9").await, ask("127.9.9.9").await], [404, 404, 429]);
    assert_eq!(ask("127.9.9.8").await, 404);
    // The proxy's own health checks are exempt.
    for _ in 0..5 {
        let mut wire = server.connect().await;
        wire.send(format!("PROXY UNKNOWN\r\n{}", request("GET", "/", &[], ""))).await;
        assert_eq!(wire.answer().await.status, 404);
    }
    server.finish().await;
}

async fn the_proxy_protocol_needs_proxies() {
    let mut options = ServeOptions::default();
    options.proxy_protocol = true;
    let listener = bind("127.0.0.1:0").await.unwrap();
    let error = serve(listener, roomcast_engine::NotFound, options, std::future::ready(())).await.unwrap_err();
    assert!(error.to_string().contains("needs `trusted_proxies`"), "{error}");
}

over_streams! {
    [serve, serve_tls, awkward, axum]
    {
        current_thread: the_client_is_whom_a_trusted_proxy_names, handshakes_at_the_rate_and_one_past_it;
    }
}

mod on_a_listener {
    use super::*;

    over_streams! {
        [serve]
        {
            current_thread: connections_at_the_rate_and_one_past_it,
                the_proxy_names_the_client_and_no_byte_of_the_request_is_lost,
                connections_without_the_proxy_protocol_are_closed_and_counted, the_named_address_counts_for_the_rate,
                the_proxy_protocol_needs_proxies;
        }
    }
}
