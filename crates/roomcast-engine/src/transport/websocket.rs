//! The task of a WebSocket: it reads and writes frames and keeps the heartbeat, the upgrade and the close, in one small
//! future that owns no buffer.

use crate::connections::connection::Connection;
use crate::connections::inbox_hold::InboxHold;
use crate::connections::traffic::count_round_trip;
use crate::limits::{OUTBOX_LEAST, READ_BUFFER, READ_TIME, READS_PER_TURN};
use crate::session::close_reason::CloseReason;
use crate::session::state::{Probe, Step};
use crate::session::transport::Transport;
use crate::session::turn_id::TurnId;
use crate::transport::closing::{CloseHandshake, Ending, echo};
use crate::transport::outlet::{By, Outlet, drain};
use crate::transport::probing::Probing;
use crate::transport::read_buffer::ReadBuffer;
use crate::transport::sink::Sink as _;
use crate::transport::turn::Turn;
use crate::transport::wire::Wire;
use crate::transport::writer::Writer;
use bytes::Bytes;
use roomcast_protocol::frame::{FrameDecoder, FrameLimits, MAX_FRAGMENTS, Message, Opcode, close_frame, push_frame};
use roomcast_protocol::{EngineData, EnginePacket, Packet};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Serves a WebSocket until it is over. `probing`: it is to take over a polling session. `received` are bytes that came
/// with the handshake.
///
/// The driver is made before the future, which captures it: an `async fn` would store its arguments in addition.
pub(crate) fn run<S>(
    connection: Arc<Connection>,
    (stream, writer): (S, Writer),
    received: Bytes,
    probing: bool,
    wire: Wire,
) -> impl Future<Output = ()>
where
    S: AsyncRead + Unpin,
{
    let config = &connection.sessions().config;
    let limits = FrameLimits { max_payload: config.max_payload, max_fragments: MAX_FRAGMENTS };
    let probe = if probing {
        Some(Box::new(Probing::new(writer.with_wire(wire))))
    } else {
        connection.shared().outlet.lane.attach(writer.with_wire(wire));
        None
    };
    let mut driver = Driver {
        stream,
        decoder: FrameDecoder::new(limits).with_deflate(wire.deflate),
        inbox: InboxHold::default(),
        handler_deadline: None,
        paused: false,
        probe,
        ending: None,
        connection,
    };
    if !received.is_empty() {
        driver.feed(&mut Vec::from(received));
    } else if let Some(handler) = &*driver.connection.handler() {
        driver.handler_deadline = handler.deadline();
    }
    async move {
        let mut sleep = pin!(sleep_until(driver.deadline().unwrap_or_else(Instant::now)));
        poll_fn(|cx| driver.poll(cx, sleep.as_mut())).await;
        driver.detach();
    }
}

/// Shortest time between two ticks of a handler: the resolution of tokio's timer.
const MOMENT: Duration = Duration::from_millis(1);

struct Driver<S: AsyncRead + Unpin> {
    connection: Arc<Connection>,
    stream: S,
    decoder: FrameDecoder,
    inbox: InboxHold,
    handler_deadline: Option<Instant>,
    /// The handler takes no messages for now, so nothing is read.
    paused: bool,
    probe: Option<Box<Probing>>,
    /// In a box, because only a WebSocket that ends has it.
    ending: Option<Box<Ending>>,
}

/// The stream is over: nothing more can be read or written.
struct Gone;

