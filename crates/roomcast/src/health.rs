//! `roomcast health`: asks a running server for its health.

use crate::settings::typed::Settings;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the answer may take. Orchestrators give a check one to five seconds by default, and end it themselves.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 * 1_024;

/// Asks the server that listens on `host` and `port`. Prints its answer, and returns the process's exit code.
pub(crate) async fn ask(host: &str, port: u16, ready: bool) -> ExitCode {
    let path = if ready { "/readyz" } else { "/healthz" };
    let host = reachable(host);
    let asked = timeout(TIMEOUT, get(host, port, path)).await;
    match asked.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs()).into())) {
        Ok((status, answer)) => {
            println!("{answer}");
            if status == StatusCode::OK { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!(
                "roomcast: no health from http://{host}:{port}{path}: {error}; does a server run there? See HOST and PORT"
            );
            ExitCode::FAILURE
        }
    }
}

/// Where to ask: the listener of clients, or the internal one if that of clients does not speak plain HTTP.
pub(crate) fn address(settings: &Settings) -> (String, u16) {
    let listen = &settings.listen;
    let is_plain = listen.tls_cert_file.is_none() && !listen.proxy_protocol;
    let internal = settings.internal.listen.as_deref().filter(|_| !is_plain);
    let internal = internal.and_then(|address| address.rsplit_once(':'));
    match internal.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?))) {
        Some(internal) => internal,
        None => (listen.host.clone(), listen.port),
    }
}

/// A server that listens on all addresses is asked on the loopback address.
fn reachable(host: &str) -> &str {
    match host {
        "0.0.0.0" => "127.0.0.1",
        "::" | "[::]" => "::1",
        host => host,
    }
}

async fn get(host: &str, port: u16, path: &str) -> Result<(StatusCode, String), Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, "localhost").body(Empty::<bytes::Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), ANSWER_BYTES).collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&answer).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_loopback() {
        assert_eq!(
            ["0.0.0.0", "::", "10.0.0.7", "localhost"].map(reachable),
            ["127.0.0.1", "::1", "10.0.0.7", "localhost"]
        );
    }
}
