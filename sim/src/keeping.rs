//! What becomes of sessions: how [`Model`] follows clients that lose their connections and come back.

use crate::mark::WELCOME;
use crate::model::Model;
use crate::place::{PlaceId, selects};
use crate::session::{Away, KEPT, Kept, Knows, LOGGED, Session};
use roomcast_adapter::{NotRecovered, Room, Target};
use roomcast_protocol::{Pid, SocketId};
use std::collections::BTreeSet;

/// How long somebody waits for a session that another one holds (the product's `RECOVERY_TAKEOVER`).
const TAKEOVER: u64 = 2_000;

impl Model {
    /// Notes that a session begins, for the socket that was inserted last.
    pub(crate) fn begin_session(&mut self, pid: Pid, offset: Option<String>) {
        let (session, socket) = (self.sessions.len(), self.sockets.len().saturating_sub(1));
        let Some(it) = self.sockets.get_mut(socket) else { return };
        it.session = Some(session);
        it.expected.push(WELCOME);
        let (id, at) = (it.id, it.at.clone());
        let place = self.place(&at);
        let (adapter, first) = (place.adapters, place.log.len());
        self.sessions.push(Session {
            pid,
            id,
            at,
            adapter,
            socket,
            rooms: BTreeSet::new(),
            stage: Kept::Live,
            logged: Vec::new(),
            first,
            knows: Knows { offset, events: 0 },
            told: false,
        });
    }

    /// Whether the adapter that has the session is still the one that counts.
    pub(crate) fn is_there(&self, session: &Session) -> bool {
        self.places
            .get(&session.at)
            .is_some_and(|place| place.present && place.open && !place.closing && place.adapters == session.adapter)
    }

    /// Notes an event in the log of a place, and for each session that it is for: those of `sockets`, and kept ones.
    pub(crate) fn log_event(&mut self, at: &PlaceId, sockets: &[usize], target: &Target, n: u64, now: u64) {
        if !self.recovers {
            return;
        }
        let place = self.place(at);
        place.log.push(now);
        let position = place.log.len() - 1;
        let live = sockets.iter().filter_map(|socket| self.sockets.get(*socket)?.session);
        let all: Vec<usize> = live.chain(self.kept_matching(at, target)).collect();
        for session in all {
            if let Some(session) = self.sessions.get_mut(session) {
                session.logged.push((n, position));
            }
        }
    }

    /// The kept sessions of a place that a target selects.
    pub(crate) fn kept_matching(&self, at: &PlaceId, target: &Target) -> Vec<usize> {
        let Some(place) = self.places.get(at) else { return Vec::new() };
        let means =
            |session: &Session| session.adapter == place.adapters && selects(target, session.id, &session.rooms);
        place.kept.iter().copied().filter(|session| self.sessions.get(*session).is_some_and(means)).collect()
    }

    /// A client's connection breaks, and of what was sent over it the last `lost` packets have not arrived. The server
    /// does not notice yet.
    pub(crate) fn cut(&mut self, socket: usize, lost: usize) -> bool {
        let Some(it) = self.sockets.get_mut(socket).filter(|it| it.left.is_none() && !it.cut) else { return false };
        let Some(number) = it.session else { return false };
        it.cut = true;
        let offsets = it.got.offsets();
        let received = offsets.get(..offsets.len().saturating_sub(lost)).unwrap_or_default();
        let last = received.iter().rev().find_map(|(n, offset)| offset.clone().map(|offset| (*n, offset)));
        let Some(session) = self.sessions.get_mut(number) else { return false };
        if let Some((n, offset)) = last {
            let events = session.logged.iter().rposition(|(it, _)| *it == n).map_or(session.knows.events, |at| at + 1);
            session.knows = Knows { offset: Some(offset), events };
        }
        let away = Away { session: number, knows: session.knows.clone() };
        self.away.push(away);
        true
    }

    /// The session of a socket is kept from now on. The socket must be removed too.
    pub(crate) fn keep(&mut self, socket: usize, now: u64) {
        let Some(it) = self.sockets.get(socket) else { return };
        let (Some(number), rooms, cut) = (it.session, it.rooms.clone(), it.cut) else { return };
        let Some(session) = self.sessions.get_mut(number) else { return };
        session.rooms = rooms;
        session.stage = Kept::Until { time: now + KEPT, claimed: false };
        let (at, knows) = (session.at.clone(), session.knows.clone());
        self.place(&at).kept.insert(number);
        if !cut {
            // It was taken over by another connection of the same client.
            self.away.push(Away { session: number, knows });
        }
    }

