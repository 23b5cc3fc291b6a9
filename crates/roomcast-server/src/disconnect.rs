//! How a socket ends, whoever ends it. Each socket ends once.
//!
//! A handler that runs because one socket ends may end others. So the steps wait in a queue of the thread: a room of thousands ends
//! without a stack of thousands of calls.

use crate::error::ConnectError;
use crate::handler::{BoxedDisconnect, BoxedLeave};
use crate::link::EndedBy;
use crate::parts::{Handlers, OwnHandlers, Phase, Socket, Stage, State};
use crate::reason::DisconnectReason;
use crate::task;
use parking_lot::{MutexGuard, RwLock};
use roomcast_engine::Connection;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

impl Socket {
    /// Disconnects the socket from its namespace; with `close`, ends the client's whole connection with all its namespaces. A socket that
    /// has left already is not disconnected again, and does not end the connection, on which its client may have another socket by now.
    ///
    /// In a middleware it refuses the socket: the client gets a CONNECT_ERROR, "server namespace disconnect". Called in a
    /// disconnect handler, it takes effect after that handler's first await or its end.
    pub fn disconnect(&self, close: bool) {
        if close {
            let sockets = self.link().sockets();
            if !sockets.contains(self) {
                return;
            }
            for socket in sockets {
                socket.end(DisconnectReason::ServerNamespace, EndedBy::Server);
            }
            take([Step::Close(self.connection().clone())]);
        } else {
            self.end(DisconnectReason::ServerNamespace, EndedBy::Server);
        }
    }

    /// The client has left the namespace, or its connection has ended.
    pub(crate) fn finish(&self, reason: DisconnectReason) {
        self.end(reason, EndedBy::Client);
    }

    pub(crate) fn end(&self, reason: DisconnectReason, by: EndedBy) {
        let mut state = self.0.state.lock();
        match &mut state.phase {
            Phase::Disconnected(_) => {}
            Phase::Connected => self.end_connected(state, reason, by),
            Phase::Connecting(connecting) if connecting.stage != Stage::Middlewares => {
                connecting.stage = Stage::Evicted;
            }
            Phase::Connecting(_) => {
                drop(state);
                if self.abort_connect() && by == EndedBy::Server {
                    self.link().refuse(self.parser(), self.namespace().name(), &ConnectError::new(reason.as_str()));
                }
            }
        }
    }

    fn end_connected(&self, mut state: MutexGuard<'_, State>, reason: DisconnectReason, by: EndedBy) {
        // From here on the socket sends nothing, and takes no more handlers.
        state.phase = Phase::Disconnected(Some(reason));
        let own = state.own.take();
        drop(state);
        let OwnHandlers { disconnecting, disconnect, .. } = own.map(|own| *own).unwrap_or_default();
        let socket = self.clone();
        take([Step::Leave(Leaving { socket, reason, disconnecting, disconnect, by })]);
    }

    /// Ends a socket that was never connected; `false` if it had ended already.
    pub(crate) fn abort_connect(&self) -> bool {
        let aborted = self.leave_phase_connecting();
        if aborted {
            remove(self, EndedBy::Client, false);
        }
        aborted
    }

    /// Ends a socket that the server disconnected while the adapter inserted it. No handler sees it.
    pub(crate) fn evict(&self) {
        if self.leave_phase_connecting() {
            let closed = self.namespace().0.lifetime.is_closed();
            remove(self, if closed { EndedBy::Shutdown } else { EndedBy::Server }, false);
        }
    }

    fn leave_phase_connecting(&self) -> bool {
        let mut state = self.0.state.lock();
        let Phase::Connecting(connecting) = &state.phase else { return false };
        let inserted = connecting.stage != Stage::Middlewares;
        let before = mem::replace(&mut state.phase, Phase::Disconnected(None));
        let own = state.own.take();
        drop(state);
        // They hold the application's values, which are dropped outside the lock.
        drop((before, own));
        if inserted {
            self.namespace().adapter().remove(self.id());
        }
        true
    }
}

/// A step of an end.
enum Step {
    Leave(Leaving),
    /// The whole connection ends, after its sockets.
    Close(Arc<Connection>),
}

/// A socket that has ended, and is still in its rooms.
struct Leaving {
    socket: Socket,
    reason: DisconnectReason,
    disconnecting: Vec<BoxedDisconnect<Socket>>,
    disconnect: Vec<BoxedDisconnect<Socket>>,
    by: EndedBy,
}

