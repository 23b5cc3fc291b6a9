//! One event of a socket at a time, where the application asks for that ([`Builder::ordered`](crate::Builder::ordered)).

use crate::parts::{Phase, Socket, Waiting};
use roomcast_protocol::ArgsRef;
use std::sync::Arc;

/// An event whose handlers run. When all of them have ended, the next event of the socket has its turn.
pub(crate) struct Turn(Option<Socket>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(socket) = self.0.take() {
            socket.take_turns();
        }
    }
}

impl Socket {
    /// Handles an event when the handlers of the earlier ones have ended.
    pub(crate) fn handle_in_turn(&self, name: &str, args: ArgsRef<'_>, id: Option<u64>) {
        // An event that waits counts as a handler that runs, so that no more is read than may run.
        let guard = self.working(args);
        {
            let mut state = self.0.state.lock();
            if !matches!(state.phase, Phase::Connected) {
                return;
            }
            let turns = &mut state.own.get_or_insert_default().turns;
            if turns.busy {
                turns.waiting.push_back(Waiting { name: name.to_owned(), args: args.to_owned(), id, guard });
                return;
            }
            turns.busy = true;
        }
        drop(guard);
        if self.has_ended(name, args, id) {
            self.take_turns();
        }
    }

    /// Handles the events that wait, until one has to wait itself.
    fn take_turns(&self) {
        loop {
            let next = {
                let mut state = self.0.state.lock();
                // A disconnected socket handles no more events.
                let Some(own) = &mut state.own else { return };
                let next = own.turns.waiting.pop_front();
                own.turns.busy = next.is_some();
                next
            };
            let Some(Waiting { name, args, id, guard }) = next else { return };
            let ended = self.has_ended(&name, args.as_ref(), id);
            drop(guard);
            if !ended {
                return;
            }
        }
    }

    /// Handles an event. `false` if its handlers still run: then the last of them begins the next turn.
    fn has_ended(&self, name: &str, args: ArgsRef<'_>, id: Option<u64>) -> bool {
        let turn = Arc::new(Turn(Some(self.clone())));
        self.handle(name, args, id, turn.clone());
        match Arc::into_inner(turn) {
            Some(mut turn) => turn.0.take().is_some(),
            None => false,
        }
    }
}
