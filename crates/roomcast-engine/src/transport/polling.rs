//! Long-polling: a GET fetches packets, a POST brings them, and a keeper task keeps the session's time.

use crate::connections::connection::{Connection, PanicGuard};
use crate::http::body::{Body, empty};
use crate::limits::BUSY_HANDLER_RETRY;
use crate::session::close_reason::CloseReason;
use crate::session::outbox::cost;
use crate::session::state::{PollReply, Step};
use crate::session::transport::Transport;
use crate::transport::turn::Turn;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use roomcast_protocol::{Charge, EngineData, Packet, Payload};
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The HTTP connection is to be ended without an answer, as Node does.
#[derive(Debug)]
pub(crate) struct EndConnection;

/// Answers a GET with what is queued, or with the first packet that comes.
pub(crate) async fn get(connection: &Arc<Connection>, request: &Parts) -> Response<Body> {
    let begun = connection.shared().session.begin_poll();
    if begun.is_err() {
        connection.fail_polling(CloseReason::TransportError, "overlap from client");
        return empty(StatusCode::BAD_REQUEST);
    }
    let mut held = Held { connection, answered: false };
    let payload = poll_fn(|cx| take_payload(connection, cx)).await;
    held.answered = true;
    connection.finish_if_over();
    let mut response = Response::new(Body::from(payload));
    let headers = response.headers_mut();
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

/// The answer to the held GET. Once there is one, the GET is no longer held: a packet or an end that comes before the answer has
/// left waits for the next GET.
fn take_payload(connection: &Arc<Connection>, cx: &mut Context<'_>) -> Poll<Bytes> {
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
                return Poll::Ready(Bytes::from_static(reply.as_str().as_bytes()));
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
    let charge = connection.sessions().budget.meter().charge(payload.len());
    let answer = Answer { payload, packets: batch.len(), cost, connection: connection.clone(), _charge: charge };
    Poll::Ready(Bytes::from_owner(answer))
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
    let turn = Turn::begin();
    let fed = feed(connection, text);
    connection.finish_if_over();
    drop(turn);
    if fed.is_err() {
        return Err(EndConnection);
    }
    connection.shared().session.hold_post();
    // The POST is not answered until the handler can take more: another POST before that would get around its flow control.
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

async fn read_body<B>(connection: &Connection, request: &Parts, body: B, most: usize) -> Result<Vec<u8>, BodyError>
where
    B: http_body::Body<Data = Bytes> + Send,
{
    let declared = request.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > most as u64) {
        return Err(BodyError::TooLarge);
    }
    let mut body = pin!(body);
    let mut read = Vec::new();
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
        }
    }
}

/// An upgrade was completed before the packets of a POST were handled.
struct Overtaken;

/// Passes the packets of a payload to the handler, in order, up to the first that is malformed. If an upgrade has overtaken the
/// POST its packets are discarded, as in Node: they would come after what the WebSocket has brought.
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
                let step = shared.session.receive(packet.kind, now, timing);
                let wakers = if step == Step::Closed { Some(shared.take_wakers()) } else { None };
                drop(shared);
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

/// Keeps the time of a polling session until it is over or on a WebSocket.
pub(crate) async fn keep(connection: Arc<Connection>) {
    let _guard = PanicGuard(&connection);
    let mut sleep = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            {
                let mut shared = connection.shared();
                if shared.session.transport() == Transport::WebSocket || shared.session.closed().is_some() {
                    return Poll::Ready(());
                }
                shared.polling().keeper = Some(cx.waker().clone());
            }
            let now = Instant::now();
            {
                let mut shared = connection.shared();
                if shared.session.is_post_held() && shared.outlet.outbox.is_drained() {
                    // The client has fetched the ping, and its pong can only come with the next POST.
                    shared.session.excuse_pong(now, &connection.sessions().timing);
                }
            }
            if connection.tick(now) {
                return Poll::Ready(());
            }
            let handler_deadline = tick_handler(&connection, now);
            let session_deadline = connection.shared().session.deadline();
            let pace = connection.keep_pace(now);
            let Some(deadline) = session_deadline.into_iter().chain(handler_deadline).chain(pace).min() else {
                continue;
            };
            sleep.as_mut().reset(deadline);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
    connection.finish_if_over();
}

/// Calls the handler if its deadline has passed, and returns its next deadline.
fn tick_handler(connection: &Connection, now: Instant) -> Option<Instant> {
    let deadline = {
        let Some(mut slot) = connection.try_handler() else {
            // The handler may run for long, so there is no waiting for it.
            return Some(now + BUSY_HANDLER_RETRY);
        };
        let handler = slot.as_mut()?;
        if handler.deadline().is_some_and(|deadline| deadline <= now) {
            handler.tick(now);
        }
        handler.deadline().map(|deadline| deadline.max(now + Duration::from_millis(1)))
    };
    // The handler may have ended its session.
    connection.finish_if_over();
    deadline
}

/// Headers of every successful answer to a poll or POST.
fn common_headers(request: &Parts, headers: &mut HeaderMap) {
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
    use crate::session::handler::SessionHandler;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
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
        let Poll::Ready(payload) = take_payload(&connection, &mut cx) else { panic!("something waits") };
        assert!(payload.starts_with(b"0{"), "{payload:?}");
        let volatile = Packet::engine(roomcast_protocol::EngineKind::Message, "x").unwrap().with_volatile(true);
        assert_eq!(connection.send(&Arc::new(volatile)).wake(), crate::Delivery::Dropped);
        // An end that comes now waits for the next poll.
        connection.close();
        assert_eq!(connection.shared().session.closed(), None);
        connection.shared().session.begin_poll().unwrap();
        assert_eq!(take_payload(&connection, &mut cx), Poll::Ready(Bytes::from_static(b"6\x1e1")));
        assert_eq!(connection.shared().session.closed(), Some(CloseReason::ForcedClose));
    }

    struct Patient {
        due: Instant,
        ticked: Arc<AtomicBool>,
    }

    impl SessionHandler for Patient {
        fn text(&mut self, _: &str) {}
        fn binary(&mut self, _: &[u8]) {}
        fn closed(&mut self, _: CloseReason) {}
        fn deadline(&self) -> Option<Instant> {
            Some(self.due)
        }
        fn tick(&mut self, _: Instant) {
            self.ticked.store(true, Ordering::SeqCst);
            self.due += Duration::from_secs(3_600);
        }
    }

    /// The task that has the handler while its deadline passes may not know of the deadline.
    #[tokio::test(start_paused = true)]
    async fn the_keeper_comes_back_to_a_handler_that_was_busy() {
        let ticked = Arc::new(AtomicBool::new(false));
        let told = ticked.clone();
        let engine = Engine::new(EngineConfig::default(), move |_: &Arc<Connection>| -> Box<dyn SessionHandler> {
            Box::new(Patient { due: Instant::now() + Duration::from_secs(1), ticked: told.clone() })
        });
        let connection = open(&engine);
        let keeper = tokio::spawn(keep(connection.clone()));
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Another thread has the handler while the deadline passes.
        let ((has, had), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
        let busy = std::thread::spawn(move || {
            let handler = connection.handler();
            has.send(()).unwrap();
            let _ = gone.recv();
            drop(handler);
        });
        had.recv().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!ticked.load(Ordering::SeqCst));
        drop(go);
        busy.join().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(ticked.load(Ordering::SeqCst));
        keeper.abort();
    }
}
