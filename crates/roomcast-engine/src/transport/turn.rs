//! [`Turn`]: while a thread handles what one client sent, or polls a handler, it gathers the clients that packets are
//! sent to, and writes to each of them once, at the end.

use crate::connections::connection::Connection;
use crate::limits::{KEPT_CONNECTIONS, TURN_TIME, WRITES_PER_LOOK};
use crate::session::turn_id::TurnId;
use crate::transport::watch;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many connections ahead of the one being written to are fetched from memory.
const AHEAD: usize = 2;

thread_local! {
    static GATHERED: RefCell<Gathered> = const { RefCell::new(Gathered { open: false, connections: Vec::new() }) };
}

struct Gathered {
    open: bool,
    connections: Vec<Arc<Connection>>,
}

/// Gathers what the code that runs while it is held sends, and writes it when it is dropped. It is for handlers' code
/// that runs outside the reading of messages; while it reads, the engine opens a turn itself.
///
/// It writes for at most 5 ms ([`TURN_TIME`](crate::limits::TURN_TIME)) and leaves the rest to a task, so that writes
/// to others do not hold the thread up. A turn does not cross an `.await`: hold one for a single poll.
#[derive(Debug)]
#[must_use = "packets are gathered only while it is held"]
pub struct Turn {
    /// A turn within a turn ends with the outer one.
    outer: bool,
    time: Duration,
    /// A turn belongs to its thread.
    _here: PhantomData<*const ()>,
}

impl Turn {
    /// Begins a turn on this thread.
    pub fn begin() -> Self {
        let begin = |gathered: &RefCell<Gathered>| std::mem::replace(&mut gathered.borrow_mut().open, true);
        let outer = GATHERED.try_with(begin).unwrap_or(true);
        if !outer {
            watch::begin();
        }
        Self { outer, time: TURN_TIME, _here: PhantomData }
    }

    /// Runs `code` as a turn.
    pub fn around(code: &mut dyn FnMut()) {
        let _turn = Self::begin();
        code();
    }

    /// Writes what this thread's turn has gathered so far. The turn stays open. Call it before blocking the thread
    /// until a client has answered.
    pub fn write_gathered() {
        write_out(take_gathered(true), TURN_TIME);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.outer {
            write_out(take_gathered(false), self.time);
            watch::end();
        }
    }
}

/// Takes what was gathered, and ends its turn.
fn take_gathered(open: bool) -> Vec<Arc<Connection>> {
    let taken = GATHERED.try_with(|gathered| {
        let mut gathered = gathered.borrow_mut();
        gathered.open &= open;
        std::mem::take(&mut gathered.connections)
    });
    let connections = taken.unwrap_or_default();
    if !connections.is_empty() {
        TurnId::end_current();
    }
    connections
}

fn write_out(connections: Vec<Arc<Connection>>, time: Duration) {
    let mut pending = PendingWrites { connections, at: 0 };
    if pending.write(time) {
        return pending.keep_storage();
    }
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(pending.write_in_slices())),
        Err(_) => pending.hand_to_tasks(),
    }
}

/// Connections that are to be written to.
struct PendingWrites {
    connections: Vec<Arc<Connection>>,
    at: usize,
}

impl PendingWrites {
    /// Writes for this long. Returns whether all are written to.
    fn write(&mut self, time: Duration) -> bool {
        let mut begun = None;
        while let Some(connection) = self.connections.get(self.at) {
            if self.at % WRITES_PER_LOOK == WRITES_PER_LOOK - 1
                && begun.get_or_insert_with(Instant::now).elapsed() >= time
            {
                return false;
            }
            if let Some(ahead) = self.connections.get(self.at + AHEAD) {
                ahead.prefetch();
            }
            connection.write_now();
            self.at += 1;
        }
        true
    }

    /// Writes the rest as a task, a slice at a time. Between two slices the thread's other tasks run; tokio's
    /// `yield_now` also lets it poll the network.
    async fn write_in_slices(mut self) {
        loop {
            tokio::task::yield_now().await;
            if self.write(TURN_TIME) {
                return;
            }
        }
    }

    fn hand_to_tasks(self) {
        for connection in self.connections.into_iter().skip(self.at) {
            connection.hand_to_task();
        }
    }

    fn keep_storage(self) {
        let mut connections = self.connections;
        connections.clear();
        if connections.capacity() > KEPT_CONNECTIONS {
            return;
        }
        let _ = GATHERED.try_with(|gathered| {
            let mut gathered = gathered.borrow_mut();
            if gathered.connections.capacity() == 0 {
                gathered.connections = connections;
            }
        });
    }
}

