//! [`Connection`]: one session, as the rest of the server sees it. Its outbox and session state are under one short
//! lock; only the task that reads touches its handler.

use crate::connections::sessions::Sessions;
use crate::connections::shared::{Shared, Wakers};
use crate::connections::table::Identity;
use crate::http::handshake::Handshake;
use crate::session::close_reason::CloseReason;
use crate::session::handler::SessionHandler;
use crate::session::state::{Session, Tick};
use crate::session::transport::Transport;
use crate::transport::outlet::Outlet;
use http::Extensions;
use parking_lot::{Mutex, MutexGuard};
use roomcast_protocol::Sid;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use tokio::time::Instant;

/// One Engine.IO session.
// A broadcast to 5,000 clients is a walk through memory that no core's cache holds. So the fields that it touches come
// first and together, here and in `Shared`, in the order of their use (decision 0013).
#[repr(C)]
pub struct Connection {
    shared: Mutex<Shared>,
    sessions: Arc<Sessions<Self>>,
    sid: Sid,
    handler: Mutex<Option<Box<dyn SessionHandler>>>,
    handshake: Handshake,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.sessions.config.keep.is_empty() {
            let kept = self.sessions.extensions.lock().remove(&self.identity());
            // Outside the lock: they are the application's.
            drop(kept);
        }
    }
}

/// What waits for a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outstanding {
    /// Packets, including those that are being written.
    pub packets: usize,
    /// Their bytes, plus 128 for each of them.
    pub bytes: usize,
}

impl Connection {
    pub(crate) fn new(sid: Sid, session: Session, handshake: Handshake, sessions: Arc<Sessions<Self>>) -> Self {
        let shared = Shared { outlet: Outlet::default(), session, polling: None };
        Self { sid, shared: Mutex::new(shared), handler: Mutex::new(None), sessions, handshake }
    }

