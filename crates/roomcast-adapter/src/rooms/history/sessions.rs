//! [`Sessions`]: the sessions of a namespace, live and kept, and which events a session has missed.

use crate::limits::{RECOVERY_ROOM_CHANGES, RECOVERY_SESSION_BYTES, RECOVERY_TOLD_ENDS};
use crate::rooms::history::log::Log;
use crate::seam::recovery::{KeptSession, NotRecovered, RecoverySpace};
use crate::seam::room::Room;
use crate::seam::target::Target;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use roomcast_protocol::{Packet, Pid, SocketId};
use smallvec::{SmallVec, smallvec};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::Instant;

/// The sessions of a namespace on this server.
#[derive(Debug)]
pub(crate) struct Sessions {
    space: Arc<RecoverySpace>,
    by_id: HashMap<SocketId, Session, RandomState>,
    by_pid: HashMap<Pid, SocketId, RandomState>,
    /// The rooms of kept sessions, and how many of them each has: what is for them is logged, although nobody is there.
    rooms: HashMap<Room, u32, RandomState>,
    /// Kept sessions, those that were kept first in front. Those that are kept no more are passed over.
    order: VecDeque<(SocketId, u64)>,
    kept: usize,
    /// How often sessions were kept.
    serial: u64,
    ends: Ends,
}

/// One session. It has the same socket id for as long as it lives.
#[derive(Debug)]
struct Session {
    pid: Pid,
    /// The position at which it began: nothing before it was for this session.
    first: u64,
    /// Allocated when it joins or leaves a room later than that.
    changes: Option<Box<Changes>>,
    /// `None` while it is live.
    kept: Option<Box<Kept>>,
}

/// Joins and leaves, in order.
#[derive(Debug, Default)]
struct Changes {
    list: VecDeque<Change>,
    /// From this position on they are known.
    known_from: u64,
}

#[derive(Debug)]
struct Change {
    /// The next position at that time: what comes from here on finds the socket changed.
    at: u64,
    room: Room,
    joined: bool,
}

#[derive(Debug)]
struct Kept {
    session: KeptSession,
    until: Instant,
    serial: u64,
    bytes: usize,
    /// The position after which its client has missed events, while somebody is about to continue it.
    claimed: Option<u64>,
}

/// Sessions that have ended.
#[derive(Debug, Default)]
struct Ends {
    /// Those that nobody was told of yet.
    untold: Vec<(KeptSession, NotRecovered)>,
    why: HashMap<Pid, NotRecovered, RandomState>,
    order: VecDeque<Pid>,
}

/// What came of a claim.
#[derive(Debug)]
pub(crate) enum Claim {
    /// The session, its data, and the serial of the claim.
    Claimed {
        id: SocketId,
        data: Box<str>,
    },
    /// Its socket is still there.
    Live(SocketId),
    /// Somebody else is about to continue it.
    Claimable,
    Refused(NotRecovered),
}

impl Sessions {
    pub(crate) fn new(space: Arc<RecoverySpace>) -> Self {
        Self {
            space,
            by_id: HashMap::default(),
            by_pid: HashMap::default(),
            rooms: HashMap::default(),
            order: VecDeque::new(),
            kept: 0,
            serial: 0,
            ends: Ends::default(),
        }
    }

    /// Whether there is no session, live or kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether a kept session may match, ignoring `except`.
    pub(crate) fn may_match(&self, target: &Target) -> bool {
        self.kept > 0 && (target.rooms.is_empty() || target.rooms.iter().any(|room| self.has_room(room)))
    }

    /// Whether a kept session is in the room.
    pub(crate) fn has_room(&self, room: &str) -> bool {
        self.rooms.contains_key(room)
    }