/// A socket that has left its rooms, with its "disconnect" handlers.
struct Left {
    socket: Socket,
    reason: DisconnectReason,
    handlers: Vec<BoxedDisconnect<Socket>>,
}

/// What the thread still has to do.
#[derive(Default)]
struct Steps {
    /// A caller further up on this thread's stack is taking the steps.
    busy: bool,
    steps: VecDeque<Step>,
    /// These come last: all sockets that end together have left their rooms when the first "disconnect" handler runs.
    left: VecDeque<Left>,
}

enum Next {
    Step(Step),
    Left(Left),
}

thread_local! {
    static STEPS: RefCell<Steps> = RefCell::default();
}

/// Takes steps now, or, if this thread is already taking steps, after those.
fn take(steps: impl IntoIterator<Item = Step>) {
    let mut steps = VecDeque::from_iter(steps);
    let busy = STEPS.try_with(|all| {
        let mut all = all.borrow_mut();
        all.steps.append(&mut steps);
        mem::replace(&mut all.busy, true)
    });
    match busy {
        Ok(true) => {}
        Ok(false) => {
            while let Some(next) = next() {
                run(next);
            }
        }
        // The thread is ending, and its queue is gone: something that it kept has disconnected a socket as it was dropped.
        Err(_) => steps.into_iter().map(Next::Step).for_each(run),
    }
}

fn run(next: Next) {
    task::contain("end of a socket", || match next {
        Next::Step(Step::Leave(leaving)) => leaving.leave(),
        Next::Step(Step::Close(connection)) => connection.close(),
        Next::Left(Left { socket, reason, handlers }) => run_handlers("disconnect", handlers, &socket, reason),
    });
}

fn next() -> Option<Next> {
    let next = STEPS.try_with(|all| {
        let mut all = all.borrow_mut();
        let step = all.steps.pop_front().map(Next::Step);
        let next = step.or_else(|| all.left.pop_front().map(Next::Left));
        if next.is_none() {
            *all = Steps::default();
        }
        next
    });
    next.ok().flatten()
}

impl Leaving {
    fn leave(self) {
        let Self { socket, reason, disconnecting, disconnect, by } = self;
        let handlers = with_those_of_namespace(&socket, |handlers| &handlers.disconnecting, disconnecting);
        run_handlers("disconnecting", handlers, &socket, reason);
        // From here on no broadcast reaches the socket. If its session is kept, the namespace goes on to count it.
        let kept = socket.keep(reason);
        if !kept {
            socket.namespace().adapter().remove(socket.id());
        }
        remove(&socket, by, kept);
        let handlers = with_those_of_namespace(&socket, |handlers| &handlers.disconnect, disconnect);
        if !handlers.is_empty() {
            let mut left = Some(Left { socket, reason, handlers });
            let _ = STEPS.try_with(|all| all.borrow_mut().left.extend(left.take()));
            left.map(Next::Left).into_iter().for_each(run);
        }
    }
}

/// The handlers of a disconnect: first those of the namespace, then the socket's own.
fn with_those_of_namespace(
    socket: &Socket,
    of: fn(&Handlers) -> &RwLock<Vec<BoxedLeave<Socket>>>,
    own: Vec<BoxedDisconnect<Socket>>,
) -> Vec<BoxedDisconnect<Socket>> {
    let of_namespace = socket.namespace().leave_handlers(of).into_iter();
    let boxed = |handler: BoxedLeave<Socket>| -> BoxedDisconnect<Socket> {
        Box::new(move |socket, reason| handler(socket, reason))
    };
    of_namespace.map(boxed).chain(own).collect()
}

/// Removes the socket from its connection and its namespace. If the server ended it, the client is told.
fn remove(socket: &Socket, by: EndedBy, kept: bool) {
    socket.link().remove(socket, by);
    if by == EndedBy::Server
        && let Ok(packet) = socket.parser().disconnect(socket.namespace().name())
    {
        // The socket's last packet. The client may connect again as soon as it has it, so the link must have removed the socket by now.
        socket.connection().send(&Arc::new(packet)).wake();
    }
    if kept {
        socket.namespace().kept();
    } else {
        socket.namespace().left();
    }
}

/// Starts handlers of a disconnect. The server's close waits for them.
pub(crate) fn run_handlers(
    what: &'static str,
    handlers: Vec<BoxedDisconnect<Socket>>,
    socket: &Socket,
    reason: DisconnectReason,
) {
    for handler in handlers {
        let (guard, socket) = (socket.namespace().0.lifetime.disconnect_handler(), socket.clone());
        task::run(what, move || Some(handler(socket, reason)), guard);
    }
}
