//! [`Place`]: a namespace of a process as it must be, and the sockets in it.

use crate::got::Got;
use roomcast_adapter::Target;
use roomcast_adapter::cluster::{ClusterAdapter, Series};
use roomcast_protocol::SocketId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// A process: its index among all processes of the run.
pub(crate) type ProcessId = usize;

/// A namespace of a process.
pub(crate) type PlaceId = (ProcessId, Arc<str>);

/// A namespace of a process as it must be.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// The number of adapters that it has had.
    pub(crate) adapters: usize,
    /// The newest adapter exists.
    pub(crate) present: bool,
    /// It takes part in the cluster.
    pub(crate) open: bool,
    /// Closing it has begun.
    pub(crate) closing: bool,
    /// It was dropped, and ends once that is noticed.
    pub(crate) dropped: bool,
    /// The sockets in it.
    pub(crate) sockets: BTreeSet<usize>,
    /// The sessions that are kept, also those of earlier adapters.
    pub(crate) kept: BTreeSet<usize>,
    /// When each event came that may be in the log for clients that come back.
    pub(crate) log: Vec<u64>,
    /// The highest serial that was accepted in each series.
    pub(crate) highest: BTreeMap<(ProcessId, Series), u64>,
    /// The times in which it was open, counted from the calls.
    pub(crate) periods: Vec<(u64, Option<u64>)>,
    /// Since when its messages have arrived without an interruption that it caused.
    pub(crate) connected: Option<u64>,
    /// The server events that must arrive, and those that did.
    pub(crate) events: Vec<u64>,
    /// An event arrived when the adapter was just being dropped.
    pub(crate) unsure: bool,
    pub(crate) events_got: Vec<u64>,
}

/// A socket.
#[derive(Debug)]
pub(crate) struct ModelSocket {
    pub(crate) id: SocketId,
    pub(crate) at: PlaceId,
    pub(crate) rooms: BTreeSet<String>,
    pub(crate) since: u64,
    /// When it left.
    pub(crate) left: Option<u64>,
    /// The events that it must have got.
    pub(crate) expected: Vec<u64>,
    /// The number of events that were compared.
    pub(crate) compared: usize,
    pub(crate) disconnects: usize,
    pub(crate) got: Arc<Got>,
    /// Its session, if its client may come back.
    pub(crate) session: Option<usize>,
    /// The client's connection is lost, which the server has not noticed.
    pub(crate) cut: bool,
    pub(crate) adapter: Weak<ClusterAdapter>,
}

/// Whether a target selects a socket with this id and these rooms.
pub(crate) fn selects(target: &Target, id: SocketId, rooms: &BTreeSet<String>) -> bool {
    let is_in = |room: &str| rooms.contains(room) || id.as_str() == room;
    let wanted = if target.one {
        target.rooms.iter().any(|room| id.as_str() == &**room)
    } else {
        target.rooms.is_empty() || target.rooms.iter().any(|room| is_in(room))
    };
    wanted && !target.except.iter().any(|room| is_in(room))
}
