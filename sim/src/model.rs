//! [`Model`]: what each server must have done with what arrived, computed with sets and lists only. It is told what the
//! simulator does to a server and what the network delivers to it, and does not use the product.

use crate::announced::Announced;
use crate::got::Got;
use crate::mark::mark;
use crate::place::{ModelSocket, Place, PlaceId, ProcessId, selects};
use crate::session::{Away, Kept, Session};
use roomcast_adapter::cluster::{Body, ClusterAdapter, Message, Series};
use roomcast_adapter::{NotRecovered, Target};
use roomcast_protocol::SocketId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// Everything that the model knows.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Messages to different rooms may overtake one another.
    pub(crate) each_room: bool,
    pub(crate) places: BTreeMap<PlaceId, Place>,
    pub(crate) sockets: Vec<ModelSocket>,
    /// Serials that arrived: receiver, sender, serial.
    pub(crate) seen: BTreeSet<(ProcessId, ProcessId, u64)>,
    /// Those of them that were accepted in their series.
    pub(crate) taken: BTreeSet<(ProcessId, ProcessId, u64)>,
    /// The number of copies that were refused, by receiver.
    pub(crate) doubles: BTreeMap<ProcessId, u64>,
    /// The number of copies that may have been refused: they arrived when an adapter was just being dropped.
    pub(crate) maybe_doubles: BTreeMap<ProcessId, u64>,
    /// What was passed to the broker, by sender and series.
    pub(crate) numbers: BTreeMap<(ProcessId, Arc<str>, Series), Vec<NumberedMessage>>,
    /// What a process was told to send to others, and whether it went out.
    pub(crate) own_messages: BTreeMap<u64, OwnMessage>,
    /// What was announced: receiver, sender.
    pub(crate) alive: BTreeMap<(ProcessId, ProcessId), Announced>,
    /// What the servers that a question reached have to answer, by question.
    pub(crate) answers: BTreeMap<u64, Vec<Reply>>,
    /// What clients answered: socket, time.
    pub(crate) acks: BTreeMap<u64, Vec<(usize, u64)>>,
    /// Clients that come back continue their sessions; then also how many events are logged at least.
    pub(crate) recovers: bool,
    pub(crate) log_events: usize,
    pub(crate) sessions: Vec<Session>,
    /// The clients whose connections are lost.
    pub(crate) away: Vec<Away>,
}

/// A message in a series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NumberedMessage {
    pub(crate) serial: u64,
    pub(crate) number: u64,
    channel: u64,
    /// When it was first passed to the broker.
    pub(crate) at: u64,
    /// When it was confirmed that it went out, if it was.
    pub(crate) sent: Option<u64>,
}

/// A message to other servers.
#[derive(Debug)]
pub(crate) struct OwnMessage {
    pub(crate) process: ProcessId,
    pub(crate) sent: bool,
}

/// What a server has to answer to a question.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) process: ProcessId,
    pub(crate) sockets: Vec<String>,
    pub(crate) asked: Vec<usize>,
}

/// What is known about a question that was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) n: u64,
    pub(crate) begin: u64,
    pub(crate) done: u64,
    /// The servers that were counted in the namespace when it was asked.
    pub(crate) counted: Vec<ProcessId>,
    /// The asker still had the namespace when it was answered.
    pub(crate) stayed: bool,
}

impl Model {
    pub(crate) fn place(&mut self, at: &PlaceId) -> &mut Place {
        self.places.entry(at.clone()).or_default()
    }

    /// The sockets of a namespace that a target selects.
    pub(crate) fn matching(&self, at: &PlaceId, target: &Target) -> Vec<usize> {
        let Some(place) = self.places.get(at) else { return Vec::new() };
        let means = |socket: &ModelSocket| selects(target, socket.id, &socket.rooms);
        place.sockets.iter().copied().filter(|socket| self.sockets.get(*socket).is_some_and(means)).collect()
    }

