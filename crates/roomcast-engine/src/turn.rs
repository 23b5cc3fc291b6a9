//! [`Turn`]: while a thread handles what one client sent, the packets that this makes for others are gathered, and each of
//! them is written to once, at the end.

use crate::connection::Connection;
use crate::limits::DIRECT_PER_TURN;
use std::cell::RefCell;
use std::sync::Arc;

/// How far ahead a connection is fetched from memory while others are written to.
const AHEAD: usize = 2;

thread_local! {
    static GATHERED: RefCell<Gathered> = const { RefCell::new(Gathered { open: false, connections: Vec::new() }) };
}

struct Gathered {
    open: bool,
    connections: Vec<Arc<Connection>>,
}

/// A turn of this thread; it ends when this is dropped.
pub(crate) struct Turn {
    /// A turn within a turn ends with the outer one.
    outer: bool,
    /// Most connections that are written to.
    most: usize,
}

impl Turn {
    pub(crate) fn begin() -> Self {
        let outer = GATHERED.with_borrow_mut(|gathered| std::mem::replace(&mut gathered.open, true));
        Self { outer, most: DIRECT_PER_TURN }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.outer {
            return;
        }
        let mut connections = GATHERED.with_borrow_mut(|gathered| {
            gathered.open = false;
            std::mem::take(&mut gathered.connections)
        });
        for (number, connection) in connections.iter().enumerate() {
            if let Some(next) = connections.get(number + AHEAD) {
                next.prefetch();
            }
            if number < self.most { connection.write_now() } else { connection.leave_to_task() }
        }
        connections.clear();
        if connections.capacity() <= self.most {
            GATHERED.with_borrow_mut(|gathered| {
                if gathered.connections.capacity() == 0 {
                    gathered.connections = connections;
                }
            });
        }
    }
}

/// What waits for this connection is written: at the end of this thread's turn, or now if it has none.
pub(crate) fn write(connection: Arc<Connection>) {
    let at_once = GATHERED.with_borrow_mut(|gathered| {
        if gathered.open {
            gathered.connections.push(connection);
            return None;
        }
        Some(connection)
    });
    if let Some(connection) = at_once {
        connection.write_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Nobody;
    use crate::config::EngineConfig;
    use crate::engine::Engine;
    use crate::limits::DIRECT_BYTES;
    use crate::session::Transport;
    use crate::writer::Stream as _;
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
            let connection = engine.open(&request, Transport::WebSocket, false).unwrap();
            let (reader, writer) = stream.into_halves();
            let task = Arc::<Task>::default();
            let idle = Self { connection, task, client, _reader: reader };
            idle.connection.shared().writer = Some(writer);
            idle.connection.write_now();
            idle.sleep();
            idle.received();
            idle
        }

        /// The task has nothing to do and waits.
        fn sleep(&self) {
            self.connection.shared().reader = Some(Waker::from(self.task.clone()));
        }

        fn send(&self, bytes: usize) {
            self.connection.send(&Arc::new(Packet::control(vec![b'x'; bytes]))).wake();
        }

        /// Bytes that came since the last call. What was written is there at once, over loopback.
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

    #[tokio::test]
    async fn a_packet_at_the_limit_and_one_byte_past_it() {
        let engine = Engine::new(EngineConfig::default(), Nobody);
        let idle = Idle::new(&engine).await;
        idle.send(DIRECT_BYTES);
        assert_eq!((idle.received(), idle.woken()), (DIRECT_BYTES, 0));
        idle.send(DIRECT_BYTES + 1);
        assert_eq!((idle.received(), idle.woken()), (0, 1));
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
    async fn connections_at_the_limit_and_one_past_it() {
        let engine = Engine::new(EngineConfig::default(), Nobody);
        let idle = [Idle::new(&engine).await, Idle::new(&engine).await, Idle::new(&engine).await];
        let mut turn = Turn::begin();
        turn.most = 2;
        idle.iter().for_each(|idle| idle.send(10));
        drop(turn);
        let seen = idle.each_ref().map(|idle| (idle.received(), idle.woken()));
        assert_eq!(seen, [(10, 0), (10, 0), (0, 1)]);
    }
}
