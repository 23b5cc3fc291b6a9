//! [`FaultProxy`]: a TCP proxy between a broker and Redis that misbehaves on command, for one kind of connection or for
//! all.

use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes that a slow connection takes at once.
const SLOW_PIECE: usize = 4_096;

/// The connections that a fault affects. They are told apart by the commands that they have sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// It has subscribed.
    Subscriber,
    /// It has published.
    Publisher,
}

/// What happens to the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Pass,
    /// They wait until [`FaultProxy::pass`].
    Stalled,
    /// They are not even read, so that the sender has to keep them, until [`FaultProxy::pass`].
    Stopped,
    /// They are swallowed for good: both ends believe in a connection that no longer exists.
    HalfOpen,
    /// Both ends get a reset.
    Cut,
}

/// A proxy on a port of its own. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    upstream: AtomicU16,
    connections: Mutex<Vec<Connection>>,
    /// The flow of connections that are made from now on.
    new: Mutex<Flow>,
    delay: AtomicU64,
    /// Bytes a second that each connection takes from the server; 0 for no limit.
    rate: AtomicU64,
    accepted: AtomicUsize,
    asked: AtomicU64,
    answered: AtomicU64,
}

#[derive(Debug)]
struct Connection {
    flow: watch::Sender<Flow>,
    subscribes: bool,
    publishes: bool,
}