impl<S: AsyncRead + Unpin> Driver<S> {
    fn poll(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<()> {
        // What has arrived is read before deadlines are checked: a pong that waits in the kernel counts.
        let turn = Turn::begin();
        if self.probe.is_none() {
            let mut shared = self.connection.shared();
            shared.outlet.task = None;
            shared.outlet.lane.claim(TurnId::current());
        }
        let read = self.read(cx);
        drop(turn);
        if read.is_err() {
            return Poll::Ready(());
        }
        loop {
            let due = sleep.as_mut().poll(cx).is_ready();
            if due && self.ending.is_some() {
                // Its deadline is checked below, after the last write.
                break;
            }
            if due {
                let now = Instant::now();
                // The pace is checked below, after the last write.
                self.connection.shared().outlet.pacer.clear_due_check(now);
                self.tick(now);
            }
            let Some(deadline) = self.deadline() else { break };
            if !due && deadline >= sleep.deadline() {
                // To wake early does no harm, so the sleep is not moved to a later deadline.
                break;
            }
            sleep.as_mut().reset(deadline);
        }
        loop {
            let flushed = match self.flush(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            match self.ending.as_ref().map(|ending| (ending.until, ending.handshake)) {
                Some((_, CloseHandshake::Done)) if flushed => return Poll::Ready(()),
                Some((until, _)) if until <= Instant::now() => return Poll::Ready(()),
                Some((until, handshake)) => {
                    if flushed
                        && handshake == CloseHandshake::Unreadable
                        && self.poll_shutdown(cx).is_ready()
                        && let Some(ending) = &mut self.ending
                    {
                        ending.handshake = CloseHandshake::Shut;
                    }
                    if sleep.deadline() > until || sleep.is_elapsed() {
                        sleep.as_mut().reset(until);
                        if sleep.as_mut().poll(cx).is_ready() {
                            return Poll::Ready(());
                        }
                    }
                    return Poll::Pending;
                }
                None if self.probe.is_some() => return Poll::Pending,
                None => {}
            }
            let (closed, closing, watched) = {
                let mut shared = self.connection.shared();
                let closing = shared.session.is_closing();
                if closing && flushed {
                    shared.session.drained();
                } else if closing && shared.session.deadline().is_some_and(|deadline| deadline < sleep.deadline()) {
                    // The session began to close after the deadlines were checked: check them again.
                    cx.waker().wake_by_ref();
                }
                (shared.session.closed().is_some(), closing && flushed, !flushed || !shared.outlet.pacer.is_idle())
            };
            if closing {
                // The server ends the session, and all that was queued has left.
                self.end(close_frame(None, ""), CloseHandshake::Awaited);
                continue;
            }
            if closed {
                // Another task closed it, or it is a slow consumer, whose stream cannot take a close frame in the
                // middle of a packet.
                return Poll::Ready(());
            }
            return if watched { self.keep_pace(cx, sleep) } else { Poll::Pending };
        }
    }

    /// Checks the pace, as something waits, and sets the time to check again.
    fn keep_pace(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<()> {
        if let Some(at) = self.connection.keep_pace(Instant::now()).filter(|at| *at < sleep.deadline()) {
            sleep.as_mut().reset(at);
            if sleep.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        if self.connection.is_open() || self.connection.shared().session.is_closing() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    // --- in ---

    /// Reads what has arrived, into the thread's buffer.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        let mut began = None;
        for _ in 0..READS_PER_TURN {
            let ready = match &mut *self.connection.handler() {
                Some(handler) if self.probe.is_none() && self.ending.is_none() => handler.poll_ready(cx).is_ready(),
                _ => true,
            };
            self.paused = !ready;
            if self.paused {
                return Ok(());
            }
            let mut buffer = ReadBuffer::take();
            let mut read = ReadBuf::new(&mut buffer.0);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
                Poll::Ready(_) => {
                    self.stream_broke(CloseReason::TransportClose);
                    return Err(Gone);
                }
            }
            let received = read.filled().len();
            let now = self.feed(buffer.0.get_mut(..received).unwrap_or_default());
            // A full buffer means that more is there. The clock is not read for anybody else.
            let began = *began.get_or_insert(now);
            if received == READ_BUFFER && began.elapsed() >= READ_TIME {
                break;
            }
        }
        // More may be there, but other tasks run first.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Handles what was read, and returns when that began.
    fn feed(&mut self, mut input: &mut [u8]) -> Instant {
        let now = Instant::now();
        self.connection.sessions().traffic.received(Transport::WebSocket, input.len());
        while !input.is_empty() {
            let end = if self.ending.is_some() {
                self.feed_after_end(&mut input)
            } else if self.probe.is_some() {
                self.feed_probe(&mut input, now)
            } else {
                self.feed_session(&mut input, now)
            };
            if let Some((frame, handshake)) = end {
                self.end(frame, handshake);
            }
        }
        self.inbox.set(&self.connection, self.decoder.heap_bytes());
        self.connection.finish_if_over();
        now
    }

    /// Passes messages to the handler until the input is used up, or until the WebSocket has to end. Then it returns
    /// the close frame to send, and what to expect of the client.
    fn feed_session(&mut self, input: &mut &mut [u8], now: Instant) -> Option<(Vec<u8>, CloseHandshake)> {
        let connection = &self.connection;
        let timing = &connection.sessions().timing;
        let mut slot = connection.handler();
        let end = loop {
            let message = match self.decoder.decode(input) {
                Ok(Some(message)) => message,
                Ok(None) => break None,
                Err(error) => {
                    tracing::debug!(%error, "WebSocket protocol error");
                    connection.shared().session.close(CloseReason::TransportError);
                    break Some((close_frame(Some(error.close_code()), ""), CloseHandshake::Unreadable));
                }
            };
            let packet = match message {
                Message::Text(text) => EnginePacket::from_text(text),
                Message::Binary(bytes) => Ok(EnginePacket::from_binary(bytes)),
                Message::Ping(payload) => {
                    let mut frame = Vec::with_capacity(payload.len() + 2);
                    push_frame(&mut frame, Opcode::Pong, payload);
                    connection.send(&Arc::new(Packet::control(frame))).wake();
                    continue;
                }
                Message::Pong(_) => continue,
                Message::Close(code) => {
                    connection.shared().session.close(CloseReason::TransportClose);
                    break Some((echo(code), CloseHandshake::Done));
                }
            };
            let Ok(packet) = packet else {
                connection.shared().session.close(CloseReason::ParseError);
                break Some((close_frame(None, ""), CloseHandshake::Awaited));
            };
            let (round_trip, step) = {
                let mut shared = connection.shared();
                let round_trip = shared.session.round_trip(packet.kind, now, timing);
                (round_trip, shared.session.receive(packet.kind, now, timing))
            };
            count_round_trip(round_trip);
            match (step, &mut *slot) {
                (Step::Closed, _) => break Some((close_frame(None, ""), CloseHandshake::Awaited)),
                (Step::Deliver, Some(handler)) => match &packet.data {
                    EngineData::Text(text) => handler.text(text),
                    EngineData::Binary(bytes) => handler.binary(bytes),
                },
                _ => {}
            }
        };
        self.handler_deadline = slot.as_ref().and_then(|handler| handler.deadline());
        end
    }

    /// Handles one message of a WebSocket that is to take over a polling session.
    fn feed_probe(&mut self, input: &mut &mut [u8], now: Instant) -> Option<(Vec<u8>, CloseHandshake)> {
        let Self { connection, decoder, probe, handler_deadline, .. } = self;
        let probing = probe.as_mut()?;
        let mut reply = connection.sessions().probe_pong.clone();
        let step = match decoder.decode(input) {
            Ok(None | Some(Message::Pong(_))) => return None,
            Ok(Some(Message::Text(text))) => match EnginePacket::from_text(text) {
                Ok(EnginePacket { kind, data: EngineData::Text(data) }) => {
                    connection.shared().session.probe(kind, data, now)
                }
                _ => Probe::Abort,
            },
            Ok(Some(Message::Binary(_))) => Probe::Abort,
            Ok(Some(Message::Ping(payload))) => {
                let mut frame = Vec::with_capacity(payload.len() + 2);
                push_frame(&mut frame, Opcode::Pong, payload);
                reply = Arc::new(Packet::control(frame));
                Probe::Reply
            }
            // A close frame or an error ends the upgrade at once, although this WebSocket may stay for its own close.
            Ok(Some(Message::Close(code))) => {
                let end = (echo(code), CloseHandshake::Done);
                connection.shared().session.abort_upgrade();
                probing.active = false;
                return Some(end);
            }
            Err(error) => {
                connection.shared().session.abort_upgrade();
                probing.active = false;
                return Some((close_frame(Some(error.close_code()), ""), CloseHandshake::Unreadable));
            }
        };
        match step {
            Probe::Reply if probing.outlet.get_mut().outbox.push(&reply, OUTBOX_LEAST).is_ok() => None,
            // A WebSocket that probes and does not read the answers is given up as well.
            Probe::Reply | Probe::Abort => {
                connection.shared().session.abort_upgrade();
                probing.active = false;
                Some((close_frame(None, ""), CloseHandshake::Awaited))
            }
            Probe::Complete => {
                let mut probed = probe.take()?.outlet.into_inner();
                let wakers = {
                    let mut shared = connection.shared();
                    let (outbox, writer) = probed.hand_over();
                    shared.outlet.outbox.prepend(outbox);
                    if let Some(writer) = writer {
                        shared.outlet.lane.attach(writer);
                    }
                    shared.take_wakers()
                };
                connection.sessions().upgrade(connection);
                metrics::counter!("roomcast_upgrades_total").increment(1);
                wakers.wake();
                *handler_deadline = connection.handler().as_mut().and_then(|handler| {
                    handler.upgraded();
                    handler.deadline()
                });
                None
            }
        }
    }

    /// After our close frame only the client's close frame matters.
    fn feed_after_end(&mut self, input: &mut &mut [u8]) -> Option<(Vec<u8>, CloseHandshake)> {
        let handshake = match self.decoder.decode(input) {
            Ok(Some(Message::Close(_))) => CloseHandshake::Done,
            Ok(_) => return None,
            Err(_) => CloseHandshake::Unreadable,
        };
        if let Some(ending) = self.ending.as_mut().filter(|ending| ending.handshake == CloseHandshake::Awaited) {
            ending.handshake = handshake;
        }
        None
    }

    // --- out ---

    /// Writes what waits. Ready: everything has left. Pending: the stream takes no more, or another thread writes;
    /// either way the task is woken.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.probe.as_deref() {
            Some(probing) => drain(probing, By::Task(cx), &self.connection.sessions().bounds),
            None => self.connection.flush(cx),
        }
    }

    /// Shuts the stream down behind all that was written.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shutdown = |outlet: &mut Outlet<Writer>| match outlet.lane.writer() {
            Some(writer) => writer.poll_shutdown(cx),
            None => Poll::Pending,
        };
        match &mut self.probe {
            Some(probing) => shutdown(probing.outlet.get_mut()),
            None => shutdown(&mut self.connection.shared().outlet),
        }
    }

