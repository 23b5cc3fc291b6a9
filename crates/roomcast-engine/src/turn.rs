//! [`Turn`]: while a thread handles what one client sent, the packets that this makes for others are gathered, and each of
//! them is written to once, at the end.

use crate::connection::Connection;
use std::cell::RefCell;
use std::sync::Arc;

/// Most connections that are written to in one turn. What more there are is left to their own tasks, so that a thread is not
/// kept from its other work for more than about 0.1 s.
const MOST: usize = 16_384;

thread_local! {
    static GATHERED: RefCell<Gathered> = const { RefCell::new(Gathered { open: false, connections: Vec::new() }) };
}

struct Gathered {
    open: bool,
    connections: Vec<Arc<Connection>>,
}

/// A turn of this thread; it ends when this is dropped.
pub(crate) struct Turn {
    /// A turn within a turn ends with the outer one.
    outer: bool,
}

impl Turn {
    pub(crate) fn begin() -> Self {
        let outer = GATHERED.with_borrow_mut(|gathered| std::mem::replace(&mut gathered.open, true));
        Self { outer }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.outer {
            return;
        }
        let mut connections = GATHERED.with_borrow_mut(|gathered| {
            gathered.open = false;
            std::mem::take(&mut gathered.connections)
        });
        for (number, connection) in connections.drain(..).enumerate() {
            if number < MOST { connection.write_now() } else { connection.leave_to_task() }
        }
        if connections.capacity() <= MOST {
            GATHERED.with_borrow_mut(|gathered| {
                if gathered.connections.capacity() == 0 {
                    gathered.connections = connections;
                }
            });
        }
    }
}

/// What waits for this connection is written: at the end of this thread's turn, or now if it has none.
pub(crate) fn write(connection: Arc<Connection>) {
    let at_once = GATHERED.with_borrow_mut(|gathered| {
        if gathered.open {
            gathered.connections.push(connection);
            return None;
        }
        Some(connection)
    });
    if let Some(connection) = at_once {
        connection.write_now();
    }
}