    /// Notes an event for sockets of a namespace. `logged`: now, if clients that are away get it later.
    pub(crate) fn emit(&mut self, at: &PlaceId, target: &Target, n: u64, logged: Option<u64>) -> Vec<usize> {
        let found = self.matching(at, target);
        for socket in &found {
            if let Some(socket) = self.sockets.get_mut(*socket) {
                socket.expected.push(n);
            }
        }
        if let Some(now) = logged {
            self.log_event(at, &found, target, n, now);
        }
        found
    }

    /// Applies a change to sockets of a namespace.
    pub(crate) fn change(&mut self, at: &PlaceId, body: &Body) {
        let (Body::Join { target, .. } | Body::Leave { target, .. } | Body::Disconnect { target, .. }) = body else {
            return;
        };
        for socket in self.matching(at, target) {
            let Some(socket) = self.sockets.get_mut(socket) else { continue };
            match body {
                Body::Join { rooms, .. } => socket.rooms.extend(rooms.iter().map(ToString::to_string)),
                Body::Leave { rooms, .. } => rooms.iter().for_each(|room| {
                    socket.rooms.remove(&**room);
                }),
                _ => socket.disconnects += 1,
            }
        }
    }

    pub(crate) fn insert(
        &mut self,
        at: &PlaceId,
        id: SocketId,
        rooms: &[String],
        got: Arc<Got>,
        adapter: Weak<ClusterAdapter>,
        since: u64,
    ) {
        let rooms = rooms.iter().cloned().collect();
        let (expected, compared) = (Vec::new(), 0);
        let socket = self.sockets.len();
        let at = at.clone();
        self.place(&at).sockets.insert(socket);
        self.sockets.push(ModelSocket {
            id,
            at,
            rooms,
            since,
            left: None,
            expected,
            compared,
            disconnects: 0,
            got,
            session: None,
            cut: false,
            adapter,
        });
    }

    /// Removes a socket. Its adapter must be told.
    pub(crate) fn remove(&mut self, socket: usize, now: u64) -> Option<(Weak<ClusterAdapter>, SocketId)> {
        let found = self.sockets.get_mut(socket).filter(|socket| socket.left.is_none())?;
        found.left = Some(now);
        let (at, adapter, id) = (found.at.clone(), found.adapter.clone(), found.id);
        let session = found.session.and_then(|session| self.sessions.get_mut(session));
        if let Some(session) = session {
            session.stage = Kept::Ended(NotRecovered::Left);
        }
        self.place(&at).sockets.remove(&socket);
        Some((adapter, id))
    }

    /// Notes that a message was passed to the broker, for the first time or again. `whole`: every numbered message was.
    pub(crate) fn published(
        &mut self,
        (process, channel): (ProcessId, u64),
        namespace: &Arc<str>,
        message: &Message,
        whole: bool,
        now: u64,
    ) -> Result<(), String> {
        let (Some(trailer), Some(series)) = (message.trailer, Series::of(&message.body)) else { return Ok(()) };
        let published = self.numbers.entry((process, namespace.clone(), series)).or_default();
        let earlier = published.iter().rev().filter(|known| known.channel == channel);
        if let Some(later) = earlier.clone().find(|known| known.serial > trailer.serial && known.sent.is_some()) {
            return Err(format!("serial {} went out before", later.serial));
        }
        if let Some(known) = earlier.clone().find(|known| known.serial <= trailer.serial) {
            if known.serial == trailer.serial {
                return if known.number == trailer.number {
                    Ok(())
                } else {
                    Err("published again under another number".to_owned())
                };
            }
            // The first message of a new series may never have reached the broker, or may have taken another channel.
            let first = trailer.number == 1 || (self.each_room && series == Series::Rooms);
            if whole && known.number > trailer.number && !first {
                return Err(format!("number {} after {}", trailer.number, known.number));
            }
        }
        published.push(NumberedMessage {
            serial: trailer.serial,
            number: trailer.number,
            channel,
            at: now,
            sent: None,
        });
        Ok(())
    }

