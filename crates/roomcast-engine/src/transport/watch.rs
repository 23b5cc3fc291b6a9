//! Watches for turns that last, so that a handler that blocks its thread does not cut a runtime off from the network.
//!
//! One worker of a tokio runtime waits for the network, the others wait for work. If a single task becomes ready, the
//! worker at the network runs it and wakes no other. If that task then blocks its thread, no worker waits for the
//! network until it returns, and no client is served. So a thread of ours checks every 5 ms whether a turn has lasted
//! that long, and if so spawns an empty task: a worker wakes for it, and waits for the network afterwards (decision
//! 0017).

use crate::limits::WATCH_INTERVAL;
use parking_lot::Mutex;
use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::thread::{self, Thread};
use tokio::runtime::{Handle, RuntimeFlavor};

/// What a thread is doing: 0 outside turns, or the watcher's time when its turn began.
type Slot = Arc<AtomicU64>;

static WATCHER: LazyLock<Watcher> = LazyLock::new(Watcher::default);

thread_local! {
    static SLOT: OnceCell<Slot> = const { OnceCell::new() };
}

#[derive(Default)]
struct Watcher {
    state: Mutex<State>,
    /// Counts the intervals in which the watcher was awake; 1 is the first.
    time: AtomicU64,
    /// No turn is open, so the watcher sleeps until it is unparked.
    sleeps: AtomicBool,
    /// There is a runtime to watch.
    works: AtomicBool,
}

#[derive(Default)]
struct State {
    thread: Option<Thread>,
    runtimes: Vec<Handle>,
    slots: Vec<Slot>,
}

/// Watches the runtime of this thread from now on, if it has several workers.
pub(crate) fn current_runtime() {
    let Ok(runtime) = Handle::try_current() else { return };
    if runtime.runtime_flavor() != RuntimeFlavor::MultiThread || runtime.metrics().num_workers() < 2 {
        return;
    }
    let id = runtime.id();
    let mut state = WATCHER.state.lock();
    if state.runtimes.iter().any(|known| known.id() == id) {
        return;
    }
    // A runtime that is over accepts no task: the handle is finished at once.
    state.runtimes.retain(|known| !known.spawn(async {}).is_finished());
    state.runtimes.push(runtime);
    if state.thread.is_none() {
        match thread::Builder::new().name("roomcast-watch".to_owned()).spawn(watch) {
            Ok(started) => state.thread = Some(started.thread().clone()),
            Err(error) => {
                drop(state);
                tracing::warn!(%error, "the thread that watches for blocking handlers cannot be started: a handler that blocks may hold up other clients");
                return;
            }
        }
    }
    drop(state);
    WATCHER.works.store(true, SeqCst);
}

/// A turn of this thread begins.
pub(crate) fn begin() {
    if !WATCHER.works.load(SeqCst) {
        return;
    }
    let _ = SLOT.try_with(|slot| {
        slot.get_or_init(register).store(WATCHER.time.load(SeqCst).max(1), SeqCst);
    });
    if WATCHER.sleeps.swap(false, SeqCst)
        && let Some(thread) = &WATCHER.state.lock().thread
    {
        thread.unpark();
    }
}

/// The turn of this thread has ended.
pub(crate) fn end() {
    let _ = SLOT.try_with(|slot| {
        if let Some(slot) = slot.get() {
            slot.store(0, SeqCst);
        }
    });
}

fn register() -> Slot {
    let slot = Slot::default();
    let mut state = WATCHER.state.lock();
    // Only this list still refers to the slots of threads that have ended.
    state.slots.retain(|slot| Arc::strong_count(slot) > 1);
    state.slots.push(slot.clone());
    slot
}

fn watch() {
    // When the latest turn began for which a worker was woken.
    let mut known = 0;
    loop {
        thread::sleep(WATCH_INTERVAL);
        let now = WATCHER.time.fetch_add(1, SeqCst) + 1;
        let (oldest, any, runtimes) = {
            let state = WATCHER.state.lock();
            let begun = || state.slots.iter().map(|slot| slot.load(SeqCst)).filter(|begun| *begun > 0);
            let lasting = begun().filter(|begun| is_lasting(*begun, now)).max();
            (lasting, begun().next().is_some(), state.runtimes.clone())
        };
        match oldest {
            Some(begun) if begun > known => {
                known = begun;
                for runtime in runtimes {
                    runtime.spawn(async {});
                }
            }
            _ if !any => {
                WATCHER.sleeps.store(true, SeqCst);
                // A turn may have begun in between, before it could see that the watcher sleeps.
                let began = WATCHER.state.lock().slots.iter().any(|slot| slot.load(SeqCst) > 0);
                if !began {
                    thread::park();
                }
                WATCHER.sleeps.store(false, SeqCst);
            }
            _ => {}
        }
    }
}

/// Whether a turn that began at `begun` has lasted for at least a whole interval.
fn is_lasting(begun: u64, now: u64) -> bool {
    now.saturating_sub(begun) >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_lasts_after_one_whole_interval() {
        assert!(!is_lasting(5, 5) && !is_lasting(5, 6), "it may have begun at the end of the fifth");
        assert!(is_lasting(5, 7));
    }
}
