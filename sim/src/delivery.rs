//! Delivers what is in flight, and compares what sockets got with the model.

use crate::network::Sim;
use crate::place::PlaceId;
use crate::state::{Content, Parcel, Stage, State, tell};
use roomcast_adapter::Adapter;
use roomcast_adapter::cluster::{Arrival, Inbox};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep_until;

impl Sim {
    /// Delivers what is in flight, for ever.
    pub(crate) async fn deliver(self: Arc<Self>) {
        loop {
            let next = self.with(|state, _| state.in_flight.first_key_value().map(|((when, ..), _)| *when));
            let filled = self.filled.notified();
            match next {
                Some(when) if when <= self.now() => {
                    let parcels = self.with(|state, now| self.due(state, now));
                    self.hand_over(parcels);
                    // Otherwise no other task would get its turn at this time.
                    tokio::task::yield_now().await;
                }
                Some(when) => {
                    tokio::select! {
                        biased;
                        () = filled => {}
                        () = sleep_until(self.begin + Duration::from_millis(when)) => {}
                    }
                }
                None => filled.await,
            }
        }
    }

    /// The next parcel, with those for the same inbox that directly follow it in the same millisecond.
    fn due(&self, state: &mut State, now: u64) -> Vec<Parcel> {
        let mut parcels: Vec<Parcel> = Vec::new();
        while let Some(((when, ..), parcel)) = state.in_flight.first_key_value() {
            let first = parcels.first();
            let fits = first.is_none_or(|first| {
                self.setup.together
                    && first.at == parcel.at
                    && matches!(first.content, Content::Message(..))
                    && matches!(parcel.content, Content::Message(..))
            });
            if *when > now || !fits {
                break;
            }
            parcels.extend(state.in_flight.pop_first().map(|(_, parcel)| parcel));
        }
        parcels
    }

    fn hand_over(self: &Arc<Self>, parcels: Vec<Parcel>) {
        let mut arrivals: Vec<Arrival> = Vec::new();
        let mut target: Option<(PlaceId, Arc<dyn Inbox>)> = None;
        for Parcel { at, epoch, content } in parcels {
            let found = self.with(|state, now| {
                let process = state.processes.get(at.0).filter(|it| !it.dead)?;
                let deaf = process.deaf;
                let subscription = state.subscriptions.get_mut(&at).filter(|it| it.epoch == epoch)?;
                let lingers = subscription.lingers;
                match (&content, subscription.stage) {
                    (Content::Message(_, message), Stage::Pending) if now > lingers || !message.body.is_question() => {
                        return None;
                    }
                    (Content::Active, stage) if stage != Stage::Pending => return None,
                    (Content::Active, _) => {
                        subscription.stage = Stage::Active;
                        state.changed(&at.1, now);
                        return None;
                    }
                    (Content::Message(_, message), Stage::Lingering(until))
                        if now > until || !message.body.is_question() =>
                    {
                        return None;
                    }
                    (Content::Message(..) | Content::Connected, _) if deaf => return None,
                    (Content::Connected, Stage::Lingering(_)) => return None,
                    _ => {}
                }
                Some(subscription.inbox.clone())
            });
            let Some(inbox) = found else { continue };
            let Some(inbox) = inbox else {
                if let Content::Message(from, message) = content {
                    self.foreign_receives(&at, from, *message);
                }
                continue;
            };
            if let Content::Look(room) = content {
                let wants = inbox.wants(&room);
                self.with(|state, now| {
                    if !wants && state.model.has_room(&at, &room) {
                        let why = format!("{} does not want {room:?}, and somebody is in it", state.label(at.0));
                        state.fail(now, why);
                    }
                    let Some(subscription) = state.subscriptions.get_mut(&at) else { return };
                    if wants {
                        subscription.rooms.insert(room)
                    } else {
                        subscription.rooms.remove(&room)
                    };
                });
                continue;
            }
            let Content::Message(from, message) = content else {
                self.with(|state, now| {
                    state.log(now, |state| format!("{} hears {:?}", state.label(at.0), at.1));
                    let place = state.model.place(&at);
                    place.connected = place.connected.or(Some(now));
                });
                inbox.connected();
                continue;
            };
            // Whether it is wanted is asked after everything before it was applied.
            let asks = message.body.room().filter(|_| message.trailer.is_some()).cloned();
            if asks.is_some() && !arrivals.is_empty() {
                self.give(&at, &*inbox, std::mem::take(&mut arrivals));
            }
            let passed = asks.is_some_and(|room| !inbox.wants(&room));
            self.with(|state, now| {
                let name = state.processes.get(at.0).map(|it| it.name.clone()).unwrap_or_default();
                if !at.1.is_empty() && from != at.0 {
                    let how = if passed { "passes over" } else { "gets" };
                    state.log(now, |state| {
                        format!("{} {how} from {}: {}", state.label(at.0), state.label(from), tell(&message))
                    });
                }
                let answers = message.body.answers().and_then(|request| state.requests.get(&*request.0)).copied();
                if let Some(n) = answers.filter(|_| state.processes.get(from).is_some_and(|it| it.foreign)) {
                    state.foreign_answers.insert((n, at.0, from));
                }
                let result = state.model.arrive(&at, &name, from, &message, passed, now);
                state.check(now, result);
            });
            arrivals.push(match message.trailer.filter(|_| passed) {
                Some(trailer) => Arrival::PassedOver(trailer),
                None => Arrival::Message(*message),
            });
            target = Some((at, inbox));
        }
        if let Some((at, inbox)) = target {
            self.give(&at, &*inbox, arrivals);
        }
    }

    fn give(self: &Arc<Self>, at: &PlaceId, inbox: &dyn Inbox, arrivals: Vec<Arrival>) {
        inbox.receive(arrivals);
        self.compare(at);
    }

    /// Checks that sockets got what they must have got, and removes those that were disconnected.
    pub(crate) fn compare(&self, at: &PlaceId) {
        let gone = self.with(|state, now| {
            let result = state.model.compare(at);
            state.check(now, result.map_err(|why| format!("{} in {:?}: {why}", state.label(at.0), at.1)));
            let sockets: Vec<usize> = state.model.place(at).sockets.iter().copied().collect();
            let ended = |socket: &usize| state.model.sockets.get(*socket).is_some_and(|socket| socket.disconnects > 0);
            let ended: Vec<usize> = sockets.into_iter().filter(ended).collect();
            ended.into_iter().filter_map(|socket| state.model.remove(socket, now)).collect::<Vec<_>>()
        });
        for (adapter, id) in gone {
            if let Some(adapter) = adapter.upgrade() {
                adapter.remove(id);
            }
        }
    }
}
