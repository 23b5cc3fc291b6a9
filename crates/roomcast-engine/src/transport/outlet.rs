//! [`Outlet`]: the way out of a connection, namely what waits, who may write it, and which task to wake. It is under
//! the connection's lock. [`drain`] is the only code that writes.

use crate::limits::{PACKETS_PER_WRITE, WRITES_PER_DRAIN};
use crate::session::bounds::Bounds;
use crate::session::lane::{Drained, Duty, Lane, PutBack};
use crate::session::outbox::{Full, Outbox, cost};
use crate::session::pace::{Pacer, Pacing};
use crate::session::turn_id::TurnId;
use crate::transport::sink::{Batch, Sink, Wrote};
use roomcast_protocol::Packet;
use roomcast_protocol::deflate::Deflate;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// See the module. The order of the fields matters: a broadcast touches the first ones (decision 0013).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Outlet<W> {
    pub(crate) lane: Lane<W>,
    pub(crate) outbox: Outbox,
    /// The waker of the task that takes packets out of the outbox: the WebSocket's, or the held GET. It is there while
    /// that task sleeps. Without it the task runs, or will, and checks the outbox before it sleeps.
    pub(crate) task: Option<Waker>,
    pub(crate) pacer: Pacer,
}

impl<W> Default for Outlet<W> {
    fn default() -> Self {
        Self { lane: Lane::Detached, outbox: Outbox::default(), task: None, pacer: Pacer::default() }
    }
}

/// What the sender of a packet has to do outside the lock, once the packet is in the outbox.
#[derive(Debug)]
pub(crate) enum Offered {
    Nothing,
    /// Write, at the end of the turn.
    Write,
    /// Write now.
    WriteNow,
    /// Wake the task.
    Wake(Waker),
    /// Wake the task that checks the pace: more than the soft bound waits now.
    CheckPace,
}

impl<W> Outlet<W> {
    /// Puts a packet into the outbox of a WebSocket.
    pub(crate) fn offer(&mut self, packet: &Arc<Packet>, turn: TurnId, bounds: &Bounds) -> Result<Offered, Full> {
        let before = self.outbox.cost();
        self.outbox.push(packet, bounds.hard)?;
        Ok(match self.lane.offer(turn, self.outbox.cost() >= bounds.crowded) {
            Duty::Write => Offered::Write,
            Duty::WriteNow => Offered::WriteNow,
            Duty::Nothing if self.lane.is_blocked() => {
                packet.charge(&bounds.meter, cost(packet));
                if self.passed_soft(before, bounds) {
                    self.task.take().map_or(Offered::Nothing, Offered::Wake)
                } else {
                    Offered::Nothing
                }
            }
            Duty::Nothing => Offered::Nothing,
        })
    }

    /// Puts a packet into the outbox of a polling session. `held`: a GET waits for it. Its task is woken at the end of
    /// the turn too: if the thread that wakes it blocks afterwards, the task would be in the one slot of that worker
    /// from which other workers cannot steal.
    pub(crate) fn offer_to_poll(&mut self, packet: &Arc<Packet>, held: bool, bounds: &Bounds) -> Result<Offered, Full> {
        let before = self.outbox.cost();
        self.outbox.push(packet, bounds.hard)?;
        if held {
            return Ok(Offered::Write);
        }
        packet.charge(&bounds.meter, cost(packet));
        Ok(if self.passed_soft(before, bounds) { Offered::CheckPace } else { Offered::Nothing })
    }

    /// Whether more than the soft bound waits, and did not before. Then the pace has to be checked.
    fn passed_soft(&self, before: usize, bounds: &Bounds) -> bool {
        before <= bounds.soft && self.outbox.cost() > bounds.soft
    }

    /// Checks whether the transport keeps its pace; each grace period has this length.
    pub(crate) fn check_pace(&mut self, now: Instant, length: Duration, bounds: &Bounds) -> Pacing {
        self.pacer.check(self.outbox.cost(), now, length, bounds)
    }

    /// Whether less than half of the soft bound waits. If not, `cx` is woken when it does.
    pub(crate) fn poll_ready(&mut self, cx: &Context<'_>, bounds: &Bounds) -> bool {
        self.pacer.poll_ready(self.outbox.cost(), cx, bounds)
    }

