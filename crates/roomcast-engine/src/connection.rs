//! [`Connection`]: one session, as everybody else sees it. Its outbox and session state are under one short lock; its client is
//! touched only by the task that reads.

use crate::client::Client;
use crate::engine::Sessions;
use crate::handshake::Handshake;
use crate::limits::{DIRECT_BYTES, PACKETS_PER_WRITE};
use crate::outbox::{Full, Outbox};
use crate::session::{CloseReason, Session, Tick, Transport};
use crate::turn;
use crate::writer::{Batch, Writer};
use parking_lot::{Mutex, MutexGuard};
use roomcast_protocol::{Packet, Sid};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use tokio::time::Instant;

/// One Engine.IO session.
// A broadcast to 5,000 clients is a walk through memory that no cache of one core holds: what it touches stands first and
// together, here and in `Shared`, in the order of these fields (decision 0013).
#[repr(C)]
pub struct Connection {
    shared: Mutex<Shared>,
    sessions: Arc<Sessions>,
    sid: Sid,
    client: Mutex<Option<Box<dyn Client>>>,
    handshake: Handshake,
}

/// What several tasks touch.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shared {
    /// Somebody was asked to write, and will.
    scheduled: bool,
    /// The WebSocket takes no more; its task is woken when it does.
    blocked: bool,
    /// The WebSocket's task waits for who writes now.
    awaited: bool,
    /// The WebSocket is over: a writer that comes back is dropped.
    gone: bool,
    /// Attachments go out as base64 text, over WebSocket too.
    pub(crate) base64: bool,
    /// Writes to the WebSocket, while nobody does.
    pub(crate) writer: Option<Writer>,
    pub(crate) outbox: Outbox,
    /// Who takes packets out of the outbox: the WebSocket's task or the held GET.
    pub(crate) reader: Option<Waker>,
    pub(crate) session: Session,
    /// Only while the session is polling.
    pub(crate) polling: Option<Box<Polling>>,
}

/// Tasks of a session that is polling.
#[derive(Debug, Default)]
pub(crate) struct Polling {
    /// Keeps the session's time.
    pub(crate) keeper: Option<Waker>,
    /// Reads the body of a POST.
    pub(crate) poster: Option<Waker>,
}

/// Tasks to wake once the lock is free again.
#[derive(Debug, Default)]
pub(crate) struct Woken([Option<Waker>; 3]);

