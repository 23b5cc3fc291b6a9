//! GET: fetches what is queued, or waits for it.

use crate::connections::connection::Connection;
use crate::http::body::{Body, empty};
use crate::http::compressed::count_compressed;
use crate::http::encodings::preferred;
use crate::session::close_reason::CloseReason;
use crate::session::outbox::cost;
use crate::session::state::PollReply;
use crate::session::transport::Transport;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use roomcast_protocol::deflate::{Deflate, Format, compress_body};
use roomcast_protocol::{Charge, Packet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Answers a GET with what is queued, or with the first packet that comes.
pub(crate) async fn get(connection: &Arc<Connection>, request: &Parts) -> Response<Body> {
    let begun = connection.shared().session.begin_poll();
    if begun.is_err() {
        connection.fail_polling(CloseReason::TransportError, "overlap from client");
        return empty(StatusCode::BAD_REQUEST);
    }
    let mut held = Held { connection, answered: false };
    let compression = connection.sessions().config.http_compression.as_ref();
    let compression = compression.and_then(|deflate| Some((deflate, preferred(&request.headers)?)));
    let (payload, encoding) = poll_fn(|cx| take_payload(connection, compression, cx)).await;
    held.answered = true;
    connection.finish_if_over();
    let mut response = Response::new(Body::from(payload));
    let headers = response.headers_mut();
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    common_headers(request, headers);
    response
}

/// A held GET. If it is dropped before it is answered, the client is gone, unless it has just moved to a WebSocket.
struct Held<'a> {
    connection: &'a Arc<Connection>,
    answered: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.fail_polling(CloseReason::TransportError, "poll connection closed prematurely");
        }
    }
}

/// How to compress an answer, and in which form the client takes it.
type Compression<'a> = Option<(&'a Deflate, Format)>;

/// The answer to the held GET, and its encoding if it is compressed. Once there is one, the GET is no longer held: a packet or an end that comes before the
/// answer has left waits for the next GET.
fn take_payload(
    connection: &Arc<Connection>,
    compression: Compression<'_>,
    cx: &mut Context<'_>,
) -> Poll<(Bytes, Option<Format>)> {
    let mut batch: Vec<Arc<Packet>> = Vec::new();
    {
        let mut shared = connection.shared();
        let drained = shared.outlet.outbox.is_drained();
        match shared.session.poll_reply(drained) {
            Some(reply) => {
                if reply != PollReply::Noop {
                    shared.outlet.task = None;
                }
                shared.session.end_poll();
                return Poll::Ready((Bytes::from_static(reply.as_str().as_bytes()), None));
            }
            None if drained => {
                shared.outlet.task = Some(cx.waker().clone());
                return Poll::Pending;
            }
            None => {}
        }
        shared.outlet.outbox.take(&mut batch, usize::MAX);
        shared.session.end_poll();
    }
    let size = batch.iter().map(|packet| packet.size()).sum::<usize>();
    let mut payload = Vec::with_capacity(size + batch.len());
    for packet in &batch {
        packet.push_polling(&mut payload);
    }
    let cost = batch.iter().map(|packet| cost(packet)).sum();
    let encoding = compress(&mut payload, &batch, compression);
    connection.sessions().traffic.sent(Transport::Polling, batch.len(), payload.len());
    let charge = connection.sessions().budget.meter().charge(payload.len());
    let answer = Answer { payload, packets: batch.len(), cost, connection: connection.clone(), _charge: charge };
    Poll::Ready((Bytes::from_owner(answer), encoding))
}

/// Compresses a payload, if that makes it smaller. As in Node, it is enough if one of the packets may be compressed.
fn compress(payload: &mut Vec<u8>, batch: &[Arc<Packet>], compression: Compression<'_>) -> Option<Format> {
    let (deflate, format) = compression?;
    if payload.len() < deflate.threshold || !batch.iter().any(|packet| packet.may_be_compressed()) {
        return None;
    }
    let compressed = compress_body(payload, format, deflate.level)?;
    count_compressed("poll", payload.len(), compressed.len());
    *payload = compressed;
    Some(format)
}

/// The body of an answer. Its packets count as waiting until the server has written the answer, and drops this.
struct Answer {
    payload: Vec<u8>,
    packets: usize,
    cost: usize,
    connection: Arc<Connection>,
    _charge: Charge,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.answered(self.packets, self.cost);
    }
}

/// Headers of every successful answer to a poll or POST.
pub(super) fn common_headers(request: &Parts, headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let agent = request.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    if agent.contains(";MSIE") || agent.contains("Trident/") {
        headers.insert(header::X_XSS_PROTECTION, HeaderValue::from_static("0"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Nobody;
    use crate::config::EngineConfig;
    use crate::engine::Engine;
    use std::task::Waker;

    fn open(engine: &Engine) -> Arc<Connection> {
        let (request, ()) = http::Request::new(()).into_parts();
        engine.open(&request, Transport::Polling).unwrap()
    }

    #[tokio::test]
    async fn a_poll_that_has_its_answer_is_no_longer_held() {
        let connection = open(&Engine::new(EngineConfig::default(), Nobody));
        let mut cx = Context::from_waker(Waker::noop());
        connection.shared().session.begin_poll().unwrap();
        let Poll::Ready((payload, _)) = take_payload(&connection, None, &mut cx) else { panic!("something waits") };
        assert!(payload.starts_with(b"0{"), "{payload:?}");
        let volatile = Packet::engine(roomcast_protocol::EngineKind::Message, "x").unwrap().with_volatile(true);
        assert_eq!(connection.send(&Arc::new(volatile)).wake(), crate::Delivery::Dropped);
        // An end that comes now waits for the next poll.
        connection.close();
        assert_eq!(connection.shared().session.closed(), None);
        connection.shared().session.begin_poll().unwrap();
        assert_eq!(take_payload(&connection, None, &mut cx), Poll::Ready((Bytes::from_static(b"6\x1e1"), None)));
        assert_eq!(connection.shared().session.closed(), Some(CloseReason::ForcedClose));
    }
}
