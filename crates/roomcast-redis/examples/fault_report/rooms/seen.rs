//! [`RoomsSeen`]: what the lines of a server of either kind add up to.

use super::server::{Report, Standing};
use super::tap::Came;
use crate::server_process::Seen;
use roomcast_adapter::cluster::Series;

#[derive(Debug, Clone, Default)]
pub(super) struct RoomsSeen {
    meets: usize,
    pub(super) process: u64,
    /// When each message was emitted.
    pub(super) emitted: Vec<u64>,
    pub(super) received: Vec<Received>,
    pub(super) came: Vec<Came>,
    pub(super) stays: Vec<[u64; 4]>,
    pub(super) standing: Standing,
}

/// A socket has got a message.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) publisher: String,
    pub(super) number: u64,
    pub(super) at: u64,
    pub(super) socket: usize,
}

impl RoomsSeen {
    /// How much has come, and how it stands with the others.
    pub(super) fn standing(&self) -> (usize, Standing) {
        (self.received.len() + self.came.len(), self.standing.clone())
    }

    /// Messages that came twice over Redis and were kept back.
    pub(super) fn doubles(&self) -> u64 {
        self.standing.doubles
    }
}

impl Seen for RoomsSeen {
    /// A Node server leaves out what only roomcast knows.
    type Told = Report;

    fn add(&mut self, told: Report) {
        self.meets = self.meets.max(told.meets);
        self.process = self.process.max(told.process);
        self.emitted.extend(told.emitted.into_iter().map(|(at, _)| at));
        let received = told.received.into_iter();
        self.received.extend(received.map(|(publisher, number, at, socket)| Received {
            publisher,
            number,
            at,
            socket,
        }));
        self.came.extend(told.came.into_iter().map(|(process, rooms, number, passed_over, at)| Came {
            process,
            lane: if rooms { Series::Rooms } else { Series::Main },
            number,
            passed_over,
            at,
        }));
        self.stays.extend(told.stays);
        self.standing = told.standing;
    }

    fn meets(&self) -> usize {
        self.meets
    }
}
