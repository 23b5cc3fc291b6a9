//! [`measure_durations`]: how long handlers, connects and broadcasts take, as histograms.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::LocalKey;
use tokio::time::Instant;

/// Of so many handlers, connects or broadcasts on a thread one is timed. 0: none.
static ONE_IN: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static HANDLERS: Cell<u32> = const { Cell::new(0) };
    static CONNECTS: Cell<u32> = const { Cell::new(0) };
    static BROADCASTS: Cell<u32> = const { Cell::new(0) };
}

/// Times handlers, connects and broadcasts from now on, in the whole process, as the histograms
/// `roomcast_handler_duration_seconds`, `roomcast_connect_duration_seconds` and `roomcast_broadcast_duration_seconds` of
/// the [`metrics`](https://docs.rs/metrics) facade. Call it after a recorder is installed; until then nothing is timed.
///
/// Each thread times one of `one_in` handlers that it starts, and likewise of its connects and broadcasts. With 1 all are
/// timed, with 0 none; the roomcast program uses 16. So the histograms tell how long things take, and not how many there
/// are.
pub fn measure_durations(one_in: u32) {
    ONE_IN.store(one_in, Ordering::Relaxed);
}

/// A handler begins. `label` is that of its namespace.
pub(crate) fn handler(label: impl FnOnce() -> Label) -> Option<Box<Stopwatch>> {
    is_next(&HANDLERS).then(|| Box::new(Stopwatch { began: Instant::now(), of: Of::Handler(label()) }))
}

/// A broadcast begins.
pub(crate) fn broadcast() -> Option<Stopwatch> {
    is_next(&BROADCASTS).then(|| Stopwatch { began: Instant::now(), of: Of::Broadcast })
}

/// A CONNECT has come.
pub(crate) fn connect() -> Option<Instant> {
    is_next(&CONNECTS).then(Instant::now)
}

/// A CONNECT that came then has been answered.
pub(crate) fn connect_answered(began: Option<Instant>, label: impl FnOnce() -> Label) {
    if let Some(began) = began {
        drop(Stopwatch { began, of: Of::Connect(label()) });
    }
}

/// Whether what begins now is to be timed.
fn is_next(seen: &'static LocalKey<Cell<u32>>) -> bool {
    let one_in = ONE_IN.load(Ordering::Relaxed);
    if one_in == 0 {
        return false;
    }
    let seen_before = seen.try_with(|seen| seen.replace(seen.get().wrapping_add(1))).unwrap_or(1);
    seen_before.is_multiple_of(one_in)
}

/// The label of a namespace.
pub(crate) type Label = metrics::SharedString;

/// Records the time from when it was made to when it is dropped.
pub(crate) struct Stopwatch {
    began: Instant,
    of: Of,
}

enum Of {
    Handler(Label),
    Connect(Label),
    Broadcast,
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        let histogram = match &self.of {
            Of::Handler(label) => {
                metrics::histogram!("roomcast_handler_duration_seconds", "namespace" => label.clone())
            }
            Of::Connect(label) => {
                metrics::histogram!("roomcast_connect_duration_seconds", "namespace" => label.clone())
            }
            Of::Broadcast => metrics::histogram!("roomcast_broadcast_duration_seconds"),
        };
        histogram.record(self.began.elapsed());
    }
}
