//! [`RoomsSeen`]: the sum of the reports of a server of either kind.

use super::server::{Report, Standing};
use super::tap::Handled;
use crate::server_process::Seen;
use roomcast_adapter::cluster::Series;

#[derive(Debug, Clone, Default)]
pub(super) struct RoomsSeen {
    meets: usize,
    pub(super) process: u64,
    pub(super) emitted: Vec<u64>,
    pub(super) received: Vec<Received>,
    pub(super) came: Vec<Handled>,
    pub(super) stays: Vec<[u64; 4]>,
    pub(super) standing: Standing,
}

/// A message that a socket has got.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) publisher: String,
    pub(super) number: u64,
    pub(super) at: u64,
    pub(super) socket: usize,
}

impl RoomsSeen {
    /// How many messages have arrived, and the counts.
    pub(super) fn standing(&self) -> (usize, Standing) {
        (self.received.len() + self.came.len(), self.standing.clone())
    }

    /// Messages that arrived twice over Redis; the second was dropped.
    pub(super) fn doubles(&self) -> u64 {
        self.standing.doubles
    }
}

impl Seen for RoomsSeen {
    /// A Node server leaves out the fields that only roomcast knows.
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
        self.came.extend(told.came.into_iter().map(|(process, rooms, number, passed_over, at)| Handled {
            process,
            series: if rooms { Series::Rooms } else { Series::Main },
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