    /// Notes what came of looking for a session, at `now`, by somebody who asked at `begin`. `Ok(false)`: the answer does
    /// not count, because the adapter was replaced meanwhile.
    pub(crate) fn found(
        &mut self,
        (away, at, adapter): (&Away, &PlaceId, usize),
        found: Result<(), NotRecovered>,
        (begin, now): (u64, u64),
    ) -> Result<bool, String> {
        let Some(session) = self.sessions.get(away.session) else { return Ok(false) };
        let here = session.at == *at && session.adapter == adapter;
        if here && !self.is_there(session) {
            return Ok(false);
        }
        let entered = self.sockets.get(session.socket).map_or(0, |socket| socket.since);
        let stage = if here { session.stage } else { Kept::Ended(NotRecovered::Unknown) };
        let wrong = || Err(format!("session {} is {stage:?}, and looking for it gives {found:?}", away.session));
        let may_be_gone = self.may_be_gone(session, &away.knows, now);
        let Some(session) = self.sessions.get_mut(away.session) else { return Ok(false) };
        match (stage, found) {
            // In its last millisecond both are right.
            (Kept::Until { time, claimed: false }, Ok(())) if now <= time => {
                session.stage = Kept::Until { time, claimed: true };
                Ok(true)
            }
            (Kept::Until { time, claimed: false }, Err(NotRecovered::Expired)) if now >= time => {
                self.end(away.session, NotRecovered::Expired);
                Ok(true)
            }
            (Kept::Until { claimed: false, .. }, Err(NotRecovered::Gone)) if may_be_gone => Ok(true),
            (Kept::Until { claimed: true, .. }, Err(NotRecovered::Held)) if now >= begin + TAKEOVER => Ok(true),
            // Another connection has continued it just before.
            (Kept::Live, Err(NotRecovered::Held)) if now >= begin + TAKEOVER && now <= entered + 100 => Ok(true),
            (Kept::Ended(why), Err(found)) if why == found => Ok(true),
            _ => wrong(),
        }
    }

    /// Whether something that its client may have missed may have left the log.
    fn may_be_gone(&self, session: &Session, knows: &Knows, now: u64) -> bool {
        let Some(place) = self.places.get(&session.at) else { return true };
        let last = knows.events.checked_sub(1).and_then(|last| session.logged.get(last));
        let from = last.map_or(session.first, |(_, position)| position + 1);
        let since = place.log.get(from..).unwrap_or_default();
        since.len() > self.log_events || since.first().is_some_and(|at| at + LOGGED <= now)
    }

    /// Whether the claimed session of a client may end because something has left the log.
    pub(crate) fn may_end_as_gone(&self, away: &Away, now: u64) -> bool {
        self.sessions.get(away.session).is_none_or(|session| self.may_be_gone(session, &away.knows, now))
    }

    /// Whether a socket or a kept session is in a room of an open namespace.
    pub(crate) fn has_room(&self, at: &PlaceId, room: &Room) -> bool {
        let target = Target::room(room.clone());
        let open = self.places.get(at).is_some_and(|place| place.open && place.present && !place.dropped);
        open && !(self.matching(at, &target).is_empty() && self.kept_matching(at, &target).is_empty())
    }

    /// A claim ends without a recovery.
    pub(crate) fn give_back(&mut self, session: usize) {
        if let Some(Kept::Until { claimed, .. }) = self.sessions.get_mut(session).map(|session| &mut session.stage) {
            *claimed = false;
        }
    }

    /// Ends a kept session.
    pub(crate) fn end(&mut self, number: usize, why: NotRecovered) {
        let Some(session) = self.sessions.get_mut(number) else { return };
        session.stage = Kept::Ended(why);
        let at = session.at.clone();
        self.place(&at).kept.remove(&number);
    }

    /// Continues a session with the socket that was inserted last, and returns what that must get before its welcome.
    pub(crate) fn continued(&mut self, away: &Away) -> Vec<u64> {
        let socket = self.sockets.len().saturating_sub(1);
        let Some(session) = self.sessions.get_mut(away.session) else { return Vec::new() };
        (session.stage, session.socket) = (Kept::Live, socket);
        session.knows = away.knows.clone();
        let missed = session.logged.get(away.knows.events..).unwrap_or_default().iter().map(|(n, _)| *n).collect();
        let (at, rooms) = (session.at.clone(), std::mem::take(&mut session.rooms));
        self.place(&at).kept.remove(&away.session);
        if let Some(it) = self.sockets.get_mut(socket) {
            (it.session, it.rooms) = (Some(away.session), rooms);
        }
        self.back(away.session);
        missed
    }

    /// The client of a session is away no more: it has another one.
    pub(crate) fn back(&mut self, session: usize) {
        self.away.retain(|away| away.session != session);
    }

    /// Notes whose sessions a sweep has ended: all whose time was over, and nobody else's.
    pub(crate) fn swept(
        &mut self,
        (at, adapter): (&PlaceId, usize),
        ended: &[(SocketId, NotRecovered)],
        now: u64,
    ) -> Result<(), String> {
        for (id, why) in ended {
            let number = self.sessions.iter().rposition(|it| it.at == *at && it.adapter == adapter && it.id == *id);
            let Some(session) = number.and_then(|number| self.sessions.get_mut(number)) else {
                return Err(format!("a sweep ended the unknown session of {id}"));
            };
            let right = match session.stage {
                Kept::Until { time, claimed } => *why == NotRecovered::Expired && now >= time && !claimed,
                Kept::Ended(ended) => ended == *why,
                Kept::Live => false,
            };
            if !right || std::mem::replace(&mut session.told, true) {
                return Err(format!("a sweep tells {why:?} of session {number:?}, which is {:?}", session.stage));
            }
            self.end(number.unwrap_or_default(), *why);
        }
        let over = |session: &&Session| {
            let kept = matches!(session.stage, Kept::Until { time, claimed: false } if now > time);
            let untold =
                matches!(session.stage, Kept::Ended(NotRecovered::Expired | NotRecovered::Gone)) && !session.told;
            session.at == *at && session.adapter == adapter && (kept || untold)
        };
        let left = self.sessions.iter().position(|session| over(&session));
        left.map_or(Ok(()), |left| Err(format!("a sweep forgot session {left}")))
    }
}
