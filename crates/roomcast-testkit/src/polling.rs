//! Polling: a task that asks for what the server has, and one that posts.

use crate::connect_error::ConnectError;
use crate::connection::{Connection, Link, Out, Polls};
use crate::disconnection::Disconnection;
use crate::handshake::Opened;
use crate::http::{Http, Lost};
use http::Method;
use roomcast_protocol::{EngineKind, Packet, Parser, SEPARATOR};
use roomcast_server::Transport;
use std::sync::Arc;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Opens a session by polling.
pub(crate) async fn open(http: Http, parser: Parser, client: &str) -> Result<Connection, ConnectError> {
    let answer = http.poll(Method::GET, None, String::new()).await;
    let answer = answer.map_err(|lost| ConnectError::new(client, lost.to_string()))?;
    if answer.status != 200 {
        return Err(ConnectError::handshake(client, answer.status, &answer.body));
    }
    let mut packets = answer.body.split(char::from(SEPARATOR));
    let Opened { sid, max_payload, .. } = Opened::read(client, packets.next().unwrap_or_default())?;
    let (out, rest) = mpsc::unbounded_channel();
    let link = Link::new(out, parser, max_payload, Transport::Polling);
    link.compression.lock().received += u64::from(answer.compressed);
    packets.for_each(|packet| link.text(packet));
    let polling = tokio::spawn(poll(http.clone(), sid.clone(), link.clone())).abort_handle();
    let posting = tokio::spawn(post(http.clone(), sid.clone(), rest, link.clone(), polling.clone())).abort_handle();
    Ok(Connection { http, sid, link, tasks: vec![polling, posting].into() })
}

/// Brings polling to its end, after everything that was given to it, and returns what is still to be sent. `None`: the
/// session has ended.
pub(crate) async fn finish(link: &Link) -> Option<UnboundedReceiver<Out>> {
    // The server answers the poll that it holds, as the WebSocket has proved that it works.
    link.polls.send_if_modified(|polls| std::mem::replace(polls, Polls::Ending) == Polls::Go);
    link.polls.subscribe().wait_for(|polls| *polls == Polls::Over).await.ok()?;
    let (done, rest) = oneshot::channel();
    link.put(Out::HandOver(done));
    rest.await.ok()
}

async fn poll(http: Http, sid: String, link: Arc<Link>) {
    let mut reading = link.reading.subscribe();
    loop {
        let answer = http.poll(Method::GET, Some(&sid), String::new()).await;
        if reading.wait_for(|reading| *reading).await.is_err() {
            return;
        }
        match answer {
            Ok(answer) if answer.status == 200 => {
                link.compression.lock().received += u64::from(answer.compressed);
                answer.body.split(char::from(SEPARATOR)).for_each(|packet| link.text(packet));
            }
            Err(Lost::Unreadable(why)) => link.end(&Disconnection::ParseError(why)),
            _ => link.end(&Disconnection::TransportClose),
        }
        if link.has_ended() {
            return;
        }
        if *link.polls.borrow() == Polls::Ending {
            link.polls.send_replace(Polls::Over);
            return;
        }
    }
}

async fn post(http: Http, sid: String, mut out: UnboundedReceiver<Out>, link: Arc<Link>, polling: AbortHandle) {
    let mut next = out.recv().await;
    while let Some(first) = next.take() {
        let mut payload = Vec::new();
        match first {
            Out::Packet(packet) => packet.push_polling(&mut payload),
            // A WebSocket's.
            Out::Frame(_) => {}
            // Everything before it was posted, and the answer has come.
            Out::Fence(fence) => fence.send(()).unwrap_or_default(),
            Out::Close => close().push_polling(&mut payload),
            // Between two polls the server would notice nothing until its ping timeout.
            Out::Leave => {
                polling.abort();
                close().push_polling(&mut payload);
            }
            Out::HandOver(to) => return drop(to.send(out)),
        }
        // As many packets in one request as the server takes, as the official client does it.
        if !payload.is_empty() {
            while let Ok(more) = out.try_recv() {
                match more {
                    Out::Packet(packet) if payload.len() + polling_bytes(&packet) <= link.max_payload => {
                        packet.push_polling(&mut payload);
                    }
                    other => {
                        next = Some(other);
                        break;
                    }
                }
            }
            let body = String::from_utf8_lossy(&payload).into_owned();
            if !matches!(http.poll(Method::POST, Some(&sid), body).await, Ok(answer) if answer.status == 200) {
                // What the server says of it comes with the next poll, whose failure ends the connection.
                return;
            }
        }
        if next.is_none() {
            next = out.recv().await;
        }
    }
}

/// The packet by which a client ends its session.
fn close() -> Packet {
    Packet::engine(EngineKind::Close, "").unwrap_or_else(|error| panic!("{error}"))
}

/// What a packet takes of a payload, with its separator.
fn polling_bytes(packet: &Packet) -> usize {
    let mut payload = Vec::new();
    packet.push_polling(&mut payload);
    payload.len() + 1
}
