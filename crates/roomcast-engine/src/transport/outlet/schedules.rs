//! [`drain`] itself under loom's scheduler: its locked sections, and the wakers around them. `session/lane/search.rs`
//! searches the lane's decisions.

use super::*;
use loom::future::{AtomicWaker, block_on};
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::sync::{Arc as LoomArc, Mutex};
use loom::thread;
use roomcast_protocol::Meter;
use std::future::poll_fn;

/// What the client's side of the stream sees.
#[derive(Debug)]
struct Stream {
    received: AtomicUsize,
    /// Packets that the stream takes before it refuses once.
    room: AtomicUsize,
    task: AtomicWaker,
    /// Woken when the client has received everything.
    done: AtomicWaker,
    all: usize,
}

#[derive(Debug)]
struct Half(LoomArc<Stream>);

impl Half {
    fn take(&mut self, cx: Option<&mut Context<'_>>) -> Poll<io::Result<Wrote>> {
        let room = self.0.room.load(SeqCst);
        if room == 0 {
            let Some(cx) = cx else { return Poll::Pending };
            self.0.task.register_by_ref(cx.waker());
            if self.0.room.load(SeqCst) == 0 {
                return Poll::Pending;
            }
        }
        self.0.room.fetch_sub(1, SeqCst);
        if self.0.received.fetch_add(1, SeqCst) + 1 == self.0.all {
            self.0.done.wake();
        }
        Poll::Ready(Ok(Wrote { packets: 1, cost: crate::limits::PACKET_COST + 1, bytes: 1, taken: 1 }))
    }
}

impl Sink for Half {
    fn write_one(&mut self, cx: Option<&mut Context<'_>>, _: &Packet, _: Option<&Deflate>) -> Poll<io::Result<Wrote>> {
        self.take(cx)
    }

    fn write(
        &mut self,
        cx: Option<&mut Context<'_>>,
        batch: &mut Vec<Arc<Packet>>,
        _: Option<&Deflate>,
    ) -> Poll<io::Result<Wrote>> {
        let result = self.take(cx);
        if result.is_ready() {
            batch.remove(0);
        }
        result
    }

    fn is_direct(&self) -> bool {
        true
    }

    fn is_dirty(&self) -> bool {
        false
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn forget(self) {}
}

struct Station {
    outlet: Mutex<Outlet<Half>>,
    bounds: Bounds,
}

impl Locked<Half> for Station {
    fn with<R>(&self, use_it: impl FnOnce(&mut Outlet<Half>) -> R) -> R {
        use_it(&mut self.outlet.lock().unwrap())
    }

    fn deflate(&self) -> Option<&Deflate> {
        None
    }

    fn count(&self, _: &Wrote) {}
}

/// Each of `emitters` sends a packet, in a turn of its own; the stream takes `room` packets, refuses, and takes more
/// again. If the task sleeps while packets wait, the test hangs, which loom reports.
fn every_schedule(emitters: usize, room: usize) {
    let mut model = loom::model::Builder::new();
    // `cargo xtask long` sets the variable: minutes instead of seconds for two emitters.
    model.preemption_bound = Some(if emitters < 2 || std::env::var_os("ROOMCAST_LONG").is_some() { 3 } else { 2 });
    model.check(move || {
        let stream = LoomArc::new(Stream {
            received: AtomicUsize::new(0),
            room: AtomicUsize::new(room),
            task: AtomicWaker::new(),
            done: AtomicWaker::new(),
            all: emitters,
        });
        let mut outlet = Outlet::default();
        outlet.lane.attach(Half(stream.clone()));
        let bounds = Bounds { soft: 1 << 20, hard: 1 << 20, crowded: 1 << 20, meter: Arc::<Meter>::default() };
        let station = LoomArc::new(Station { outlet: Mutex::new(outlet), bounds });
        let mut threads: Vec<_> = (0..emitters)
            .map(|number| {
                let station = station.clone();
                thread::spawn(move || {
                    let packet = Arc::new(Packet::control(vec![0]));
                    let turn = TurnId(number as u32 + 1);
                    let offered = station.with(|outlet| outlet.offer(&packet, turn, &station.bounds));
                    match offered.unwrap() {
                        Offered::Write | Offered::WriteNow => drop(drain(&*station, By::Other, &station.bounds)),
                        Offered::Wake(waker) => waker.wake(),
                        Offered::Nothing | Offered::CheckPace => {}
                    }
                })
            })
            .collect();
        let peer = stream.clone();
        threads.push(thread::spawn(move || {
            peer.room.fetch_add(emitters, SeqCst);
            peer.task.wake();
        }));
        block_on(poll_fn(|cx| {
            station.with(|outlet| {
                outlet.task = None;
                outlet.lane.claim(TurnId(100));
            });
            let _ = drain(&*station, By::Task(cx), &station.bounds);
            stream.done.register_by_ref(cx.waker());
            if stream.received.load(SeqCst) == emitters { Poll::Ready(()) } else { Poll::Pending }
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(stream.received.load(SeqCst), emitters);
    });
}

#[test]
fn one_emitter_and_a_stream_that_takes_all() {
    every_schedule(1, 1);
}

#[test]
fn one_emitter_and_a_stream_that_refuses() {
    every_schedule(1, 0);
}

#[test]
fn two_emitters_and_a_stream_that_refuses() {
    every_schedule(2, 1);
}
