//! `/metrics` of the internal listener, under a load that is known.

use crate::client::Client;
use crate::program::Program;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// The program with an internal listener on a free port, and that port.
fn start() -> (Program, SocketAddr) {
    // One worker: one handler of 16 is timed on each.
    let settings = [("ROOMCAST_INTERNAL_LISTEN", "127.0.0.1:0"), ("TOKIO_WORKER_THREADS", "1")];
    let mut program = Program::start(&settings);
    let mut log = String::new();
    let internal = loop {
        assert!(program.log.read_line(&mut log).unwrap() > 0, "the program has exited: {log}");
        if let Some((_, rest)) = log.split_once("metrics and health checks on http://") {
            break rest.split('/').next().unwrap().parse().unwrap();
        }
    };
    (program, internal)
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, "GET", path)
}

fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The value of a series in a scrape.
fn value<'a>(scrape: &'a str, series: &str) -> Option<&'a str> {
    scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
}

#[tokio::test]
async fn a_scrape_has_what_happened() {
    let (mut program, internal) = start();
    let public: SocketAddr = format!("127.0.0.1:{}", program.port()).parse().unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::connect(public).await);
    }
    clients[0].send("42[\"unknown\"]").await;
    // 17 joins and 17 publishes: at one of 16, the handlers 1, 17 and 33 are timed, and the broadcasts 1 and 17.
    for id in 0..17 {
        clients[0].send(&format!("42{id}[\"join\",\"a\"]")).await;
        assert!(clients[0].next().await.unwrap().starts_with(&format!("43{id}[")));
    }
    for id in 0..17 {
        clients[0].send(&format!("42{id}[\"publish\",\"a\",\"said\"]")).await;
        let both = [clients[0].next().await.unwrap(), clients[0].next().await.unwrap()];
        assert!(both.contains(&r#"42["said"]"#.to_owned()), "{both:?}");
        assert!(both.contains(&format!("43{id}[{{\"ok\":true}}]")), "{both:?}");
    }
    clients.pop().unwrap().close().await;

    let answer = get(internal, "/metrics");
    let (head, scrape) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    for (series, expected) in [
        ("roomcast_sessions_opened_total{transport=\"websocket\"}", "3"),
        ("roomcast_sessions_opened_total{transport=\"polling\"}", "0"),
        ("roomcast_sockets_connected_total", "3"),
        ("roomcast_events_unhandled_total", "1"),
        ("roomcast_events_received_total{namespace=\"/\"}", "35"),
        ("roomcast_handler_duration_seconds_count{namespace=\"/\"}", "3"),
        ("roomcast_handler_duration_seconds_bucket{namespace=\"/\",le=\"+Inf\"}", "3"),
        ("roomcast_connect_duration_seconds_count{namespace=\"/\"}", "1"),
        ("roomcast_broadcast_duration_seconds_count", "2"),
        ("roomcast_ping_rtt_seconds_count", "0"),
        // An open packet and the answer to CONNECT for each, 34 answers, 17 events, and a close frame.
        ("roomcast_packets_delivered_total{transport=\"websocket\"}", "58"),
        ("roomcast_packets_delivered_total{transport=\"polling\"}", "0"),
        ("roomcast_sessions_closed_total{reason=\"transport close\",transport=\"websocket\"}", "1"),
        ("roomcast_sessions_closed_total{reason=\"slow consumer\",transport=\"polling\"}", "0"),
        ("roomcast_sessions{transport=\"websocket\"}", "2"),
        ("roomcast_sessions{transport=\"polling\"}", "0"),
        ("roomcast_sessions_max", "100000"),
        ("roomcast_sockets{namespace=\"/\"}", "2"),
        ("roomcast_rooms{namespace=\"/\"}", "1"),
        ("roomcast_outbox_packets", "0"),
        ("roomcast_outbox_largest_bytes", "0"),
        ("roomcast_namespaces", "1"),
        ("roomcast_ready", "1"),
        ("roomcast_slow_consumers_total", "0"),
        ("roomcast_cluster_dropped_total{why=\"full\"}", "0"),
    ] {
        assert_eq!(value(scrape, series), Some(expected), "{series} in\n{scrape}");
    }
    assert!(scrape.contains("# HELP roomcast_sessions Open sessions"), "{scrape}");
    assert!(scrape.contains("roomcast_build_info{version=\""), "{scrape}");
    for (series, least) in [
        // Each of the 17 events has 15 bytes, and a frame's header of two.
        ("roomcast_sent_bytes_total{transport=\"websocket\"}", 17.0 * 17.0),
        ("roomcast_received_bytes_total{transport=\"websocket\"}", 35.0 * 10.0),
        ("roomcast_handler_duration_seconds_sum{namespace=\"/\"}", 0.0),
        ("roomcast_outbox_budget_bytes", 1.0),
        #[cfg(target_os = "linux")]
        ("process_resident_memory_bytes", 1e6),
    ] {
        let value = value(scrape, series).and_then(|value| value.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > least), "{series} is {value:?} in\n{scrape}");
    }
    for absent in ["roomcast_cluster_peers", "roomcast_redis_up", "roomcast_redis_rtt_seconds_count"] {
        assert!(value(scrape, absent).is_none(), "there is no cluster");
    }
    assert!(get(internal, "/readyz").contains("\"ready\":true"));
    assert!(get(internal, "/").starts_with("HTTP/1.1 404"));
    assert!(get(public, "/metrics").starts_with("HTTP/1.1 404"), "the public does not see them");
    assert!(get(public, "/").contains("<!doctype html>"));
    for (address, path) in [(internal, "/metrics"), (public, "/")] {
        let (head, body) =
            ask(address, "HEAD", path).split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head}");
        for (method, status) in [("OPTIONS", "204"), ("DELETE", "405")] {
            let answer = ask(address, method, path);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains("allow: GET, HEAD, OPTIONS"),
                "{answer}"
            );
        }
    }
}

#[test]
fn an_address_that_cannot_be_used_is_refused() {
    let log = Program::start(&[("ROOMCAST_INTERNAL_LISTEN", "9090")]).log_of_failure();
    assert!(log.contains("ROOMCAST_INTERNAL_LISTEN: 9090 is no address") && log.contains("write HOST:PORT"), "{log}");
}

#[test]
fn internal_connections_at_the_limit_and_one_past_it() {
    let (_program, internal) = start();
    let mut kept: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(internal).unwrap()).collect();
    // Each is answered and stays open.
    for stream in &mut kept {
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    assert!(get(internal, "/healthz").starts_with("HTTP/1.1 503"));
}