    // --- time ---

    fn tick(&mut self, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        if let Some(probing) = &mut self.probe {
            let (live, poll) = {
                let mut shared = self.connection.shared();
                let drained = shared.outlet.outbox.is_drained();
                let live = probing.active && shared.session.tick_upgrade(now, drained);
                (live, shared.outlet.task.take())
            };
            if let Some(poll) = poll {
                poll.wake();
            }
            if !live {
                probing.active = false;
                self.end(close_frame(None, ""), CloseHandshake::Awaited);
            }
            return;
        }
        if self.connection.shared().session.closed().is_some() {
            // Another task closed it. Not every stream can take a close frame: see `poll`.
            return;
        }
        if self.handler_deadline.is_some_and(|deadline| deadline <= now) {
            let mut slot = self.connection.handler();
            if let Some(handler) = &mut *slot {
                handler.tick(now);
            }
            let deadline = slot.as_ref().and_then(|handler| handler.deadline());
            // A handler that does not move its deadline must not cause a busy loop.
            self.handler_deadline = deadline.map(|deadline| deadline.max(now + MOMENT));
            drop(slot);
            // The handler may have ended its session.
            self.connection.finish_if_over();
        }
        if self.paused {
            let mut shared = self.connection.shared();
            // Unless the ping has left, there is no pong that could wait unread.
            if shared.outlet.outbox.is_empty() {
                shared.session.excuse_pong(now, &self.connection.sessions().timing);
            }
        }
        if self.connection.tick(now) {
            self.end(close_frame(None, ""), CloseHandshake::Awaited);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match (&self.ending, &self.probe) {
            (Some(ending), _) => Some(ending.until),
            (None, Some(_)) => self.connection.shared().session.upgrade_deadline(),
            (None, None) => {
                // Once the session is closed there is no deadline.
                let shared = self.connection.shared();
                let session = shared.session.deadline()?;
                [self.handler_deadline, shared.outlet.pacer.check_at()].into_iter().flatten().chain([session]).min()
            }
        }
    }

    // --- end ---

    /// Queues a close frame behind everything else. A session that is on this WebSocket is closed already.
    fn end(&mut self, frame: Vec<u8>, handshake: CloseHandshake) {
        if self.ending.is_some() {
            return;
        }
        let packet = Arc::new(Packet::control(frame));
        {
            let mut shared = self.connection.shared();
            let outlet = match &mut self.probe {
                Some(probing) => probing.outlet.get_mut(),
                None => &mut shared.outlet,
            };
            let _ = outlet.outbox.push(&packet, usize::MAX);
        }
        let until = Instant::now() + self.connection.sessions().config.close_timeout;
        self.ending = Some(Box::new(Ending { until, handshake }));
        if self.probe.is_none() {
            self.connection.finish_if_over();
        }
    }

    /// Closes a session that is on this WebSocket: its stream broke.
    fn stream_broke(&mut self, reason: CloseReason) {
        if self.probe.is_none() {
            self.connection.shared().session.close(reason);
        }
    }

    /// Detaches the stream from the session. A session that is on this WebSocket is over.
    fn detach(&mut self) {
        match &self.probe {
            Some(probing) => {
                if probing.active {
                    self.connection.shared().session.abort_upgrade();
                }
            }
            None => {
                let (waiting, writer) = {
                    let mut shared = self.connection.shared();
                    shared.session.close(CloseReason::TransportClose);
                    shared.outlet.detach()
                };
                drop(waiting);
                if let Some(writer) = writer {
                    writer.forget();
                }
                self.connection.finish_if_over();
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Drop for Driver<S> {
    fn drop(&mut self) {
        // The handler has panicked. The session must not stay without a driver.
        if std::thread::panicking() {
            self.detach();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Nobody;
    use crate::config::EngineConfig;
    use crate::engine::Engine;
    use crate::session::handler::SessionHandler;
    use crate::transport::writer::Stream as _;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;
    use tokio::net::{TcpListener, TcpStream};

    /// What an idle WebSocket costs in addition to its session. tokio rounds a task up to 128 bytes. With 264 here it still takes 384,
    /// with the 16 bytes of its connection's permit and tokio's own; 8 bytes more once cost 128 for each connection.
    #[tokio::test]
    async fn the_task_of_a_websocket_is_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let engine = Engine::new(EngineConfig::default(), Nobody);
        let (request, ()) = http::Request::new(()).into_parts();
        let connection = engine.open(&request, Transport::WebSocket).unwrap();
        let task = run(connection, stream.into_halves(), Bytes::new(), false, Wire::default());
        println!("a WebSocket's task over a TcpStream: {} bytes", size_of_val(&task));
        println!(
            "its driver: {}, a Connection: {}, a timer: {}",
            size_of::<Driver<tokio::net::tcp::OwnedReadHalf>>(),
            size_of::<Connection>(),
            size_of::<Sleep>()
        );
        assert!(size_of_val(&task) <= 264);
    }

    /// A client that has more to say whenever it is read: small messages.
    #[derive(Default)]
    struct Flood(Arc<AtomicUsize>);

    impl AsyncRead for Flood {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, read: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            while read.remaining() > 0 {
                // A text of two bytes, masked with zeros.
                read.put_slice(b"\x81\x82\x00\x00\x00\x004x");
            }
            Poll::Ready(Ok(()))
        }
    }

    /// Spends that long on the first message of each read.
    struct Slow(Arc<AtomicUsize>, usize, Duration);

    impl SessionHandler for Slow {
        fn text(&mut self, _: &str) {
            let reads = self.0.load(Ordering::Relaxed);
            if std::mem::replace(&mut self.1, reads) < reads {
                // Its first poll moves the clock.
                let _ = pin!(tokio::time::advance(self.2)).poll(&mut Context::from_waker(Waker::noop()));
            }
        }
        fn binary(&mut self, _: &[u8]) {}
        fn closed(&mut self, _: CloseReason) {}
    }

    /// The bound of a connection's reads in a row, just within it, and the bound of their number.
    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_for_a_moment_before_the_other_clients() {
        let within = READ_TIME - Duration::from_micros(1);
        for (each, most) in [(READ_TIME, 1), (within, 2), (Duration::ZERO, READS_PER_TURN)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let flood = Flood::default();
            let reads = flood.0.clone();
            let counted = reads.clone();
            let application =
                move |_: &Arc<Connection>| Box::new(Slow(counted.clone(), 0, each)) as Box<dyn SessionHandler>;
            let engine = Engine::new(EngineConfig::default(), application);
            let (request, ()) = http::Request::new(()).into_parts();
            let connection = engine.open(&request, Transport::WebSocket).unwrap();
            let mut task = pin!(run(connection, (flood, stream.into_halves().1), Bytes::new(), false, Wire::default()));
            for poll in 1..=3 {
                assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                assert_eq!(reads.load(Ordering::Relaxed), poll * most, "{each:?}");
            }
        }
    }
}