    /// The rooms that may be heard for sessions: those of kept ones, and of those whose end was not told yet.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.rooms.keys().chain(self.ends.untold.iter().flat_map(|(session, _)| &session.rooms))
    }

    /// A socket has entered. `position` is the next one.
    pub(crate) fn begin(&mut self, pid: Pid, id: SocketId, position: u64) {
        self.by_pid.insert(pid, id);
        self.by_id.insert(id, Session { pid, first: position, changes: None, kept: None });
    }

    /// A socket has left for good. Kept sessions stay.
    pub(crate) fn end(&mut self, id: SocketId) {
        if self.by_id.get(&id).is_some_and(|session| session.kept.is_none())
            && let Some(session) = self.by_id.remove(&id)
        {
            self.by_pid.remove(&session.pid);
            self.ends.note(session.pid, NotRecovered::Left);
        }
    }

    /// A live socket has joined or left rooms in which it was not, or was. `position` is the next one.
    pub(crate) fn changed(&mut self, id: SocketId, rooms: impl Iterator<Item = Room>, joined: bool, position: u64) {
        let Some(session) = self.by_id.get_mut(&id) else { return };
        if session.first >= position {
            // Nothing was emitted since it began.
            return;
        }
        for room in rooms {
            let changes = session.changes.get_or_insert_default();
            if changes.list.len() >= RECOVERY_ROOM_CHANGES
                && let Some(forgotten) = changes.list.pop_front()
            {
                changes.known_from = forgotten.at;
            }
            changes.list.push_back(Change { at: position, room, joined });
        }
    }

    /// A live socket has left the namespace, and its session is kept. `false` if it has none. One that is larger than all
    /// together may be ends at once, with all others.
    pub(crate) fn save(&mut self, id: SocketId, rooms: Vec<Room>, data: &str, now: Instant) -> bool {
        let keep = self.space.bounds().max_disconnection;
        let Some(session) = self.by_id.get_mut(&id).filter(|session| session.kept.is_none()) else { return false };
        self.serial += 1;
        let serial = self.serial;
        let bytes = RECOVERY_SESSION_BYTES.saturating_add(data.len()).saturating_add(rooms.len().saturating_mul(24));
        for room in &rooms {
            *self.rooms.entry(room.clone()).or_default() += 1;
        }
        // A time that is too far away is the farthest that can be added: a day.
        let until = now.checked_add(keep).unwrap_or(now + std::time::Duration::from_secs(86_400));
        let kept = Kept { session: KeptSession::new(id, rooms, data), until, serial, bytes, claimed: None };
        session.kept = Some(Box::new(kept));
        self.kept += 1;
        self.space.add_session(bytes);
        self.order.push_back((id, serial));
        if self.order.len() > 2 * self.kept + 64 {
            let by_id = &self.by_id;
            self.order.retain(|(id, serial)| is_kept(by_id, *id, *serial));
        }
        while self.space.sessions_are_over() && self.give_up_first(NotRecovered::Evicted) {}
        true
    }

    /// Ends the session that was kept first and that nobody claims; `false` if there is none.
    fn give_up_first(&mut self, why: NotRecovered) -> bool {
        let mut claimed = SmallVec::<[_; 4]>::new();
        let found = loop {
            let Some((id, serial)) = self.order.pop_front() else { break None };
            match self.by_id.get(&id).and_then(|session| session.kept.as_ref()) {
                Some(kept) if kept.serial == serial && kept.claimed.is_some() => claimed.push((id, serial)),
                Some(kept) if kept.serial == serial => break Some(id),
                _ => {}
            }
        };
        claimed.into_iter().rev().for_each(|entry| self.order.push_front(entry));
        found.is_some_and(|id| self.give_up(id, why))
    }

    /// Ends a kept session that was not continued.
    fn give_up(&mut self, id: SocketId, why: NotRecovered) -> bool {
        let Some(session) = self.by_id.remove(&id) else { return false };
        self.by_pid.remove(&session.pid);
        self.ends.note(session.pid, why);
        if let Some(kept) = session.kept {
            self.let_go(&kept);
            self.ends.untold.push((kept.session, why));
        }
        true
    }

    /// A session is kept no more.
    fn let_go(&mut self, kept: &Kept) {
        self.kept -= 1;
        self.space.take_session(kept.bytes);
        for room in &kept.session.rooms {
            if let Some(count) = self.rooms.get_mut(&**room) {
                *count -= 1;
                if *count == 0 {
                    self.rooms.remove(&**room);
                }
            }
        }
        if self.kept == 0 {
            self.order = VecDeque::new();
        }
    }

    /// Claims a session for somebody who has received everything up to `after`; `None`: nothing with an offset.
    pub(crate) fn claim(&mut self, pid: Pid, after: Option<u64>, log: &Log, now: Instant) -> Claim {
        let Some(id) = self.by_pid.get(&pid).copied() else {
            return Claim::Refused(self.ends.why.get(&pid).copied().unwrap_or(NotRecovered::Unknown));
        };
        let Some(session) = self.by_id.get(&id) else { return Claim::Refused(NotRecovered::Unknown) };
        // An older offset than the first is one of an earlier session of the same client.
        let after = after.unwrap_or(0).max(session.first - 1);
        if after >= log.next() {
            return Claim::Refused(NotRecovered::Offset);
        }
        let Some(kept) = &session.kept else { return Claim::Live(id) };
        if kept.claimed.is_some() {
            return Claim::Claimable;
        }
        if kept.until <= now {
            self.give_up(id, NotRecovered::Expired);
            return Claim::Refused(NotRecovered::Expired);
        }
        if let Err(why) = self.missed_by(session, kept, after, log) {
            return Claim::Refused(why);
        }
        let data = kept.session.data.clone();
        if let Some(kept) = self.by_id.get_mut(&id).and_then(|session| session.kept.as_mut()) {
            kept.claimed = Some(after);
        }
        Claim::Claimed { id, data }
    }

    /// The claim is given up.
    pub(crate) fn give_back(&mut self, id: SocketId) {
        if let Some(kept) = self.by_id.get_mut(&id).and_then(|session| session.kept.as_mut()) {
            kept.claimed = None;
        }
    }

    /// The rooms of a claimed session, and what it has missed. If that is not known any more, the session ends.
    pub(crate) fn continue_claimed(
        &mut self,
        id: SocketId,
        log: &Log,
    ) -> Result<(Vec<Room>, Vec<Arc<Packet>>), NotRecovered> {
        let session = self.by_id.get(&id).ok_or(NotRecovered::Unknown)?;
        let kept = session.kept.as_ref().ok_or(NotRecovered::Held)?;
        let after = kept.claimed.ok_or(NotRecovered::Held)?;
        let (rooms, missed) = (kept.session.rooms.clone(), self.missed_by(session, kept, after, log));
        missed.map(|missed| (rooms, missed)).inspect_err(|why| {
            self.give_up(id, *why);
        })
    }

    /// A claimed session is live again.
    pub(crate) fn continued(&mut self, id: SocketId) {
        if let Some(kept) = self.by_id.get_mut(&id).and_then(|session| session.kept.take()) {
            self.let_go(&kept);
        }
    }

    /// Ends the sessions whose time is over. Returns all that ended since the last call, and when the next one ends.
    pub(crate) fn sweep(&mut self, now: Instant) -> (Vec<(KeptSession, NotRecovered)>, Option<Instant>) {
        let mut claimed = SmallVec::<[_; 4]>::new();
        let mut next = None;
        // All are kept for the same time, so they end in the order in which they were kept.
        while let Some((id, serial)) = self.order.pop_front() {
            match self.by_id.get(&id).and_then(|session| session.kept.as_ref()).filter(|kept| kept.serial == serial) {
                None => {}
                Some(kept) if kept.until > now => {
                    next = Some(kept.until);
                    self.order.push_front((id, serial));
                    break;
                }
                Some(kept) if kept.claimed.is_some() => claimed.push((id, serial)),
                Some(_) => drop(self.give_up(id, NotRecovered::Expired)),
            }
        }
        if !claimed.is_empty() {
            // A claim ends soon, in one way or the other.
            next = Some(now + std::time::Duration::from_secs(1));
            claimed.into_iter().rev().for_each(|entry| self.order.push_front(entry));
        }
        (std::mem::take(&mut self.ends.untold), next)
    }

    /// What a session has missed after a position, in order.
    fn missed_by(
        &self,
        session: &Session,
        kept: &Kept,
        after: u64,
        log: &Log,
    ) -> Result<Vec<Arc<Packet>>, NotRecovered> {
        let from = after + 1;
        let stays = Stays::of(session, kept, from)?;
        if from < log.start() {
            let gone = |(room, stays): (&&Room, &Spans)| {
                stays.iter().any(|(since, until)| since < until && log.is_gone_for(room, *since))
            };
            if log.is_gone_for_everyone(from) || stays.by_room.iter().any(gone) {
                return Err(NotRecovered::Gone);
            }
        }
        let mut positions: Vec<u64> = log.of_everyone(from).collect();
        for (room, spans) in &stays.by_room {
            for (since, until) in spans {
                positions.extend(log.of_room(room, *since, *until));
            }
        }
        positions.sort_unstable();
        positions.dedup();
        let own = kept.session.id.as_str();
        let (mut missed, mut bytes) = (Vec::new(), 0_usize);
        for position in positions {
            let Some(entry) = log.at(position) else { return Err(NotRecovered::Gone) };
            // It may have joined a room of another socket's id.
            if entry.one && !entry.is_for(own) {
                continue;
            }
            if entry.except.iter().any(|room| stays.has(room, position)) {
                continue;
            }
            bytes = bytes.saturating_add(entry.packet.size());
            if bytes > self.space.bounds().replay_bytes {
                return Err(NotRecovered::TooMuch);
            }
            missed.push(entry.packet.clone());
        }
        Ok(missed)
    }

    /// Numbers of sessions, of kept ones, and of rooms of kept ones.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        (self.by_id.len(), self.kept, self.rooms.len())
    }
}

