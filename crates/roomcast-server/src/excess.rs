//! What becomes of a packet that exceeds a rate: it is dropped, answered with an error, or ends the connection.

use crate::error::ConnectError;
use crate::link::Link;
use crate::parts::Socket;
use crate::rates::{ConnectionRates, Cost, Excess};
use roomcast_engine::CloseReason;
use roomcast_protocol::{Args, Packet, Received};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

const EXCEEDED: &str = "rate limit exceeded";

/// Whether a packet is within the rates of its connection. If it is not, everything has been done about it.
///
/// A packet that nobody would handle is admitted: it ends the connection, or was sent before the client knew that it was disconnected
/// from the namespace. A DISCONNECT is never dropped, because its client has left; for each there was a CONNECT, which counts.
pub(crate) fn admits(rates: &ConnectionRates, link: &Link<Socket>, packet: &Received<'_>, bytes: usize) -> bool {
    let (namespace, events, socket) = match packet {
        Received::Connect { .. } if rates.is_first_connect() => return true,
        Received::Connect { namespace, .. } => (namespace, 1, None),
        Received::Event { namespace, .. } => (namespace, 1, link.named(namespace)),
        Received::Ack { namespace, .. } => (namespace, 0, link.named(namespace)),
        Received::Disconnect { .. } | Received::ConnectError { .. } => return true,
    };
    if !matches!(packet, Received::Connect { .. }) && socket.as_ref().is_none_or(Socket::is_undecided) {
        return true;
    }
    let cost = Cost { events, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) };
    let Err(excess) = rates.take(cost, Instant::now()) else { return true };
    metrics::counter!("roomcast_packets_over_rate_total", "limit" => excess.limit, "what" => excess.what).increment(1);
    log(&excess, link, socket.as_ref());
    if excess.close {
        link.connection.close_as(CloseReason::RateLimit);
        return false;
    }
    let retry_after_ms = milliseconds(excess.wait);
    let Some(socket) = socket else {
        link.refuse(namespace, &ConnectError::new(EXCEEDED).with_data(&Retry { retry_after_ms }));
        return false;
    };
    // What cannot be sent needs no more than that: the socket or its connection is at its end.
    if excess.warn
        && let Some(name) = rates.all().warning()
    {
        let _ = socket.emit(name, &Warning { limit: excess.limit, retry_after_ms });
    }
    if excess.answer
        && let Received::Event { id: Some(id), .. } = packet
        && let Ok(args) = Args::of(&Refusal { ok: false, error: EXCEEDED, retry_after_ms })
        && let Ok(packet) = Packet::ack(namespace, *id, &args)
    {
        let _ = socket.send_packet(packet);
    }
    false
}

fn log(excess: &Excess, link: &Link<Socket>, socket: Option<&Socket>) {
    let Excess { limit, what, close, .. } = *excess;
    let id = socket.map(|socket| tracing::field::display(socket.id()));
    let namespace = socket.map(|socket| socket.namespace().name());
    let client = link.connection.handshake();
    if excess.log {
        tracing::warn!(
            socket = id,
            namespace,
            address = ?client.client_address(),
            limit,
            what,
            close,
            "a client sends more than a rate limit allows; what exceeds it is not handled. Logged once per connection in ten minutes"
        );
    } else {
        tracing::debug!(socket = id, namespace, address = ?client.client_address(), limit, what, close, "a packet exceeds a rate limit");
    }
}

/// Rounded up, so that a client which waits for so long is within the limit.
fn milliseconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The argument of the event that warns a client.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning {
    limit: &'static str,
    retry_after_ms: u64,
}

/// The answer to an event that was dropped.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    ok: bool,
    error: &'static str,
    retry_after_ms: u64,
}

/// The data of a CONNECT_ERROR.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Retry {
    retry_after_ms: u64,
}
