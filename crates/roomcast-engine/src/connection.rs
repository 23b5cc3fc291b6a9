//! [`Connection`]: one session, as everybody else sees it. Its outbox and session state are under one short lock; its client is
//! touched only by the task that reads.

use crate::application::SessionHandler;
use crate::engine::Sessions;
use crate::handshake::Handshake;
use crate::outbox::Full;
use crate::outlet::{Bounds, By, Locked, Offered, Outlet, drain};
use crate::pace::Pacing;
use crate::session::{CloseReason, Session, Tick, Transport};
use crate::turn;
use crate::writer::{Writer, Wrote};
use parking_lot::{Mutex, MutexGuard};
use roomcast_protocol::{Packet, Sid};
use std::fmt;
use std::future::poll_fn;
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
    client: Mutex<Option<Box<dyn SessionHandler>>>,
    handshake: Handshake,
}

/// What several tasks touch.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) outlet: Outlet<Writer>,
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
pub(crate) struct Woken {
    tasks: [Option<Waker>; 3],
    ready: Vec<Waker>,
}

impl Woken {
    pub(crate) fn wake(self) {
        self.tasks.into_iter().flatten().chain(self.ready).for_each(Waker::wake);
    }
}

impl Shared {
    pub(crate) fn take_wakers(&mut self) -> Woken {
        let Polling { keeper, poster } = self.polling.take().map(|polling| *polling).unwrap_or_default();
        let ready = if self.session.is_open() { Vec::new() } else { self.outlet.take_ready() };
        Woken { tasks: [self.outlet.task.take(), keeper, poster], ready }
    }

    pub(crate) fn polling(&mut self) -> &mut Polling {
        self.polling.get_or_insert_default()
    }

    fn is_writable(&self) -> bool {
        let free = match self.session.transport() {
            Transport::Polling => self.session.poll_is_writable(),
            Transport::WebSocket => true,
        };
        free && self.outlet.outbox.is_empty()
    }

    fn offer(&mut self, packet: &Arc<Packet>, bounds: &Bounds) -> Result<Offered, Full> {
        match self.session.transport() {
            Transport::WebSocket => self.outlet.offer(packet, turn::current(), bounds),
            Transport::Polling => {
                let held = self.session.poll_is_writable();
                let offered = self.outlet.offer_to_poll(packet, held, bounds)?;
                // It is the keeper that looks at the pace of a session that polls.
                let mut keeper = || self.polling.as_mut().and_then(|polling| polling.keeper.take());
                Ok(match offered {
                    Offered::Watch => keeper().map_or(Offered::Nothing, Offered::Wake),
                    offered => offered,
                })
            }
        }
    }
}

/// What became of a packet. Whoever is to write it is woken when this is dropped, at the latest.
#[derive(Debug)]
#[must_use = "the writer is woken when it is dropped: call `wake`, or keep the waker with `split`"]
pub struct Sent {
    delivery: Delivery,
    waker: Option<Waker>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// It is in the outbox.
    Queued,
    /// It is volatile, and the transport is not writable.
    Dropped,
    /// The session is over.
    Closed,
    /// Too much waits already. The client is disconnected as a slow consumer.
    Overflowed,
}

impl Sent {
    fn new(delivery: Delivery) -> Self {
        Self { delivery, waker: None }
    }

    /// Wakes the writer.
    pub fn wake(self) -> Delivery {
        self.delivery
    }