    /// Notes that a message arrives at a server. `passed`: as one that nobody there wants.
    pub(crate) fn arrive(
        &mut self,
        at: &PlaceId,
        name: &str,
        from: ProcessId,
        message: &Message,
        passed: bool,
        now: u64,
    ) -> Result<(), String> {
        let (process, namespace) = at;
        if namespace.is_empty() {
            if let Body::Alive(alive) = &message.body
                && message.to.as_ref().is_none_or(|to| to.as_str() == name)
            {
                self.alive.entry((*process, from)).or_default().told(alive, now);
            }
            return Ok(());
        }
        if from == *process || message.to.as_ref().is_some_and(|to| to.as_str() != name) {
            return Ok(());
        }
        let Some(place) = self.places.get_mut(at).filter(|place| place.present) else { return Ok(()) };
        let (open, series) = (place.open, Series::of(&message.body));
        if passed && !open {
            return Ok(());
        }
        if let Some(trailer) = message.trailer {
            if !self.seen.insert((*process, from, trailer.serial)) {
                let refused = if place.dropped { &mut self.maybe_doubles } else { &mut self.doubles };
                *refused.entry(*process).or_default() += 1;
                return Ok(());
            }
            if let Some(series) = series.filter(|_| open) {
                if !self.each_room || series == Series::Main {
                    let highest = place.highest.entry((from, series)).or_default();
                    if trailer.serial < *highest {
                        *self.doubles.entry(*process).or_default() += 1;
                        return Ok(());
                    }
                    *highest = trailer.serial;
                }
                self.taken.insert((*process, from, trailer.serial));
            }
        }
        // A server that leaves answers whoever may have counted it, but not roomcast servers, which are told.
        if !open && (!message.body.is_question() || message.trailer.is_some()) {
            return Ok(());
        }
        let n = mark(&message.body).unwrap_or_default();
        if let (true, Body::Broadcast { target, .. }) = (passed, &message.body) {
            return match (&self.matching(at, target)[..], &self.kept_matching(at, target)[..]) {
                ([], []) => Ok(()),
                _ => Err(format!("event {n} is for somebody here, and the server said that it wants nothing of it")),
            };
        }
        let mut reply = Reply { process: *process, sockets: Vec::new(), asked: Vec::new() };
        match &message.body {
            Body::Broadcast { target, volatile, .. } => drop(self.emit(at, target, n, (!volatile).then_some(now))),
            Body::BroadcastWithAck { target, .. } => {
                reply.asked = self.emit(at, target, n, None);
                self.answers.entry(n).or_default().push(reply);
            }
            Body::FetchSockets { target, .. } | Body::Count { target, .. } => {
                let found = self.matching(at, target);
                reply.sockets = found
                    .iter()
                    .filter_map(|socket| self.sockets.get(*socket))
                    .map(|socket| socket.id.to_string())
                    .collect();
                self.answers.entry(n).or_default().push(reply);
            }
            Body::ServerSideEmit { request, .. } => {
                let place = self.place(at);
                place.events.push(n);
                place.unsure |= place.dropped;
                if request.is_some() {
                    self.answers.entry(n).or_default().push(reply);
                }
            }
            body => self.change(at, body),
        }
        Ok(())
    }

    /// Notes that a message went out.
    pub(crate) fn sent(&mut self, process: ProcessId, namespace: &Arc<str>, message: &Message, now: u64) {
        let (Some(trailer), Some(series)) = (message.trailer, Series::of(&message.body)) else { return };
        let Some(published) = self.numbers.get_mut(&(process, namespace.clone(), series)) else { return };
        if let Some(it) = published.iter_mut().rev().find(|it| it.serial == trailer.serial) {
            it.sent = Some(now);
        }
    }

    /// Compares what the sockets of a namespace got with what they must have got.
    pub(crate) fn compare(&mut self, at: &PlaceId) -> Result<(), String> {
        let Some(place) = self.places.get(at) else { return Ok(()) };
        let sockets: Vec<usize> = place.sockets.iter().copied().collect();
        sockets.into_iter().try_for_each(|socket| self.compare_socket(socket))
    }

