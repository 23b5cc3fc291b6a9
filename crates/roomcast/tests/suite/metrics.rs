//! `/metrics` of the internal listener, under a load that is known.

use crate::client::Client;
use crate::program::Program;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// The program with an internal listener on a free port, and that port.
fn start() -> (Program, SocketAddr) {
    let mut program = Program::start(&[("ROOMCAST_INTERNAL_LISTEN", "127.0.0.1:0")]);
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
    clients[0].send("421[\"join\",\"a\"]").await;
    assert!(clients[0].next().await.unwrap().starts_with("431["));
    clients.pop().unwrap().close().await;

    let answer = get(internal, "/metrics");
    let (head, scrape) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    for (series, expected) in [
        ("roomcast_sessions_opened_total{transport=\"websocket\"}", "3"),
        ("roomcast_sessions_opened_total{transport=\"polling\"}", "0"),
        ("roomcast_sockets_connected_total", "3"),
        ("roomcast_events_unhandled_total", "1"),
        ("roomcast_sessions_closed_total", "1"),
        ("roomcast_sessions", "2"),
        ("roomcast_sockets", "2"),
        ("roomcast_namespaces", "1"),
        ("roomcast_ready", "1"),
        ("roomcast_slow_consumers_total", "0"),
        ("roomcast_cluster_dropped_total{why=\"full\"}", "0"),
    ] {
        assert_eq!(value(scrape, series), Some(expected), "{series} in\n{scrape}");
    }
    assert!(scrape.contains("# HELP roomcast_sessions Open sessions"), "{scrape}");
    assert!(scrape.contains("roomcast_build_info{version=\""), "{scrape}");
    assert!(value(scrape, "roomcast_cluster_peers").is_none(), "there is no cluster");
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