    /// Leaves waking the writer to the caller, who must do so soon: others may rely on it.
    pub fn split(mut self) -> (Delivery, Option<Waker>) {
        (self.delivery, self.waker.take())
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What waits for a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outstanding {
    /// Packets, those that are being written among them.
    pub packets: usize,
    /// Their bytes, and 128 for each of them.
    pub bytes: usize,
}

impl Connection {
    pub(crate) fn new(sid: Sid, session: Session, handshake: Handshake, sessions: Arc<Sessions>) -> Self {
        let shared = Shared { outlet: Outlet::default(), session, polling: None };
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
            return Sent::new(Delivery::Closed);
        }
        if packet.is_volatile() && !shared.is_writable() {
            drop(shared);
            metrics::counter!("roomcast_volatile_dropped_total").increment(1);
            return Sent::new(Delivery::Dropped);
        }
        let bounds = &self.sessions.bounds;
        let (delivery, waker) = match shared.offer(packet, bounds) {
            Ok(Offered::Nothing | Offered::Watch) => (Delivery::Queued, None),
            Ok(Offered::Write) => (Delivery::Queued, Some(Waker::from(self.clone()))),
            Ok(Offered::WriteNow) => (Delivery::Queued, Some(Waker::from(Arc::new(Crowded(self.clone()))))),
            Ok(Offered::Wake(waker)) => (Delivery::Queued, Some(waker)),
            Err(Full) => {
                // It takes no more packets from here on. The rest is done outside this lock and the caller's.
                shared.session.close(CloseReason::SlowConsumer);
                (Delivery::Overflowed, Some(Waker::from(Arc::new(Overflowed(self.clone())))))
            }
        };
        let charged = shared.outlet.lane.is_blocked() || shared.session.transport() == Transport::Polling;
        drop(shared);
        if charged && self.sessions.budget.is_over() {
            return Sent { delivery, waker: Some(self.sessions.relief(waker)) };
        }
        Sent { delivery, waker }
    }

    /// Resolves when less than half of the soft bound waits for the client, so that whoever has much to send can go at the
    /// client's pace. `false`: the session is over.
    ///
    /// Cancel safe: dropping the future gives up waiting, no more.
    pub async fn ready(&self) -> bool {
        poll_fn(|cx| {
            let mut shared = self.shared.lock();
            if !shared.session.is_open() {
                return Poll::Ready(false);
            }
            if shared.outlet.poll_ready(cx, &self.sessions.bounds) { Poll::Ready(true) } else { Poll::Pending }
        })
        .await
    }

    /// What waits for the client now; after the end of the session, what waited then.
    pub fn outstanding(&self) -> Outstanding {
        let shared = self.shared.lock();
        Outstanding { packets: shared.outlet.outbox.packets(), bytes: shared.outlet.outbox.cost() }
    }

    /// Writes what waits to the WebSocket, as its task. Ready: everything has left. Pending: the task is woken to go on.
    pub(crate) fn flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        drain(self, By::Task(cx), &self.sessions.bounds)
    }

    /// Writes what waits, on this thread. What goes wrong is the task's business, which is woken for it.
    pub(crate) fn write_now(&self) {
        if drain(self, By::Other, &self.sessions.bounds).is_ready() {
            return;
        }
        // A session that polls has no stream: the held GET takes what waits.
        let poll = {
            let mut shared = self.shared.lock();
            if shared.session.transport() == Transport::Polling { shared.outlet.task.take() } else { None }
        };
        if let Some(poll) = poll {
            poll.wake();
        }
        if self.sessions.budget.is_over() {
            self.sessions.relieve();
        }
    }