    /// The session's secret id.
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// The first request.
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// A clone of the extension of this type of the first request, if [`EngineConfig::keep_extension`] named it: a session or a
    /// user that a layer in front of the server put there.
    ///
    /// [`EngineConfig::keep_extension`]: crate::EngineConfig::keep_extension
    pub fn extension<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let kept = self.sessions.extensions.lock().get(&self.identity())?.clone();
        // Outside the lock: it is the application's `clone`.
        kept.get::<T>().cloned()
    }

    pub(crate) fn keep_extensions(&self, request: &Extensions) {
        let mut kept = Extensions::new();
        for keep in &self.sessions.config.keep {
            keep(request, &mut kept);
        }
        if !kept.is_empty() {
            self.sessions.extensions.lock().insert(self.identity(), Arc::new(kept));
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { opened: self.handshake.nanoseconds(), sid: self.sid }
    }

    /// How the client is connected now.
    pub fn transport(&self) -> Transport {
        self.shared.lock().session.transport()
    }

    /// Whether packets can still be sent.
    pub fn is_open(&self) -> bool {
        self.shared.lock().session.is_open()
    }

    /// Reads a little of the connection, so that what [`Connection::send`] will touch is on its way from memory. In a
    /// broadcast to thousands, each connection has fallen out of the caches since the last one, and to wait for one
    /// after another took a tenth of the time of a delivery.
    pub fn prefetch(self: &Arc<Self>) {
        // A read that nothing depends on does not stall a processor. The count lies beside the lock.
        std::hint::black_box(Arc::strong_count(self));
    }

    /// Resolves when less than half of the soft bound waits for the client, so that a sender of much can keep to the
    /// client's pace. Returns `false` if the session is over.
    ///
    /// Cancel safe: dropping the future only gives up the wait.
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

    pub(crate) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock()
    }

    pub(crate) fn sessions(&self) -> &Arc<Sessions<Self>> {
        &self.sessions
    }

    /// The handler, for the task that reads, or that ends the session.
    pub(crate) fn handler(&self) -> MutexGuard<'_, Option<Box<dyn SessionHandler>>> {
        self.handler.lock()
    }

    /// The handler, unless another task has it.
    pub(crate) fn try_handler(&self) -> Option<MutexGuard<'_, Option<Box<dyn SessionHandler>>>> {
        self.handler.try_lock()
    }

    /// The session has begun its work, whatever that is to the [`SessionHandler`]: from now on it does not have to make
    /// room for new ones when there are too many
    /// ([`EngineConfig::max_unjoined_sessions`](crate::EngineConfig::max_unjoined_sessions)). Where
    /// [`SessionHandler::is_established_by_a_message`] returns `true`, the first message does this.
    pub fn establish(&self) {
        let is_new = self.shared.lock().session.establish();
        if is_new {
            self.sessions.establish(self);
        }
    }

    /// Does what is due of the heartbeat, and returns whether the session is closed.
    pub(crate) fn tick(&self, now: Instant) -> bool {
        let (tick, wakers) = {
            let mut shared = self.shared.lock();
            let tick = shared.session.tick(now, &self.sessions.timing);
            let wakers = match tick {
                Tick::Nothing => Wakers::default(),
                Tick::Ping => {
                    // A full outbox does not refuse the ping: a client that reads slowly is alive.
                    let outlet = &mut shared.outlet;
                    outlet.outbox.shrink();
                    let _ = outlet.outbox.push(&self.sessions.ping, usize::MAX);
                    Wakers::of_task(outlet.task.take())
                }
                Tick::Closed => shared.take_wakers(),
            };
            (tick, wakers)
        };
        wakers.wake();
        tick == Tick::Closed
    }

    // --- the end ---

    /// Ends the session. What is queued still leaves, then the client sees the end.
    pub fn close(&self) {
        self.close_for(CloseReason::ForcedClose);
    }

    pub(crate) fn close_for(&self, reason: CloseReason) {
        let wakers = {
            let mut shared = self.shared.lock();
            let drained = shared.outlet.outbox.is_empty();
            shared.session.finish(reason, drained, Instant::now(), self.sessions.config.close_timeout);
            shared.take_wakers()
        };
        wakers.wake();
    }

    /// Ends the session of a client that broke a rule of the protocol above. Its [`SessionHandler`] learns of the end
    /// at once; what is queued still leaves, within [`EngineConfig::close_timeout`](crate::EngineConfig::close_timeout)
    /// by polling too. The reason is [`CloseReason::ForcedClose`], or `waiting` if something is queued or no poll is
    /// held that can carry the end: Node makes the same distinction.
    pub fn close_at_fault(&self, waiting: CloseReason) {
        self.fault([CloseReason::ForcedClose, waiting]);
    }

    /// As [`Connection::close_at_fault`], for a rule that Node does not have: the reason is always this one.
    pub fn close_as(&self, reason: CloseReason) {
        self.fault([reason, reason]);
    }

    fn fault(&self, reasons: [CloseReason; 2]) {
        let wakers = {
            let mut shared = self.shared.lock();
            let drained = shared.outlet.outbox.is_empty();
            shared.session.fault(reasons, drained, Instant::now(), self.sessions.config.close_timeout);
            shared.take_wakers()
        };
        wakers.wake();
        self.finish_if_over();
    }

    /// Ends the session of a client that broke a rule of polling, and answers a held poll with the end. If the session
    /// has been upgraded meanwhile, nothing happens.
    pub(crate) fn fail_polling(&self, reason: CloseReason, detail: &'static str) {
        tracing::debug!(%reason, detail, "session closed");
        let wakers = {
            let mut shared = self.shared.lock();
            shared.session.fail_polling(reason);
            shared.take_wakers()
        };
        wakers.wake();
        self.finish_if_over();
    }

    /// Ends the session because of the server, and answers a held poll with the end.
    pub(crate) fn fail(&self, reason: CloseReason) {
        let wakers = {
            let mut shared = self.shared.lock();
            shared.session.fail(reason);
            shared.take_wakers()
        };
        wakers.wake();
        self.finish_if_over();
    }

    /// Ends the session of a slow consumer.
    pub(crate) fn disconnect_slow(&self, why: &'static str) {
        {
            let mut shared = self.shared.lock();
            if !shared.session.is_open() {
                return;
            }
            shared.session.close(CloseReason::SlowConsumer);
        }
        self.drop_outbox_of_slow(why);
    }

    /// Does the rest for a slow consumer whose session is closed already.
    pub(crate) fn drop_outbox_of_slow(&self, why: &'static str) {
        let (waiting, wakers, outstanding) = {
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
        wakers.wake();
    }

    /// The only place where a session leaves. If it is closed, it is removed, and what waits by polling is dropped; if
    /// it is over, its handler is called, once. A session that goes on is established here by its first message. Every
    /// driver calls this after anything that may have ended the session.
    pub(crate) fn finish_if_over(&self) {
        let (reason, closed, transport, dropped) = {
            let mut shared = self.shared.lock();
            let Some(reason) = shared.session.over() else {
                let is_new = shared.session.is_to_be_established() && shared.session.establish();
                drop(shared);
                if is_new {
                    self.sessions.establish(self);
                }
                return;
            };
            let closed = shared.session.closed().is_some();
            // By WebSocket a close frame may still have to leave; its task drops the outbox.
            let transport = shared.session.transport();
            let polled = closed && transport == Transport::Polling;
            let dropped = polled.then(|| shared.outlet.outbox.clear());
            (reason, closed, transport, dropped)
        };
        drop(dropped);
        if closed {
            self.sessions.remove(self.sid, reason, transport);
        }
        // A task that holds the handler now calls this function when it releases it.
        while let Some(mut slot) = self.handler.try_lock() {
            let handler = slot.take();
            drop(slot);
            let Some(mut handler) = handler else { return };
            handler.closed(reason);
        }
    }
}

/// Ends the session if the thread panics in the handler's code while this is held: the task that would have ended it is
/// gone.
pub(crate) struct PanicGuard<'a>(pub(crate) &'a Connection);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(CloseReason::TransportError);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The sid is a secret: it is not shown.
        f.debug_struct("Connection").field("shared", &self.shared).finish_non_exhaustive()
    }
}