impl Woken {
    pub(crate) fn wake(self) {
        self.0.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Shared {
    pub(crate) fn everybody(&mut self) -> Woken {
        let Polling { keeper, poster } = self.polling.take().map(|polling| *polling).unwrap_or_default();
        Woken([self.reader.take(), keeper, poster])
    }

    pub(crate) fn polling(&mut self) -> &mut Polling {
        self.polling.get_or_insert_default()
    }

    /// The WebSocket is over. What is to be dropped outside the lock is given back.
    pub(crate) fn let_go(&mut self) -> (Outbox, Option<Writer>) {
        self.gone = true;
        self.reader = None;
        (std::mem::take(&mut self.outbox), self.writer.take())
    }

    fn is_writable(&self) -> bool {
        let free = match self.session.transport() {
            Transport::Polling => self.session.poll_is_writable(),
            Transport::WebSocket => true,
        };
        free && self.outbox.is_empty()
    }

    /// Who is to be woken for a packet that was put into the outbox.
    fn wanted(&mut self, connection: &Arc<Connection>, packet: &Packet) -> Option<Waker> {
        if self.session.transport() == Transport::Polling {
            return self.reader.take();
        }
        match &self.writer {
            // Who writes now goes on until the outbox is empty.
            None => None,
            Some(_) if self.blocked || (self.scheduled && !self.outbox.is_crowded()) => None,
            // Without a reader the task runs, or will, and writes in the end.
            Some(writer)
                if writer.is_direct()
                    && packet.size() <= DIRECT_BYTES
                    && (self.reader.is_some() || self.outbox.is_crowded()) =>
            {
                self.scheduled = true;
                // So much is rare, and worth an allocation; the usual wake must not take this lock again.
                Some(if self.outbox.is_crowded() {
                    Waker::from(Arc::new(Crowded(connection.clone())))
                } else {
                    Waker::from(connection.clone())
                })
            }
            Some(_) => self.reader.take(),
        }
    }
}

/// What became of a packet.
#[derive(Debug)]
#[must_use = "the writer must be woken"]
pub enum Sent {
    /// It is in the outbox; the writer must be woken, if there is one to wake.
    Queued(Option<Waker>),
    /// It is volatile and the transport is not writable.
    Dropped,
    /// The session is over.
    Closed,
    /// The outbox is full, and so the session is closed as a slow consumer.
    Full(Option<Waker>),
}

impl Sent {
    /// Wakes the writer.
    pub fn wake(self) {
        if let Self::Queued(Some(waker)) | Self::Full(Some(waker)) = self {
            waker.wake();
        }
    }
}

impl Connection {
    pub(crate) fn new(sid: Sid, session: Session, handshake: Handshake, base64: bool, sessions: Arc<Sessions>) -> Self {
        let shared = Shared {
            outbox: Outbox::default(),
            session,
            polling: None,
            writer: None,
            scheduled: false,
            blocked: false,
            awaited: false,
            gone: false,
            reader: None,
            base64,
        };
        Self { sid, shared: Mutex::new(shared), client: Mutex::new(None), sessions, handshake }
    }

    /// The session's secret id.
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// The first request.
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// How the client is connected now.
    pub fn transport(&self) -> Transport {
        self.shared.lock().session.transport()
    }

    /// Whether packets can still be sent.
    pub fn is_open(&self) -> bool {
        self.shared.lock().session.is_open()
    }

    /// Reads a little of it, so that what [`Connection::send`] will touch is on its way from memory. In a broadcast to
    /// thousands each connection has fallen out of the caches since the last, and waiting for one after the other took a
    /// tenth of the time of a delivery.
    pub fn prefetch(self: &Arc<Self>) {
        // A read that nothing depends on does not hold up a processor; the count lies beside the lock.
        std::hint::black_box(Arc::strong_count(self));
    }

    /// Puts a packet into the outbox without waking the writer, so that a broadcast can wake all writers after it has let
    /// go of its lock. Never blocks.
    pub fn send(self: &Arc<Self>, packet: &Arc<Packet>) -> Sent {
        let mut shared = self.shared.lock();
        if !shared.session.is_open() {
            return Sent::Closed;
        }
        if packet.is_volatile() && !shared.is_writable() {
            drop(shared);
            metrics::counter!("roomcast_volatile_dropped_total").increment(1);
            return Sent::Dropped;
        }
        let config = &self.sessions.config;
        match shared.outbox.push(packet, config.max_outbox_packets, config.max_outbox_bytes) {
            Ok(()) => Sent::Queued(shared.wanted(self, packet)),
            Err(Full) => {
                shared.session.close(CloseReason::SlowConsumer);
                // Packets are freed outside the lock.
                let dropped = std::mem::take(&mut shared.outbox);
                let Woken([reader, keeper, poster]) = shared.everybody();
                drop(shared);
                drop(dropped);
                metrics::counter!("roomcast_slow_consumers_total").increment(1);
                tracing::info!(reason = %CloseReason::SlowConsumer, "a client does not read: its outbox is full, it is disconnected");
                // A POST that is being read ends with its session.
                if let Some(poster) = poster {
                    poster.wake();
                }
                match (reader, keeper) {
                    (Some(reader), Some(keeper)) => {
                        // Only a polling session has both, and it is the keeper that ends it.
                        keeper.wake();
                        Sent::Full(Some(reader))
                    }
                    (reader, keeper) => Sent::Full(reader.or(keeper)),
                }
            }
        }
    }

    /// Writes what waits to the WebSocket. Ready: everything has left. Pending: the stream takes no more, or another thread is
    /// writing; with `cx` its task is in place as the reader either way, and is woken.
    pub(crate) fn flush(&self, mut cx: Option<&mut Context<'_>>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.lock();
        shared.scheduled = false;
        let Some(mut writer) = shared.writer.take() else {
            if let Some(cx) = cx {
                shared.awaited = true;
                register(&mut shared.reader, cx);
            }
            return Poll::Pending;
        };
        let result = loop {
            let result = match shared.outbox.take_only() {
                Some(only) => write_one(&mut shared, &mut writer, cx.as_deref_mut(), only),
                None if shared.outbox.is_drained() => break Poll::Ready(Ok(())),
                None => write_several(&mut shared, &mut writer, cx.as_deref_mut()),
            };
            match result {
                Poll::Ready(Ok(())) => {}
                result => break result,
            }
        };
        if shared.gone {
            drop(shared);
            writer.forget();
            return result;
        }
        shared.writer = Some(writer);
        shared.blocked = cx.is_some() && result.is_pending();
        let awaited = std::mem::take(&mut shared.awaited);
        if let Some(cx) = cx {
            register(&mut shared.reader, cx);
        } else if awaited || !matches!(result, Poll::Ready(Ok(()))) {
            // Only the task can wait for the stream, or end it.
            let reader = shared.reader.take();
            drop(shared);
            if let Some(reader) = reader {
                reader.wake();
            }
        }
        result
    }

    /// Writes what waits, on this thread. What goes wrong is the task's business, which is woken for it.
    pub(crate) fn write_now(&self) {
        let _ = self.flush(None);
    }

    /// The task is to write what waits.
    pub(crate) fn leave_to_task(&self) {
        let reader = {
            let mut shared = self.shared.lock();
            shared.scheduled = false;
            shared.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Ends the session: what is queued still leaves, the client then sees the end.
    pub fn close(&self) {
        self.close_for(CloseReason::ForcedClose);
    }

    pub(crate) fn close_for(&self, reason: CloseReason) {
        let woken = {
            let mut shared = self.shared.lock();
            let drained = shared.outbox.is_empty();
            shared.session.finish(reason, drained, Instant::now(), self.sessions.config.close_timeout);
            shared.everybody()
        };
        woken.wake();
    }

    /// The session has begun its work, whatever that is to the [`Client`]: from now on it does not have to make room for new
    /// ones when there are too many ([`EngineConfig::max_unjoined_sessions`](crate::EngineConfig::max_unjoined_sessions)).
    /// Where [`Client::is_established_by_a_message`] says yes, the first message calls it.
    pub fn establish(&self) {
        let is_news = self.shared.lock().session.establish();
        if is_news {
            self.sessions.establish(self);
        }
    }

    /// Ends the session of a client that broke a rule of what stands above: its [`Client`] is told at once, what is queued
    /// still leaves, within [`EngineConfig::close_timeout`](crate::EngineConfig::close_timeout) by polling too. The reason is
    /// [`CloseReason::ForcedClose`], or `waiting` if something is queued or no poll is there to take the end, as Node
    /// tells them apart.
    pub fn close_at_fault(&self, waiting: CloseReason) {
        let woken = {
            let mut shared = self.shared.lock();
            let drained = shared.outbox.is_empty();
            shared.session.fault(waiting, drained, Instant::now(), self.sessions.config.close_timeout);
            shared.everybody()
        };
        woken.wake();
        self.settle();
    }

    pub(crate) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock()
    }

    pub(crate) fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// The client; only the task that reads, or that ends the session, asks for it.
    pub(crate) fn client(&self) -> MutexGuard<'_, Option<Box<dyn Client>>> {
        self.client.lock()
    }

    /// The client, unless another task has it.
    pub(crate) fn try_client(&self) -> Option<MutexGuard<'_, Option<Box<dyn Client>>>> {
        self.client.try_lock()
    }

    /// The client broke a rule of polling: the session is over, a held poll is told. If it has been upgraded meanwhile,
    /// nothing happens.
    pub(crate) fn fail(&self, reason: CloseReason, detail: &'static str) {
        tracing::debug!(%reason, detail, "session closed");
        let woken = {
            let mut shared = self.shared.lock();
            shared.session.fail_polling(reason);
            shared.everybody()
        };
        woken.wake();
        self.settle();
    }

    /// The one door out: if the session is closed, forgets it and what waits; if it is over, tells its client, once. Every
    /// driver calls it after anything that may have ended the session.
    pub(crate) fn settle(&self) {
        let mut dropped = Outbox::default();
        let (reason, closed) = {
            let mut shared = self.shared.lock();
            let Some(reason) = shared.session.over() else {
                let is_news = shared.session.is_to_be_established() && shared.session.establish();
                drop(shared);
                if is_news {
                    self.sessions.establish(self);
                }
                return;
            };
            let closed = shared.session.closed().is_some();
            if closed && shared.session.transport() == Transport::Polling {
                // By WebSocket a close frame may still be to leave; its task drops the outbox.
                dropped = std::mem::take(&mut shared.outbox);
            }
            (reason, closed)
        };
        drop(dropped);
        if closed {
            self.sessions.remove(&self.sid);
        }
        // Whoever holds the client now settles when it lets go.
        while let Some(mut slot) = self.client.try_lock() {
            let client = slot.take();
            drop(slot);
            let Some(mut client) = client else { return };
            client.closed(reason);
        }
    }

    /// Does what is due of the heartbeat. `true`: the session is closed.
    pub(crate) fn tick(&self, now: Instant) -> bool {
        let (tick, woken) = {
            let mut shared = self.shared.lock();
            let tick = shared.session.tick(now, &self.sessions.timing);
            let woken = match tick {
                Tick::Nothing => Woken::default(),
                Tick::Ping => {
                    // The ping itself may not find the outbox full: a reader that is slow but reads is alive.
                    shared.outbox.shrink();
                    let _ = shared.outbox.push(&self.sessions.ping, usize::MAX, usize::MAX);
                    Woken([shared.reader.take(), None, None])
                }
                Tick::Closed => shared.everybody(),
            };
            (tick, woken)
        };
        woken.wake();
        tick == Tick::Closed
    }
}

/// Writes the only packet that waits, as nearly always one does: no list is made of it.
fn write_one(
    shared: &mut MutexGuard<'_, Shared>,
    writer: &mut Writer,
    cx: Option<&mut Context<'_>>,
    packet: Arc<Packet>,
) -> Poll<io::Result<()>> {
    let (base64, bytes) = (shared.base64, packet.size());
    let (result, left) = MutexGuard::unlocked(shared, || match writer.write_one(cx, &packet, base64) {
        Poll::Ready(Ok(true)) => {
            drop(packet);
            (Poll::Ready(Ok(())), None)
        }
        result => (result.map_ok(|_| ()), Some(packet)),
    });
    match left {
        None => shared.outbox.written(1, bytes),
        left => shared.outbox.put_back(left.into_iter()),
    }
    result
}

/// One write of all that waits, up to [`PACKETS_PER_WRITE`].
fn write_several(
    shared: &mut MutexGuard<'_, Shared>,
    writer: &mut Writer,
    cx: Option<&mut Context<'_>>,
) -> Poll<io::Result<()>> {
    let mut batch = Batch::take();
    shared.outbox.take(&mut batch.0, PACKETS_PER_WRITE);
    let base64 = shared.base64;
    let result = MutexGuard::unlocked(shared, || writer.write(cx, &mut batch.0, base64));
    if let Poll::Ready(Ok(wrote)) = &result {
        shared.outbox.written(wrote.packets, wrote.bytes);
    }
    shared.outbox.put_back(batch.0.drain(..));
    result.map_ok(|_| ())
}

/// Wakes the writer of a WebSocket without its task: the packets that wait are written by who has put them there.
impl Wake for Connection {
    fn wake(self: Arc<Self>) {
        turn::write(self);
    }
}

/// A connection for which so much waits that it is written to before the turn's end.
struct Crowded(Arc<Connection>);

impl Wake for Crowded {
    fn wake(self: Arc<Self>) {
        self.0.write_now();
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

/// Ends the session if the thread panics in the client's code while this is held: the task that would have ended it is gone.
pub(crate) struct PanicGuard<'a>(pub(crate) &'a Connection);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let woken = {
                let mut shared = self.0.shared.lock();
                shared.session.fail(CloseReason::TransportError);
                shared.everybody()
            };
            woken.wake();
            self.0.settle();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The sid is a secret: it is not shown.
        f.debug_struct("Connection").field("shared", &self.shared).finish_non_exhaustive()
    }
}
