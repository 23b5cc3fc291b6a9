//! [`Plan`]: what happens in a run. It is drawn from the seed before the run, so that it can be replayed and cut down.

/// Which kinds of runs are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Only {
    /// Only runs without faults.
    pub health: bool,
}

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What stays the same during it.
    pub setup: Setup,
    /// What happens, in order of time.
    pub steps: Vec<Step>,
}

/// What stays the same during a run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// The number of roomcast servers that run at the same time. One process may replace another in its place.
    pub servers: usize,
    /// The number of servers of other software.
    pub foreign: usize,
    /// The number of namespaces. Each server opens the first two when it starts.
    pub namespaces: usize,
    /// Most milliseconds that a message is in flight.
    pub hop: u64,
    /// Most milliseconds to the broker, and the same for the way back.
    pub latency: u64,
    /// A server's own messages are delivered to it.
    pub echo: bool,
    /// A subscription ends when its end is confirmed, not when it is requested.
    pub late_close: bool,
    /// Messages that arrive in the same millisecond are handed over together.
    pub together: bool,
    /// Every second server subscribes to rooms one by one, and only to those that have members there.
    pub exact: bool,
    /// The number of roads. With several, all servers subscribe to rooms one by one, and rooms overtake one another.
    pub roads: u64,
    /// The limit of a queue in bytes.
    pub queue: Option<usize>,
    /// Clients that come back continue their sessions; so many events are kept for them in each namespace.
    pub recovery: Option<usize>,
    /// Whether there may be faults.
    pub faults: bool,
    /// All faults are restarts of the message system.
    pub restarts: bool,
}

/// A step of a run.
#[derive(Debug, Clone)]
pub struct Step {
    /// Milliseconds since the start.
    pub at: u64,
    /// What happens.
    pub what: StepKind,
}

/// Selects sockets. Rooms are named `r0`, `r1` ….
#[derive(Debug, Clone, Default)]
pub struct Aim {
    /// Rooms whose members are selected.
    pub rooms: Vec<u64>,
    /// Rooms whose members are left out.
    pub except: Vec<u64>,
    /// One socket of the namespace by its id: only that socket (`true`), or the room named after it.
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

/// What happens in a step. `s` is the place of a server, `f` a server of other software, `n` a namespace, `pick`
/// chooses among the sockets that are there.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum StepKind {
    /// A server starts, once the one before it at this place has ended.
    Start {
        s: usize,
    },
    /// A server leaves.
    Stop {
        s: usize,
    },
    /// A server is dropped without being closed. It announces by itself that it leaves.
    Forsake {
        s: usize,
    },
    /// A server dies.
    Kill {
        s: usize,
    },
    /// A namespace gets an adapter. If it has one, that one's sockets move over, and it is closed after `close` ms.
    Open {
        s: usize,
        n: usize,
        close: u64,
    },
    /// The adapter is closed. With `empty` its sockets are removed first.
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
    /// A client's connection breaks, with the last `lost` packets; the server notices `after` ms.
    Cut {
        s: usize,
        n: usize,
        pick: u64,
        lost: usize,
        after: u64,
    },
    /// A client that is away comes to a server, which looks at it for `think` ms and may give up then.
    Back {
        s: usize,
        n: usize,
        pick: u64,
        think: u64,
        gives_up: bool,
    },
    /// A server emits to one of its sockets, which may be away.
    Own {
        s: usize,
        n: usize,
        pick: u64,
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

/// A fault.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Fault {
    /// The next messages from one server to another are lost: announcements, or other messages.
    Lose { from: usize, to: usize, times: u32, alive: bool },
    /// They arrive twice.
    Double { from: usize, to: usize, times: u32 },
    /// Every message from one server to another takes longer.
    Slow { from: usize, to: usize, more: u64, time: u64 },
    /// A server receives nothing.
    Deaf { s: usize, time: u64 },
    /// Nothing of a server goes out.
    Mute { s: usize, time: u64 },
    /// Publishing a server's next batches fails.
    Publish { s: usize, how: PublishFault, times: u32 },
    /// Counting fails.
    Count { s: usize, how: CountFault, time: u64 },
    /// The message system is away for `down` ms. After that each server publishes again in its own time, within `late`
    /// ms, and receives again likewise, but all of them `slow` ms later.
    Restart { down: u64, late: u64, slow: u64 },
}

/// How publishing a batch fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PublishFault {
    /// The broker does not answer. The batch went out, or did not.
    Hangs { out: bool },
    /// The outcome is `Again` for all of it.
    Again { out: bool },
    /// The outcome is `Again` for every second message.
    Every2nd { out: bool },
    /// The outcome is `Never` for the first message in a series.
    Never,
    /// Only the first half has outcomes, and went out.
    Half,
}

/// How counting fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CountFault {
    Fails,
    Slow(u64),
    Hole,
    Ghost,
}

impl Fault {
    /// How long it lasts, in milliseconds.
    pub fn time(&self) -> u64 {
        match self {
            Self::Slow { time, .. } | Self::Deaf { time, .. } | Self::Mute { time, .. } | Self::Count { time, .. } => {
                *time
            }
            Self::Restart { down, late, slow } => down + late + slow + 100,
            // Each batch may take three seconds, and the next one comes with the next announcement.
            Self::Publish { times, .. } => u64::from(*times) * 4_000,
            // These last until so many messages were sent, and at the latest until the final checks.
            Self::Lose { .. } | Self::Double { .. } => 3_000,
        }
    }
}