    /// Something has left: returns the senders that may go on.
    pub(crate) fn take_ready(&mut self, bounds: &Bounds) -> Vec<Waker> {
        self.pacer.take_ready(self.outbox.cost(), bounds)
    }

    /// Takes out what waits and the writing half, for another outlet.
    pub(crate) fn hand_over(&mut self) -> (Outbox, Option<W>) {
        (std::mem::take(&mut self.outbox), self.lane.detach())
    }

    /// The stream is over. Returns what is to be dropped outside the lock. What waited can still be counted.
    pub(crate) fn detach(&mut self) -> (impl Sized + use<W>, Option<W>) {
        self.task = None;
        (self.outbox.clear(), self.lane.detach())
    }
}

/// The lock around an outlet. Tests replace it by loom's.
pub(crate) trait Locked<W> {
    fn with<R>(&self, use_it: impl FnOnce(&mut Outlet<W>) -> R) -> R;

    /// How to compress for a client that has agreed to it.
    fn deflate(&self) -> Option<&Deflate>;

    /// Something was written. For counting; called without the lock.
    fn count(&self, wrote: &Wrote);
}

/// What one write takes.
enum Load {
    One(Arc<Packet>),
    Several(Batch),
    Flush,
}

impl Load {
    fn next<W: Sink>(outlet: &mut Outlet<W>, writer: &W) -> Option<Self> {
        if let Some(only) = outlet.outbox.take_only() {
            return Some(Self::One(only));
        }
        if outlet.outbox.is_drained() {
            return writer.is_dirty().then_some(Self::Flush);
        }
        let mut batch = Batch::take();
        outlet.outbox.take(&mut batch.0, PACKETS_PER_WRITE);
        Some(Self::Several(batch))
    }

    fn write<W: Sink>(
        &mut self,
        cx: Option<&mut Context<'_>>,
        writer: &mut W,
        deflate: Option<&Deflate>,
    ) -> Poll<io::Result<Wrote>> {
        match self {
            Self::One(packet) => writer.write_one(cx, packet, deflate),
            Self::Several(batch) => writer.write(cx, &mut batch.0, deflate),
            Self::Flush => match cx {
                Some(cx) => writer.poll_flush(cx).map_ok(|()| Wrote::default()),
                None => Poll::Pending,
            },
        }
    }

    /// Notes in the outbox what has left, and puts back what has not. Returns what is to be dropped outside the lock.
    fn put_back<W>(self, outlet: &mut Outlet<W>, wrote: &Wrote) -> Option<Arc<Packet>> {
        outlet.pacer.note_taken(wrote.packets, wrote.taken);
        match self {
            Self::One(packet) if wrote.packets == 1 => {
                outlet.outbox.written(1, wrote.cost, std::iter::empty());
                Some(packet)
            }
            Self::One(packet) => {
                outlet.outbox.written(0, 0, std::iter::once(packet));
                None
            }
            Self::Several(mut batch) => {
                outlet.outbox.written(wrote.packets, wrote.cost, batch.0.drain(..));
                None
            }
            Self::Flush => None,
        }
    }
}

/// Who drains.
pub(crate) enum By<'a, 'b> {
    /// The connection's task.
    Task(&'a mut Context<'b>),
    /// Any other thread or task.
    Other,
}

/// What a locked section of [`drain`] decides.
enum Next<W> {
    /// Another writer writes, or there is no stream.
    Busy,
    Write(W, Load),
    End(Drained, End<W>),
}

/// What is to be done outside the lock when a drain has ended.
struct End<W> {
    /// The writing half, if the stream is over.
    over: Option<W>,
    wake: Option<Waker>,
    ready: Vec<Waker>,
}

