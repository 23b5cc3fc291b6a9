//! POST: brings packets.

use super::poll::common_headers;
use crate::connections::connection::{Connection, PanicGuard};
use crate::connections::inbox_hold::InboxHold;
use crate::connections::traffic::count_round_trip;
use crate::http::body::{Body, empty};
use crate::session::close_reason::CloseReason;
use crate::session::state::Step;
use crate::session::transport::Transport;
use crate::transport::turn::Turn;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use roomcast_protocol::{EngineData, Payload};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::time::Instant;

/// The HTTP connection is to be ended without an answer, as Node does.
#[derive(Debug)]
pub(crate) struct EndConnection;

/// Takes a POST's packets.
pub(crate) async fn post<B>(
    connection: &Arc<Connection>,
    request: &Parts,
    body: B,
) -> Result<Response<Body>, EndConnection>
where
    B: http_body::Body<Data = Bytes> + Send,
{
    if request.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/octet-stream") {
        connection.fail_polling(CloseReason::TransportError, "invalid content");
        return Ok(empty(StatusCode::BAD_REQUEST));
    }
    let begun = connection.shared().session.begin_post();
    if begun.is_err() {
        connection.fail_polling(CloseReason::TransportError, "data request overlap from client");
        return Ok(empty(StatusCode::BAD_REQUEST));
    }
    let mut posting = Posting { connection, done: false };
    let config = &connection.sessions().config;
    let read =
        tokio::time::timeout(config.body_timeout, read_body(connection, request, body, config.max_payload)).await;
    let body = match read {
        Ok(Ok(body)) => body,
        Ok(Err(BodyError::TooLarge)) => {
            posting.end();
            return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
        }
        Ok(Err(BodyError::Ended)) => return Err(EndConnection),
        Ok(Err(BodyError::Broken)) => {
            connection.fail_polling(CloseReason::TransportError, "the body of a POST is broken");
            let mut response = empty(StatusCode::BAD_REQUEST);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Ok(response);
        }
        Err(_) => {
            connection.fail_polling(CloseReason::TransportError, "the body of a POST took too long");
            return Ok(empty(StatusCode::REQUEST_TIMEOUT));
        }
    };
    let Ok(text) = std::str::from_utf8(&body) else {
        connection.fail_polling(CloseReason::ParseError, "the body of a POST is not UTF-8");
        return Ok(empty(StatusCode::BAD_REQUEST));
    };
    connection.sessions().traffic.received(Transport::Polling, body.len());
    let turn = Turn::begin();
    let fed = feed(connection, text);
    connection.finish_if_over();
    drop(turn);
    if fed.is_err() {
        return Err(EndConnection);
    }
    connection.shared().session.hold_post();
    // The POST is not answered until the handler can take more: another POST before that would get around its flow
    // control.
    poll_fn(|cx| {
        // It is locked before the session is checked: once an upgrade is complete, only its WebSocket asks the handler.
        let mut handler = connection.handler();
        {
            let mut shared = connection.shared();
            if shared.session.closed().is_some() || shared.session.transport() == Transport::WebSocket {
                return Poll::Ready(());
            }
            shared.polling().post = Some(cx.waker().clone());
        }
        match &mut *handler {
            Some(handler) => handler.poll_ready(cx),
            None => Poll::Ready(()),
        }
    })
    .await;
    posting.end();
    connection.finish_if_over();
    let mut response = Response::new(Body::from("ok"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    common_headers(request, headers);
    Ok(response)
}

/// A POST that is being served. If it is dropped before its end, the client is gone, as with a held GET.
struct Posting<'a> {
    connection: &'a Arc<Connection>,
    done: bool,
}

impl Posting<'_> {
    fn end(&mut self) {
        self.done = true;
        let mut shared = self.connection.shared();
        if let Some(polling) = &mut shared.polling {
            polling.post = None;
        }
        shared.session.end_post();
    }
}

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.connection.fail_polling(CloseReason::TransportError, "data request connection closed prematurely");
        }
    }
}

enum BodyError {
    TooLarge,
    /// The session has ended or moved to a WebSocket meanwhile.
    Ended,
    /// The transfer coding is malformed, or the client is gone.
    Broken,
}

async fn read_body<B>(connection: &Arc<Connection>, request: &Parts, body: B, most: usize) -> Result<Vec<u8>, BodyError>
where
    B: http_body::Body<Data = Bytes> + Send,
{
    let declared = request.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > most as u64) {
        return Err(BodyError::TooLarge);
    }
    let mut body = pin!(body);
    let (mut read, mut inbox) = (Vec::new(), InboxHold::default());
    loop {
        let frame = poll_fn(|cx| {
            {
                let mut shared = connection.shared();
                if shared.session.closed().is_some() || shared.session.transport() == Transport::WebSocket {
                    return Poll::Ready(Err(BodyError::Ended));
                }
                shared.polling().post = Some(cx.waker().clone());
            }
            body.as_mut().poll_frame(cx).map(Ok)
        });
        let data = match frame.await? {
            None => return Ok(read),
            Some(Err(_)) => return Err(BodyError::Broken),
            Some(Ok(frame)) => frame.into_data(),
        };
        if let Ok(data) = data {
            if read.len() + data.len() > most {
                return Err(BodyError::TooLarge);
            }
            read.extend_from_slice(&data);
            inbox.set(connection, read.capacity());
        }
    }
}

/// An upgrade was completed before the packets of a POST were handled.
struct Overtaken;

/// Passes the packets of a payload to the handler, in order, up to the first that is malformed. If an upgrade has
/// overtaken the POST its packets are discarded, as in Node: they would come after what the WebSocket has brought.
fn feed(connection: &Arc<Connection>, text: &str) -> Result<(), Overtaken> {
    let now = Instant::now();
    let timing = &connection.sessions().timing;
    let mut malformed = false;
    let guard = PanicGuard(connection);
    {
        let mut handler = connection.handler();
        if connection.transport() == Transport::WebSocket {
            return Err(Overtaken);
        }
        for packet in Payload::new(text) {
            let Ok(packet) = packet else {
                malformed = true;
                break;
            };
            let step = {
                let mut shared = connection.shared();
                let round_trip = shared.session.round_trip(packet.kind, now, timing);
                let step = shared.session.receive(packet.kind, now, timing);
                let wakers = if step == Step::Closed { Some(shared.take_wakers()) } else { None };
                drop(shared);
                count_round_trip(round_trip);
                if let Some(wakers) = wakers {
                    wakers.wake();
                }
                step
            };
            match (step, &mut *handler) {
                (Step::Closed, _) | (_, None) => break,
                (Step::Ignore, _) => {}
                (Step::Deliver, Some(handler)) => match &packet.data {
                    EngineData::Text(text) => handler.text(text),
                    EngineData::Binary(bytes) => handler.binary(bytes),
                },
            }
        }
    }
    drop(guard);
    if malformed {
        connection.fail_polling(CloseReason::ParseError, "malformed payload");
    }
    // The keeper may have an earlier deadline now.
    let keeper = connection.shared().polling.as_mut().and_then(|polling| polling.keeper.take());
    if let Some(keeper) = keeper {
        keeper.wake();
    }
    Ok(())
}