    /// The task is to write what waits.
    pub(crate) fn leave_to_task(&self) {
        let task = self.shared.lock().outlet.task.take();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// An answer to a poll has been written, or never will be.
    pub(crate) fn answered(&self, packets: usize, cost: usize) {
        let ready = {
            let mut shared = self.shared.lock();
            shared.outlet.outbox.written(packets, cost, std::iter::empty());
            shared.outlet.took(&Wrote { packets: 0, cost, bytes: cost });
            shared.outlet.now_ready(&self.sessions.bounds)
        };
        ready.into_iter().for_each(Waker::wake);
    }

    /// Looks whether the transport keeps the pace, and closes the session if it does not. Otherwise tells when to look again.
    pub(crate) fn keep_pace(&self, now: Instant) -> Option<Instant> {
        let Sessions { bounds, budget, config, .. } = &*self.sessions;
        let mut shared = self.shared.lock();
        if !shared.session.is_open() {
            return None;
        }
        match shared.outlet.look(now, budget.grace(config.ping_timeout), bounds) {
            Pacing::Fine => None,
            Pacing::Until(at) => Some(at),
            Pacing::Cut => {
                shared.session.close(CloseReason::SlowConsumer);
                drop(shared);
                self.cut("it did not take an eighth of what waits in the time that it had");
                None
            }
        }
    }

    /// Ends the session of a slow consumer.
    pub(crate) fn cut_as_slow(&self, why: &'static str) {
        {
            let mut shared = self.shared.lock();
            if !shared.session.is_open() {
                return;
            }
            shared.session.close(CloseReason::SlowConsumer);
        }
        self.cut(why);
    }

    /// The client is a slow consumer: its session is closed already.
    fn cut(&self, why: &'static str) {
        let (waiting, woken, outstanding) = {
            let mut shared = self.shared.lock();
            let outbox = &mut shared.outlet.outbox;
            let outstanding = Outstanding { packets: outbox.packets(), bytes: outbox.cost() };
            (outbox.clear(), shared.take_wakers(), outstanding)
        };
        // Packets are freed outside the lock.
        drop(waiting);
        metrics::counter!("roomcast_slow_consumers_total").increment(1);
        let peer = self.handshake.address();
        tracing::info!(
            ?peer,
            packets = outstanding.packets,
            bytes = outstanding.bytes,
            why,
            "a client does not read: it is disconnected"
        );
        woken.wake();
    }

    /// Ends the session: what is queued still leaves, the client then sees the end.
    pub fn close(&self) {
        self.close_for(CloseReason::ForcedClose);
    }

    pub(crate) fn close_for(&self, reason: CloseReason) {
        let woken = {
            let mut shared = self.shared.lock();
            let drained = shared.outlet.outbox.is_empty();
            shared.session.finish(reason, drained, Instant::now(), self.sessions.config.close_timeout);
            shared.take_wakers()
        };
        woken.wake();
    }

    /// The session has begun its work, whatever that is to the [`SessionHandler`]: from now on it does not have to make room for new
    /// ones when there are too many ([`EngineConfig::max_unjoined_sessions`](crate::EngineConfig::max_unjoined_sessions)).
    /// Where [`SessionHandler::is_established_by_a_message`] says yes, the first message calls it.
    pub fn establish(&self) {
        let is_news = self.shared.lock().session.establish();
        if is_news {
            self.sessions.establish(self);
        }
    }

    /// Ends the session of a client that broke a rule of what stands above: its [`SessionHandler`] is told at once, what is queued
    /// still leaves, within [`EngineConfig::close_timeout`](crate::EngineConfig::close_timeout) by polling too. The reason is
    /// [`CloseReason::ForcedClose`], or `waiting` if something is queued or no poll is there to take the end, as Node
    /// tells them apart.
    pub fn close_at_fault(&self, waiting: CloseReason) {
        let woken = {
            let mut shared = self.shared.lock();
            let drained = shared.outlet.outbox.is_empty();
            shared.session.fault(waiting, drained, Instant::now(), self.sessions.config.close_timeout);
            shared.take_wakers()
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
    pub(crate) fn client(&self) -> MutexGuard<'_, Option<Box<dyn SessionHandler>>> {
        self.client.lock()
    }

    /// The client, unless another task has it.
    pub(crate) fn try_client(&self) -> Option<MutexGuard<'_, Option<Box<dyn SessionHandler>>>> {
        self.client.try_lock()
    }

    /// The client broke a rule of polling: the session is over, a held poll is told. If it has been upgraded meanwhile,
    /// nothing happens.
    pub(crate) fn fail(&self, reason: CloseReason, detail: &'static str) {
        tracing::debug!(%reason, detail, "session closed");
        let woken = {
            let mut shared = self.shared.lock();
            shared.session.fail_polling(reason);
            shared.take_wakers()
        };
        woken.wake();
        self.settle();
    }

    /// The one door out: if the session is closed, forgets it and what waits; if it is over, tells its client, once. Every
    /// driver calls it after anything that may have ended the session.
    pub(crate) fn settle(&self) {
        let (reason, closed, dropped) = {
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
            // By WebSocket a close frame may still be to leave; its task drops the outbox.
            let polled = closed && shared.session.transport() == Transport::Polling;
            let dropped = polled.then(|| shared.outlet.outbox.clear());
            (reason, closed, dropped)
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
                    let outlet = &mut shared.outlet;
                    outlet.outbox.shrink();
                    let _ = outlet.outbox.push(&self.sessions.ping, usize::MAX);
                    Woken { tasks: [outlet.task.take(), None, None], ready: Vec::new() }
                }
                Tick::Closed => shared.take_wakers(),
            };
            (tick, woken)
        };
        woken.wake();
        tick == Tick::Closed
    }
}

impl Locked<Writer> for Connection {
    fn with<R>(&self, use_it: impl FnOnce(&mut Outlet<Writer>) -> R) -> R {
        use_it(&mut self.shared.lock().outlet)
    }
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

/// A connection whose outbox was full.
struct Overflowed(Arc<Connection>);

impl Wake for Overflowed {
    fn wake(self: Arc<Self>) {
        self.0.cut("more would wait than the hard bound");
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
                shared.take_wakers()
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
