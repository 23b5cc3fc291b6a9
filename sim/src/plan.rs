//! [`Plan`]: what happens in a run, drawn up front from the seed, so that it can be replayed and cut down.

/// Which runs are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Only {
    /// Nothing goes wrong.
    pub health: bool,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What stays the same during it.
    pub setup: Setup,
    /// What happens, by time.
    pub steps: Vec<Step>,
}

/// What stays the same during a run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// Servers of roomcast, by place; a place may be taken by one process after another.
    pub servers: usize,
    /// Servers of other software.
    pub foreign: usize,
    /// Namespaces; the first two are opened by each server that starts.
    pub namespaces: usize,
    /// Most milliseconds of a message on its in_flight.
    pub hop: u64,
    /// Most milliseconds to the broker, and as many back.
    pub latency: u64,
    /// A server's own messages come back to it.
    pub echo: bool,
    /// A subscription ends when its end is confirmed, not when it is asked for.
    pub late_close: bool,
    /// Messages that come in the same millisecond are handed over together.
    pub together: bool,
    /// Every second server hears the channels of rooms that have members there, and of no others.
    pub exact: bool,
    /// Roads by which messages go out; with more than one all servers hear rooms each by itself, which overtake one another.
    pub roads: u64,
    /// Bytes of a queue.
    pub queue: Option<usize>,
    /// Something may go wrong in it.
    pub faults: bool,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub struct Step {
    /// Milliseconds since the beginning.
    pub at: u64,
    /// What.
    pub what: StepKind,
}

/// Which sockets. Rooms are `r0`, `r1` ...
#[derive(Debug, Clone, Default)]
pub struct Aim {
    /// Rooms.
    pub rooms: Vec<u64>,
    /// Rooms left out.
    pub except: Vec<u64>,
    /// One socket of the namespace by its id: that one alone (`true`), or its room.
    pub socket: Option<(u64, bool)>,
    /// On this server only.
    pub local: bool,
}

/// A change of the sockets of an [`Aim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    Join,
    Leave,
    Disconnect,
}

/// A question to all servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum QuestionKind {
    Sockets,
    Count,
    Rooms,
    Ack,
    Event,
    Servers,
}

/// What happens. `s` is a place of a server, `f` one of other software, `n` a namespace, `pick` a socket among those that are there.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum StepKind {
    /// A server starts, when the one before it at this place has ended.
    Start {
        s: usize,
    },
    /// A server leaves.
    Stop {
        s: usize,
    },
    /// A server is dropped without being closed; it says goodbye by itself.
    Forsake {
        s: usize,
    },
    /// A server dies.
    Kill {
        s: usize,
    },
    /// An adapter for a namespace. If there is one, the sockets move to the new one and the old is closed so much later.
    Open {
        s: usize,
        n: usize,
        close: u64,
    },
    /// The adapter is closed; `empty`: its sockets are removed first.
    Close {
        s: usize,
        n: usize,
        empty: bool,
    },
    /// The adapter is dropped without being closed.
    Drop {
        s: usize,
        n: usize,
    },
    Insert {
        s: usize,
        n: usize,
        rooms: Vec<u64>,
    },
    Remove {
        s: usize,
        n: usize,
        pick: u64,
    },
    Join {
        s: usize,
        n: usize,
        pick: u64,
        rooms: Vec<u64>,
    },
    Leave {
        s: usize,
        n: usize,
        pick: u64,
        room: u64,
    },
    Emit {
        s: usize,
        n: usize,
        aim: Aim,
        volatile: bool,
        times: u64,
        bytes: usize,
    },
    Change {
        s: usize,
        n: usize,
        aim: Aim,
        change: Change,
        rooms: Vec<u64>,
    },
    Ask {
        s: usize,
        n: usize,
        aim: Aim,
        kind: QuestionKind,
        timeout: u64,
    },
    Event {
        s: usize,
        n: usize,
        times: u64,
    },
    ForeignEmit {
        f: usize,
        n: usize,
        aim: Aim,
    },
    ForeignChange {
        f: usize,
        n: usize,
        aim: Aim,
        change: Change,
        rooms: Vec<u64>,
    },
    ForeignAsk {
        f: usize,
        n: usize,
        kind: QuestionKind,
    },
    Fault(Fault),
}

/// What goes wrong.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Fault {
    /// The next messages from one server to another do not come; announcements or the others.
    Lose { from: usize, to: usize, times: u32, alive: bool },
    /// They come twice.
    Double { from: usize, to: usize, times: u32 },
    /// All from one to the other takes so much longer.
    Slow { from: usize, to: usize, more: u64, time: u64 },
    /// A server hears nothing.
    Deaf { s: usize, time: u64 },
    /// Nothing of a server goes out.
    Mute { s: usize, time: u64 },
    /// The next batches of a server.
    Publish { s: usize, how: PublishFault, times: u32 },
    /// CountFault.
    Count { s: usize, how: CountFault, time: u64 },
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PublishFault {
    /// The broker does not answer; the batch went out, or did not.
    Hangs { out: bool },
    /// `Again` for all of it.
    Again { out: bool },
    /// `Again` for every second message.
    Every2nd { out: bool },
    /// `Never` for the first message that is no announcement.
    Never,
    /// Only the first half is told of, and went out.
    Half,
}

/// What counting tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CountFault {
    Fails,
    Slow(u64),
    Hole,
    Ghost,
}

impl Fault {
    /// How long it goes on.
    pub fn time(&self) -> u64 {
        match self {
            Self::Slow { time, .. } | Self::Deaf { time, .. } | Self::Mute { time, .. } | Self::Count { time, .. } => {
                *time
            }
            // Each batch may take three seconds, and the next comes with the next announcement.
            Self::Publish { times, .. } => u64::from(*times) * 4_000,
            // They are for messages, and end with the run at the latest.
            Self::Lose { .. } | Self::Double { .. } => 3_000,
        }
    }
}