/// Writes what waits for this connection: at the end of this thread's turn, or now if it has none.
pub(crate) fn write(connection: Arc<Connection>) {
    let mut connection = Some(connection);
    let _ = GATHERED.try_with(|gathered| {
        let mut gathered = gathered.borrow_mut();
        if gathered.open {
            gathered.connections.extend(connection.take());
        }
    });
    if let Some(connection) = connection {
        connection.write_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Nobody;
    use crate::config::EngineConfig;
    use crate::engine::Engine;
    use crate::session::transport::Transport;
    use crate::transport::writer::Stream as _;
    use roomcast_protocol::Packet;
    use std::io::Read as _;
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use tokio::net::TcpListener;

    /// Counts how often a connection's task is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// An idle WebSocket whose task is only counted.
    struct Idle {
        connection: Arc<Connection>,
        task: Arc<Task>,
        client: TcpStream,
        _reader: tokio::net::tcp::OwnedReadHalf,
    }

    impl Idle {
        async fn new(engine: &Engine) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.set_nonblocking(true).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            stream.writable().await.unwrap();
            let (request, ()) = http::Request::new(()).into_parts();
            let connection = engine.open(&request, Transport::WebSocket).unwrap();
            let (reader, writer) = stream.into_halves();
            let task = Arc::<Task>::default();
            let idle = Self { connection, task, client, _reader: reader };
            idle.connection.shared().outlet.lane.attach(writer);
            idle.connection.write_now();
            idle.sleep();
            idle.received();
            idle
        }

        /// The task has nothing to do and waits.
        fn sleep(&self) {
            self.connection.shared().outlet.task = Some(Waker::from(self.task.clone()));
        }

        fn send(&self, bytes: usize) {
            self.connection.send(&Arc::new(Packet::control(vec![b'x'; bytes]))).wake();
        }

        /// Bytes that came since the last call. Over loopback, what was written is there at once.
        fn received(&self) -> usize {
            let (mut all, mut buffer) = (0, [0; 65_536]);
            while let Ok(count @ 1..) = (&self.client).read(&mut buffer) {
                all += count;
            }
            all
        }

        fn woken(&self) -> usize {
            self.task.0.load(Ordering::SeqCst)
        }
    }

    async fn idle(engine: &Engine, count: usize) -> Vec<Idle> {
        let mut idle = Vec::new();
        for _ in 0..count {
            idle.push(Idle::new(engine).await);
        }
        idle
    }

    #[tokio::test]
    async fn what_one_turn_makes_leaves_at_its_end() {
        let engine = Engine::new(EngineConfig::default(), Nobody);
        let idle = Idle::new(&engine).await;
        let turn = Turn::begin();
        let inner = Turn::begin();
        idle.send(10);
        drop(inner);
        idle.send(20);
        assert_eq!(idle.received(), 0);
        drop(turn);
        assert_eq!((idle.received(), idle.woken()), (30, 0));
        idle.send(40);
        assert_eq!(idle.received(), 40, "without a turn it leaves at once");
    }

    #[tokio::test]
    async fn what_another_turn_has_scheduled_is_written_by_the_next_sender() {
        let engine = Engine::new(EngineConfig::default(), Nobody);
        let idle = Idle::new(&engine).await;
        let turn = Turn::begin();
        idle.send(10);
        assert_eq!(idle.received(), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| idle.send(20));
        });
        assert_eq!(idle.received(), 30, "the turn of this thread is still open");
        drop(turn);
        assert_eq!((idle.received(), idle.woken()), (0, 0));
    }

    #[tokio::test]
    async fn what_was_gathered_leaves_before_a_thread_blocks() {
        let engine = Engine::new(EngineConfig::default(), Nobody);
        let idle = Idle::new(&engine).await;
        let turn = Turn::begin();
        idle.send(10);
        Turn::write_gathered();
        assert_eq!(idle.received(), 10);
        idle.send(20);
        assert_eq!(idle.received(), 0, "the turn goes on");
        drop(turn);
        assert_eq!((idle.received(), idle.woken()), (20, 0));
    }

    #[tokio::test]
    async fn a_packet_leaves_even_if_its_sender_does_not_wake() {
        let engine = Engine::new(EngineConfig::default(), Nobody);
        let idle = Idle::new(&engine).await;
        let packet = Arc::new(Packet::control(vec![b'x'; 10]));
        assert!(matches!(idle.connection.send(&packet).wake(), crate::Delivery::Queued));
        let _ = idle.connection.send(&packet);
        assert_eq!(idle.received(), 20);
    }

    #[tokio::test]
    async fn what_a_turn_has_no_time_for_is_written_as_a_task() {
        let engine = Engine::new(EngineConfig::default(), Nobody);
        let idle = idle(&engine, 2 * WRITES_PER_LOOK).await;
        let mut turn = Turn::begin();
        turn.time = Duration::ZERO;
        idle.iter().for_each(|idle| idle.send(10));
        drop(turn);
        let written = |idle: &[Idle]| idle.iter().filter(|idle| idle.received() == 10).count();
        assert_eq!(written(&idle), WRITES_PER_LOOK - 1, "the clock is read then");
        // The rest is written after other tasks have run.
        let mut rest = 0;
        for _ in 0..10 {
            tokio::task::yield_now().await;
            rest += written(&idle);
        }
        assert_eq!(rest, WRITES_PER_LOOK + 1);
        assert!(idle.iter().all(|idle| idle.woken() == 0));
    }

    #[tokio::test]
    async fn without_a_runtime_the_connections_tasks_write_what_a_turn_has_no_time_for() {
        let engine = Engine::new(EngineConfig::default(), Nobody);
        let idle = idle(&engine, 2 * WRITES_PER_LOOK).await;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut turn = Turn::begin();
                turn.time = Duration::ZERO;
                idle.iter().for_each(|idle| idle.send(10));
            });
        });
        let written = idle.iter().filter(|idle| idle.received() == 10).count();
        let woken = idle.iter().filter(|idle| idle.woken() == 1).count();
        assert_eq!((written, woken), (WRITES_PER_LOOK - 1, WRITES_PER_LOOK + 1));
    }
}