fn is_kept(by_id: &HashMap<SocketId, Session, RandomState>, id: SocketId, serial: u64) -> bool {
    by_id.get(&id).and_then(|session| session.kept.as_ref()).is_some_and(|kept| kept.serial == serial)
}

impl Drop for Sessions {
    fn drop(&mut self) {
        for kept in self.by_id.values().filter_map(|session| session.kept.as_ref()) {
            self.space.take_session(kept.bytes);
        }
    }
}

impl Ends {
    fn note(&mut self, pid: Pid, why: NotRecovered) {
        if self.order.len() >= RECOVERY_TOLD_ENDS
            && let Some(first) = self.order.pop_front()
        {
            self.why.remove(&first);
        }
        self.order.push_back(pid);
        self.why.insert(pid, why);
    }
}

/// From one position up to, but without, another.
type Spans = SmallVec<[(u64, u64); 1]>;

/// When a session was in which room, from some position on.
struct Stays<'a> {
    by_room: HashMap<&'a Room, Spans, RandomState>,
}

impl<'a> Stays<'a> {
    /// The stays from `from` on: backwards from the rooms in which it was when it was kept.
    fn of(session: &'a Session, kept: &'a Kept, from: u64) -> Result<Self, NotRecovered> {
        let mut by_room: HashMap<&Room, Spans, RandomState> =
            kept.session.rooms.iter().map(|room| (room, smallvec![(from, u64::MAX)])).collect();
        let Some(changes) = &session.changes else { return Ok(Self { by_room }) };
        if from < changes.known_from {
            return Err(NotRecovered::RoomChanges);
        }
        for change in changes.list.iter().rev().take_while(|change| change.at > from) {
            let spans = by_room.entry(&change.room).or_default();
            if change.joined {
                // The span that was found last began here.
                if let Some((since, _)) = spans.last_mut() {
                    *since = change.at;
                }
            } else {
                spans.push((from, change.at));
            }
        }
        Ok(Self { by_room })
    }

