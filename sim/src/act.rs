//! Executes the steps of a plan.

use crate::plan::StepKind;
use crate::world::{World, body, name, names};
use roomcast_adapter::cluster::Body;
use roomcast_adapter::{Adapter, Room};
use roomcast_protocol::Args;

impl World {
    pub(crate) async fn act(&mut self, what: &StepKind) {
        match what {
            StepKind::Emit { s, n, aim, volatile, times, bytes } => self.emit(*s, *n, aim, (*volatile, *times, *bytes)),
            StepKind::Fault(fault) => self.fault(fault),
            StepKind::Start { s } => self.start(*s).await,
            what => {
                self.log(|| format!("* {what:?}"));
                self.small(what);
            }
        }
    }

    fn small(&mut self, what: &StepKind) {
        match what {
            StepKind::Stop { s } => self.stop(*s),
            StepKind::Forsake { s } => self.forsake(*s, false),
            StepKind::Kill { s } => self.forsake(*s, true),
            StepKind::Open { s, n, close } => self.open(*s, *n, *close),
            StepKind::Close { s, n, empty } => self.close(*s, *n, *empty),
            StepKind::Drop { s, n } => self.drop(*s, *n),
            StepKind::Insert { s, n, rooms } => {
                if let Some((at, adapter)) = self.place(*s, *n) {
                    self.sim.insert(&at, &adapter, &names(rooms), None);
                }
            }
            StepKind::Remove { s, n, pick } => {
                let Some((at, _)) = self.place(*s, *n) else { return };
                if let Some(socket) = self.pick(&at, *pick) {
                    self.remove(socket);
                }
            }
            StepKind::Cut { s, n, pick, lost, after } => self.cut(*s, *n, *pick, (*lost, *after)),
            StepKind::Back { s, n, pick, think, gives_up } => self.come_back(*s, *n, *pick, (*think, *gives_up)),
            StepKind::Own { s, n, pick } => self.emit_own(*s, *n, *pick),
            StepKind::Join { s, n, pick, rooms } => {
                let Some((at, adapter)) = self.place(*s, *n) else { return };
                let Some(socket) = self.pick(&at, *pick) else { return };
                let rooms = names(rooms);
                let id = self.sim.with(|state, _| {
                    let socket = state.model.sockets.get_mut(socket)?;
                    socket.rooms.extend(rooms.iter().map(ToString::to_string));
                    Some(socket.id)
                });
                if let Some(id) = id {
                    let _ = adapter.join(id, &rooms);
                }
            }
            StepKind::Leave { s, n, pick, room } => {
                let Some((at, adapter)) = self.place(*s, *n) else { return };
                let Some(socket) = self.pick(&at, *pick) else { return };
                let room = format!("r{room}");
                let id = self.sim.with(|state, _| {
                    let socket = state.model.sockets.get_mut(socket)?;
                    socket.rooms.remove(&room);
                    Some(socket.id)
                });
                if let Some(id) = id {
                    adapter.leave(id, &room);
                }
            }
            StepKind::Change { s, n, aim, change, rooms } => self.change(*s, *n, aim, *change, rooms),
            StepKind::Ask { s, n, aim, kind, timeout } => self.ask(*s, *n, aim, *kind, *timeout),
            StepKind::Event { s, n, times } => {
                for _ in 0..*times {
                    let number = self.next();
                    let Some((at, adapter)) = self.place(*s, *n) else { return };
                    let Ok(data) = Args::event("e", &number) else { return };
                    self.goes_out(&at, number);
                    let _ = adapter.server_side_emit(&data);
                }
            }
            StepKind::ForeignEmit { f, n, aim } => {
                let (number, target) = (self.next(), self.target(None, aim, &name(*n)));
                let Ok(data) = Args::event("e", &number) else { return };
                self.foreign_sends(*f, *n, Body::Broadcast { data, target, volatile: false, compress: true });
            }
            StepKind::ForeignChange { f, n, aim, change, rooms } => {
                let (number, mut target) = (self.next(), self.target(None, aim, &name(*n)));
                target.except.push(Room::from(format!("#{number}")));
                let body = body(*change, target, names(rooms));
                self.foreign_sends(*f, *n, body);
            }
            StepKind::ForeignAsk { f, n, kind } => self.foreign_asks(*f, *n, *kind),
            StepKind::Start { .. } | StepKind::Emit { .. } | StepKind::Fault(_) => {}
        }
    }
}