/// Writes what waits. Ready: everything has left. Pending: the stream takes no more, another writer writes, or more is
/// left to do; the connection's task is or will be woken for it. Errors matter only to the connection's task, which
/// meets them itself.
pub(crate) fn drain<W: Sink>(outlet: &impl Locked<W>, mut by: By<'_, '_>, bounds: &Bounds) -> Poll<io::Result<()>> {
    let by_task = matches!(by, By::Task(_));
    let begun = outlet.with(|outlet| {
        let Some(writer) = outlet.lane.take(by_task) else {
            if let By::Task(cx) = &by {
                register(&mut outlet.task, cx);
            }
            return Next::Busy;
        };
        if !by_task && !writer.is_direct() && Handle::try_current().is_err() {
            return Next::End(Drained::Unfinished, outlet.end(writer, Drained::Unfinished, &by, bounds));
        }
        match Load::next(outlet, &writer) {
            Some(load) => Next::Write(writer, load),
            None => Next::End(Drained::All, outlet.end(writer, Drained::All, &by, bounds)),
        }
    });
    let deflate = outlet.deflate();
    // The waker of the connection's task, once it is needed.
    let mut task = None;
    let (mut next, mut writes, mut error) = (begun, 0, None);
    loop {
        let (mut writer, mut load) = match next {
            Next::Busy => return Poll::Pending,
            Next::Write(writer, load) => (writer, load),
            Next::End(drained, end) => {
                end.finish();
                if let (Drained::Unfinished, None, By::Task(cx)) = (drained, &error, &by) {
                    // Other tasks of this thread run first.
                    cx.waker().wake_by_ref();
                }
                return match error {
                    Some(error) => Poll::Ready(Err(error)),
                    None if drained == Drained::All => Poll::Ready(Ok(())),
                    None => Poll::Pending,
                };
            }
        };
        let result = match &mut by {
            By::Task(cx) => load.write(Some(cx), &mut writer, deflate),
            By::Other => match load.write(None, &mut writer, deflate) {
                // The stream has to wake the connection's task, and not this writer. Without a waker the task runs, or
                // will, and checks the outbox itself.
                Poll::Pending => {
                    let task = task.get_or_insert_with(|| outlet.with(|outlet| outlet.task.clone()));
                    let mut cx = Context::from_waker(task.as_ref().unwrap_or(Waker::noop()));
                    load.write(Some(&mut cx), &mut writer, deflate)
                }
                result => result,
            },
        };
        writes += 1;
        let (wrote, stop) = match result {
            Poll::Ready(Ok(wrote)) => {
                outlet.count(&wrote);
                (wrote, None)
            }
            Poll::Ready(Err(broken)) => {
                error = Some(broken);
                (Wrote::default(), Some(Drained::Unfinished))
            }
            Poll::Pending => (Wrote::default(), Some(Drained::Blocked)),
        };
        let gone;
        (next, gone) = outlet.with(|outlet| {
            let gone = load.put_back(outlet, &wrote);
            let drained = match stop {
                Some(stop) => stop,
                None if writes < WRITES_PER_DRAIN => match Load::next(outlet, &writer) {
                    Some(load) => return (Next::Write(writer, load), gone),
                    None => Drained::All,
                },
                None if outlet.outbox.is_drained() && !writer.is_dirty() => Drained::All,
                None => Drained::Unfinished,
            };
            (Next::End(drained, outlet.end(writer, drained, &by, bounds)), gone)
        });
        // Packets are freed outside the lock.
        drop(gone);
    }
}

impl<W> Outlet<W> {
    /// Puts the writer back, and returns what is to be done outside the lock.
    fn end(&mut self, writer: W, drained: Drained, by: &By<'_, '_>, bounds: &Bounds) -> End<W> {
        let PutBack { over, wake } = self.lane.put_back(writer, drained);
        if over.is_some() {
            return End { over, wake: None, ready: Vec::new() };
        }
        if drained == Drained::Blocked {
            // What waits now could not leave at once.
            self.outbox.charge(&bounds.meter);
        }
        let wake = match by {
            By::Task(cx) => {
                register(&mut self.task, cx);
                None
            }
            By::Other
                if wake || (drained == Drained::Blocked && self.pacer.needs_check(self.outbox.cost(), bounds)) =>
            {
                self.task.take()
            }
            By::Other => None,
        };
        End { over: None, wake, ready: self.take_ready(bounds) }
    }
}

impl<W: Sink> End<W> {
    fn finish(self) {
        if let Some(writer) = self.over {
            writer.forget();
        }
        self.wake.into_iter().chain(self.ready).for_each(Waker::wake);
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

#[cfg(test)]
mod schedules;