    fn has(&self, room: &Room, position: u64) -> bool {
        let spans = self.by_room.get(room).into_iter().flatten();
        spans.into_iter().any(|(since, until)| (*since..*until).contains(&position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::recovery::RecoveryBounds;

    fn sessions() -> (Sessions, Log) {
        let space = RecoverySpace::new(RecoveryBounds::default());
        (Sessions::new(space.clone()), Log::new(space))
    }

    #[test]
    fn ends_that_are_told_at_the_bound_and_one_past_it() {
        let (mut sessions, log) = sessions();
        let pids: Vec<Pid> = (0..=RECOVERY_TOLD_ENDS).map(|_| Pid::random().unwrap()).collect();
        let why = |sessions: &mut Sessions, pid: Pid| match sessions.claim(pid, None, &log, Instant::now()) {
            Claim::Refused(why) => why,
            other => panic!("{other:?}"),
        };
        for (at, pid) in pids.iter().enumerate() {
            let id = SocketId::random().unwrap();
            sessions.begin(*pid, id, 1);
            sessions.end(id);
            let expected = if at < RECOVERY_TOLD_ENDS { NotRecovered::Left } else { NotRecovered::Unknown };
            assert_eq!(why(&mut sessions, pids[0]), expected);
        }
        assert_eq!(why(&mut sessions, pids[1]), NotRecovered::Left);
        assert_eq!((sessions.ends.why.len(), sessions.ends.order.len()), (RECOVERY_TOLD_ENDS, RECOVERY_TOLD_ENDS));
    }

    /// A client that comes and goes leaves nothing behind.
    #[test]
    fn the_order_of_kept_sessions_does_not_grow() {
        let (mut sessions, log) = sessions();
        let ids: Vec<(Pid, SocketId)> =
            (0..10).map(|_| (Pid::random().unwrap(), SocketId::random().unwrap())).collect();
        for (pid, id) in &ids {
            sessions.begin(*pid, *id, 1);
        }
        for _ in 0..100 {
            for (pid, id) in &ids {
                assert!(sessions.save(*id, vec!["room".into()], "{}", Instant::now()));
                assert!(matches!(sessions.claim(*pid, None, &log, Instant::now()), Claim::Claimed { .. }));
                assert!(sessions.continue_claimed(*id, &log).is_ok());
                if *id != ids[0].1 {
                    sessions.continued(*id);
                }
            }
            sessions.continued(ids[0].1);
            assert!(sessions.order.len() <= 2 * 10 + 65, "{}", sessions.order.len());
        }
        assert_eq!(sessions.sizes(), (10, 0, 0));
        assert!(sessions.order.is_empty());
    }
}
