//! [`Connection::send`]: what becomes of a packet, and who writes it.

use crate::connections::connection::Connection;
use crate::connections::relief::Relief;
use crate::session::close_reason::CloseReason;
use crate::session::outbox::Full;
use crate::session::transport::Transport;
use crate::transport::outlet::Offered;
use crate::transport::turn;
use roomcast_protocol::Packet;
use std::sync::Arc;
use std::task::{Wake, Waker};

/// What became of a packet. The task or thread that is to write it is woken when this is dropped, at the latest.
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

    /// Leaves it to the caller to wake the writer. The caller must do so soon: other senders may rely on it.
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

impl Connection {
    /// Puts a packet into the outbox without waking the writer, so that a broadcast can wake all writers after it has
    /// released its lock. Never blocks.
    pub fn send(self: &Arc<Self>, packet: &Arc<Packet>) -> Sent {
        let mut shared = self.shared();
        if !shared.session.is_open() {
            return Sent::new(Delivery::Closed);
        }
        if packet.is_volatile() && !shared.is_writable() {
            drop(shared);
            metrics::counter!("roomcast_volatile_dropped_total").increment(1);
            return Sent::new(Delivery::Dropped);
        }
        let bounds = &self.sessions().bounds;
        let (delivery, waker) = match shared.offer(packet, bounds) {
            Ok(Offered::Nothing | Offered::CheckPace) => (Delivery::Queued, None),
            Ok(Offered::Write) => (Delivery::Queued, Some(Waker::from(self.clone()))),
            Ok(Offered::WriteNow) => (Delivery::Queued, Some(Waker::from(Arc::new(Crowded(self.clone()))))),
            Ok(Offered::Wake(waker)) => (Delivery::Queued, Some(waker)),
            Err(Full) => {
                // It accepts no more packets from here on. The rest is done outside this lock and the caller's.
                shared.session.close(CloseReason::SlowConsumer);
                (Delivery::Overflowed, Some(Waker::from(Arc::new(Overflowed(self.clone())))))
            }
        };
        let charged = shared.outlet.lane.is_blocked() || shared.session.transport() == Transport::Polling;
        drop(shared);
        if charged && self.sessions().budget.is_over() {
            return Sent { delivery, waker: Some(Relief::waker(self.sessions().clone(), waker)) };
        }
        Sent { delivery, waker }
    }
}

/// A connection as a waker: to wake it is to write what waits, at the end of this thread's turn. So an idle WebSocket
/// is written to without its task.
impl Wake for Connection {
    fn wake(self: Arc<Self>) {
        turn::write(self);
    }
}

/// A connection for which so much waits that it is written to before the end of the turn.
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
        self.0.drop_outbox_of_slow("more would wait than the hard bound");
    }
}