    pub(crate) fn compare_socket(&mut self, number: usize) -> Result<(), String> {
        let Some(socket) = self.sockets.get_mut(number) else { return Ok(()) };
        let from = socket.compared;
        let got = socket.got.since(from);
        let disconnects = socket.got.disconnects();
        if socket.expected.get(from..) != Some(&got[..]) || disconnects != socket.disconnects {
            return Err(format!(
                "socket {number} must have got {:?} and {} disconnects, and got {:?} and {disconnects}",
                socket.expected.get(from..).unwrap_or_default(),
                socket.disconnects,
                got
            ));
        }
        socket.compared += got.len();
        Ok(())
    }

    /// Notes that a namespace no longer takes part.
    pub(crate) fn closed(&mut self, at: &PlaceId, now: u64) {
        let place = self.place(at);
        place.open = false;
        place.present &= !place.dropped;
        place.connected = None;
        place.highest.clear();
        if let Some((_, end)) = place.periods.last_mut() {
            end.get_or_insert(now);
        }
    }

    /// The least and the most that a server may count as lost. `lives`: whether a process has lived until now. `exact`:
    /// the server does not receive all rooms. `dropped_by`: what a process says never went out, part of which never
    /// reached the broker.
    pub(crate) fn lost(
        &self,
        (process, exact): (ProcessId, bool),
        settle: u64,
        lives: impl Fn(ProcessId) -> bool,
        dropped_by: impl Fn(ProcessId) -> u64,
    ) -> (u64, u64) {
        let (mut least, mut most) = (0, 0);
        // Including those of which nothing went out.
        let senders: BTreeSet<ProcessId> =
            self.places.keys().map(|(from, _)| *from).filter(|from| *from != process).collect();
        most += senders.iter().map(|from| dropped_by(*from)).sum::<u64>();
        for ((from, namespace, series), numbers) in &self.numbers {
            if exact && *series == Series::Rooms {
                continue;
            }
            let Some(place) = self.places.get(&(process, namespace.clone())).filter(|_| *from != process) else {
                continue;
            };
            let theirs = self.places.get(&(*from, namespace.clone()));
            let whole = lives(*from) && theirs.is_some_and(|place| place.periods.len() == 1 && place.open);
            let follows = place
                .connected
                .filter(|_| place.open && whole)
                .and_then(|since| self.alive.get(&(process, *from))?.known_after(since + settle));
            let mut sorted = numbers.clone();
            sorted.sort_by_key(|number| number.serial);
            let mut before: Option<NumberedMessage> = None;
            for number in sorted {
                // Numbers that are skipped here were dropped before they reached the broker.
                let last = before.filter(|before| before.number < number.number);
                let dropped = number.number.saturating_sub(last.map_or(0, |last| last.number) + 1);
                let heard = |from: u64, sent: Option<u64>| {
                    let fits = |begin: u64, end: Option<u64>| {
                        sent.is_none_or(|sent| sent + 100 >= begin) && end.is_none_or(|end| from <= end + 100)
                    };
                    place.periods.iter().any(|(begin, end)| fits(*begin, *end))
                };
                let missed = u64::from(!self.taken.contains(&(process, *from, number.serial)));
                // One copy arrived before the namespace was closed here and opened again, and another one after that.
                let between =
                    |begin: u64| number.at <= begin + 100 && number.sent.is_none_or(|sent| sent + 100 >= begin);
                let straddles = place.periods.iter().skip(1).any(|(begin, _)| between(*begin));
                most += if heard(number.at, number.sent) { missed.max(u64::from(straddles)) } else { 0 };
                // Those were dropped at some time before.
                most += if heard(0, number.sent) { dropped } else { 0 };
                if follows.is_some_and(|since| number.at > since) {
                    least += missed;
                }
                if follows.is_some_and(|since| before.is_some_and(|before| before.at > since)) {
                    least += dropped;
                }
                before = Some(number);
            }
        }
        (least, most)
    }
}
