//! The end of a socket, step by step. What ends one socket may be the handler of another's end: the steps wait in a queue of
//! the thread, so that a room of thousands ends without a stack of thousands.

use crate::handler::BoxedDisconnect;
use crate::reason::DisconnectReason;
use crate::socket::{By, Socket};
use crate::task;
use roomcast_engine::Connection;
use roomcast_protocol::Packet;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// A step that is to be taken.
pub(crate) enum Step {
    Leave(Leaving),
    /// The whole connection ends, after its sockets.
    Close(Arc<Connection>),
}

/// A socket that has ended, and is in its rooms still.
pub(crate) struct Leaving {
    pub(crate) socket: Socket,
    pub(crate) reason: DisconnectReason,
    pub(crate) disconnecting: Vec<BoxedDisconnect>,
    pub(crate) disconnect: Vec<BoxedDisconnect>,
    pub(crate) by: By,
}

/// "disconnect" handlers of a socket that has left.
struct Left {
    socket: Socket,
    reason: DisconnectReason,
    handlers: Vec<BoxedDisconnect>,
}

#[derive(Default)]
struct Ends {
    /// Somebody further up on this thread's stack takes the steps.
    busy: bool,
    steps: VecDeque<Step>,
    /// They come last: who ends together has left when the first "disconnect" handler runs.
    left: VecDeque<Left>,
}

enum Next {
    Step(Step),
    Left(Left),
}

thread_local! {
    static ENDS: RefCell<Ends> = RefCell::default();
}

/// Takes steps, now, or after those that this thread is taking.
pub(crate) fn take(steps: impl IntoIterator<Item = Step>) {
    let busy = ENDS.with_borrow_mut(|ends| {
        ends.steps.extend(steps);
        std::mem::replace(&mut ends.busy, true)
    });
    if busy {
        return;
    }
    while let Some(next) = next() {
        task::contain("end of a socket", || match next {
            Next::Step(Step::Leave(leaving)) => leaving.leave(),
            Next::Step(Step::Close(connection)) => connection.close(),
            Next::Left(Left { socket, reason, handlers }) => run_all("disconnect", handlers, &socket, reason),
        });
    }
}

fn next() -> Option<Next> {
    ENDS.with_borrow_mut(|ends| {
        let step = ends.steps.pop_front().map(Next::Step);
        let next = step.or_else(|| ends.left.pop_front().map(Next::Left));
        if next.is_none() {
            *ends = Ends::default();
        }
        next
    })
}

impl Leaving {
    fn leave(self) {
        let Self { socket, reason, disconnecting, disconnect, by } = self;
        run_all("disconnecting", disconnecting, &socket, reason);
        // From here on no broadcast reaches it.
        socket.namespace().adapter().remove(socket.id());
        depart(&socket, by);
        if !disconnect.is_empty() {
            let left = Left { socket, reason, handlers: disconnect };
            ENDS.with_borrow_mut(|ends| ends.left.push_back(left));
        }
    }
}

/// The socket is no more, for its connection and for its namespace; if the server ended it the client hears of it.
pub(crate) fn depart(socket: &Socket, by: By) {
    socket.0.link().forget(socket, by);
    if by == By::Server
        && let Ok(packet) = Packet::disconnect(socket.namespace().name())
    {
        // The last that the client hears of the socket. It may come back at once, so the socket is forgotten by now.
        socket.connection().send(&Arc::new(packet)).wake();
    }
    socket.namespace().left();
}

/// Starts the handlers of a socket's end. The server's own end waits for them.
pub(crate) fn run_all(what: &'static str, handlers: Vec<BoxedDisconnect>, socket: &Socket, reason: DisconnectReason) {
    for handler in handlers {
        let (guard, socket) = (socket.namespace().ending(), socket.clone());
        task::run(what, move || Some(handler(socket, reason)), guard);
    }
}