impl FaultProxy {
    /// Starts a proxy to a port of this machine.
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream: AtomicU16::new(upstream),
            connections: Mutex::default(),
            new: Mutex::new(Flow::Pass),
            delay: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            accepted: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(shared.clone().accept(listener)).abort_handle();
        Self { port, shared, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The address as it appears in log lines.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// New connections lead to another server, as when a floating address has moved.
    pub(crate) fn move_to(&self, upstream: u16) {
        self.shared.upstream.store(upstream, Ordering::Relaxed);
    }

    /// Stalled and stopped connections go on, and new ones pass. Half-open ones stay half-open.
    pub(crate) fn pass(&self) {
        *self.shared.new.lock() = Flow::Pass;
        self.set(Which::All, |flow| if matches!(flow, Flow::Stalled | Flow::Stopped) { Flow::Pass } else { flow });
    }

    /// Resets connections, and returns how many. New ones pass.
    pub(crate) fn cut(&self, which: Which) -> usize {
        self.set(which, |_| Flow::Cut)
    }

    /// Existing connections carry nothing from now on, silently. New ones pass. Returns how many there were.
    pub(crate) fn half_open(&self, which: Which) -> usize {
        self.set(which, |_| Flow::HalfOpen)
    }

    /// As if the cable was pulled: existing connections carry nothing any more, and new ones carry nothing until
    /// [`FaultProxy::pass`].
    pub(crate) fn blackhole(&self) -> usize {
        *self.shared.new.lock() = Flow::HalfOpen;
        self.half_open(Which::All)
    }

    /// Everything waits until [`FaultProxy::pass`], including new connections.
    pub(crate) fn stall(&self) -> usize {
        *self.shared.new.lock() = Flow::Stalled;
        self.set(Which::All, |flow| if flow == Flow::Pass { Flow::Stalled } else { flow })
    }

    /// From now on each piece is passed on this much later, in order.
    pub(crate) fn delay(&self, delay: Duration) {
        self.shared.delay.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    /// Existing connections take nothing until [`FaultProxy::pass`]. New ones pass.
    pub(crate) fn stop(&self, which: Which) -> usize {
        self.set(which, |flow| if flow == Flow::Pass { Flow::Stopped } else { flow })
    }

    /// From now on every connection takes this many bytes a second from the server; 0 for no limit.
    pub(crate) fn slow(&self, rate: u64) {
        self.shared.rate.store(rate, Ordering::Relaxed);
    }

    fn set(&self, which: Which, change: impl Fn(Flow) -> Flow) -> usize {
        let connections = self.shared.connections.lock();
        let meant = connections.iter().filter(|connection| match which {
            Which::All => true,
            Which::Subscriber => connection.subscribes,
            Which::Publisher => connection.publishes,
        });
        let mut changed = 0;
        // A connection whose task has ended no longer exists.
        for connection in meant.filter(|connection| connection.flow.receiver_count() > 0) {
            connection.flow.send_modify(|flow| {
                if *flow != Flow::Cut {
                    *flow = change(*flow);
                }
            });
            changed += 1;
        }
        changed
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut(Which::All);
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        while let Ok((client, _)) = listener.accept().await {
            self.accepted.fetch_add(1, Ordering::Relaxed);
            let (number, flow) = {
                let mut connections = self.connections.lock();
                let flow = watch::channel(*self.new.lock()).0;
                let receiver = flow.subscribe();
                connections.push(Connection { flow, subscribes: false, publishes: false });
                (connections.len() - 1, receiver)
            };
            tokio::spawn(self.clone().carry(client, number, flow));
        }
    }

    async fn carry(self: Arc<Self>, client: TcpStream, number: usize, mut flow: watch::Receiver<Flow>) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.upstream.load(Ordering::Relaxed))).await else {
            // The client must not take this for a connection.
            let _ = client.set_zero_linger();
            return;
        };
        for socket in [&client, &server] {
            let _ = socket.set_nodelay(true);
            let _ = socket.set_zero_linger();
        }
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let sniffed = |bytes: &[u8]| {
            self.asked.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.sniff(number, bytes);
        };
        let answered = |bytes: &[u8]| {
            self.answered.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        };
        let (all, mut cut) = (AtomicU64::new(0), flow.clone());
        tokio::select! {
            _ = self.pump(&mut from_client, &mut to_server, flow.clone(), &all, sniffed) => {}
            _ = self.pump(&mut from_server, &mut to_client, flow.clone(), &self.rate, answered) => {}
            _ = cut.wait_for(|flow| *flow == Flow::Cut) => {}
        }
        // The end is passed on only if anything is. Until then the sockets stay open: Redis must believe in a half-open
        // connection.
        let _ = flow.wait_for(|flow| matches!(flow, Flow::Pass | Flow::Cut)).await;
    }

    async fn pump(
        &self,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
        mut flow: watch::Receiver<Flow>,
        rate: &AtomicU64,
        look: impl Fn(&[u8]),
    ) -> io::Result<()> {
        // Pieces in flight wait for their time, which does not limit the rate.
        let (queue, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(4_096);
        let mut taken = flow.clone();
        let reading = async move {
            let mut buffer = vec![0; 65_536];
            loop {
                let _ = taken.wait_for(|flow| *flow != Flow::Stopped).await;
                let rate = rate.load(Ordering::Relaxed);
                let most = if rate > 0 { SLOW_PIECE } else { buffer.len() };
                let read = from.read(&mut buffer[..most]).await?;
                if rate > 0 {
                    sleep(Duration::from_secs_f64(read as f64 / rate as f64)).await;
                }
                if read == 0 {
                    return io::Result::Ok(());
                }
                look(&buffer[..read]);
                let at = Instant::now() + Duration::from_micros(self.delay.load(Ordering::Relaxed));
                if queue.send((at, buffer[..read].to_vec())).await.is_err() {
                    return Ok(());
                }
            }
        };
        let writing = async move {
            while let Some((at, bytes)) = due.recv().await {
                if at > Instant::now() {
                    sleep_until(at).await;
                }
                let now = flow
                    .wait_for(|flow| !matches!(flow, Flow::Stalled | Flow::Stopped))
                    .await
                    .map_or(Flow::Cut, |flow| *flow);
                match now {
                    Flow::Pass => to.write_all(&bytes).await?,
                    Flow::HalfOpen => {}
                    _ => return Err(io::ErrorKind::ConnectionReset.into()),
                }
            }
            Ok(())
        };
        tokio::try_join!(reading, writing).map(|_| ())
    }

    /// Learns from its commands what a connection is for.
    fn sniff(&self, number: usize, bytes: &[u8]) {
        // Node's clients write commands in lower case.
        let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
        let (subscribes, publishes) = (has(b"SUBSCRIBE\r\n"), has(b"PUBLISH\r\n"));
        if subscribes || publishes {
            let mut connections = self.connections.lock();
            connections[number].subscribes |= subscribes;
            connections[number].publishes |= publishes;
        }
    }
}
