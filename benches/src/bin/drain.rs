//! A server that drains: `drain [CLIENTS] [SECONDS]`, by default 5,000 clients and a window of 10 s.
//!
//! Two servers of the program stand behind HAProxy with the configuration of `docs/examples/`. One of them gets SIGTERM. Its clients
//! reconnect as the official client does: after 0.5 to 1.5 s, then after twice as long, and so on. Told are how many reconnect in each
//! second, the peak over the average, how long the server took to exit, and whether every client is connected in the end.

use roomcast_benches::process::{Process, allow_descriptors};
use roomcast_benches::verdict::Verdict;
use roomcast_benches::wire::{client_frame, take_frame, upgrade_request};
use roomcast_benches::workloads::Failure;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long the server goes on after SIGTERM, for HAProxy to notice: two failed checks of 2 s each, and a second.
const GRACE: u64 = 5;

/// The longest that the server may take to close after grace and window.
const CLOSE: f64 = 8.5;

/// The aim: the second in which most clients reconnect has at most so many times the average.
const PEAK: f64 = 1.3;

/// Clients that connect at the same time at the beginning.
const AT_ONCE: usize = 200;

/// Connections of one client that fail before it gives up.
const ATTEMPTS: u32 = 20;

/// What the clients have done.
#[derive(Default)]
struct Seen {
    connected: AtomicUsize,
    failed: AtomicUsize,
    random: AtomicU64,
}

fn main() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args().skip(1);
    let clients: usize = arguments.next().as_deref().unwrap_or("5000").parse()?;
    let window: u64 = arguments.next().as_deref().unwrap_or("10").parse()?;
    allow_descriptors(clients + 100)?;
    let servers = [server(window)?, server(window)?];
    let proxy = Proxy::start([servers[0].port, servers[1].port])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(run(clients, window, servers, &proxy))
}

async fn run(clients: usize, window: u64, servers: [Server; 2], proxy: &Proxy) -> Result<ExitCode, Failure> {
    let seen = Arc::<Seen>::default();
    let (reconnected, reconnects) = channel();
    let connecting = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    for _ in 0..clients {
        let (seen, reconnected, connecting) = (seen.clone(), reconnected.clone(), connecting.clone());
        tokio::spawn(client(proxy.address, seen, reconnected, connecting));
    }
    wait("all clients are connected", || seen.connected.load(Ordering::Relaxed) == clients).await?;
    let [mut first, _second] = servers;
    let begun = Instant::now();
    Command::new("sh").args(["-c", &format!("kill -TERM {}", first.process.pid())]).status()?;
    wait("the server exits", || first.process.has_ended()).await?;
    let took = begun.elapsed().as_secs_f64();
    wait("all clients are connected again", || seen.connected.load(Ordering::Relaxed) == clients).await?;

    let mut bins: Vec<u32> = Vec::new();
    let mut all = 0;
    for at in reconnects.try_iter() {
        let second = usize::try_from(Instant::duration_since(&at, begun).as_secs())?;
        bins.resize(bins.len().max(second + 1), 0);
        bins[second] += 1;
        all += 1;
    }
    let average = f64::from(all) / window as f64;
    let peak = f64::from(bins.iter().copied().max().unwrap_or_default()) / average;
    println!("{all} of {clients} clients were on the server; reconnects in each second after SIGTERM: {bins:?}");
    println!("peak {peak:.2} times the average over {window} s; the server took {took:.1} s to exit");
    let mut verdict = Verdict::default();
    verdict.check(seen.failed.load(Ordering::Relaxed) == 0, "a client has given up");
    verdict.check(peak <= PEAK, "the peak is more than 1.3 times the average");
    verdict.check(took <= (GRACE + window) as f64 + CLOSE, "the server exits too late");
    Ok(verdict.end())
}

async fn wait(what: &str, mut condition: impl FnMut() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        if Instant::now() > deadline {
            return Err(format!("waited in vain: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Connects, and connects again whenever its connection ends.
async fn client(
    address: SocketAddr,
    seen: Arc<Seen>,
    reconnected: Sender<Instant>,
    connecting: Arc<tokio::sync::Semaphore>,
) {
    let (mut is_first, mut attempt) = (true, 0);
    loop {
        let permit = if is_first { connecting.clone().acquire_owned().await.ok() } else { None };
        match connect(address).await {
            Ok(stream) => {
                drop(permit);
                seen.connected.fetch_add(1, Ordering::Relaxed);
                if !is_first {
                    let _ = reconnected.send(Instant::now());
                }
                (is_first, attempt) = (false, 0);
                stay(stream).await;
                seen.connected.fetch_sub(1, Ordering::Relaxed);
            }
            Err(_) if attempt == ATTEMPTS => {
                seen.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(_) => {}
        }
        // As the client's defaults: 1 s, doubled with each attempt up to 5 s, and half of it more or less by chance.
        let delay = (1.0_f64 * f64::from(1_u32 << attempt.min(3))).min(5.0);
        attempt += 1;
        tokio::time::sleep(Duration::from_secs_f64(delay * (0.5 + random(&seen)))).await;
    }
}

/// From 0 to 1.
fn random(seen: &Seen) -> f64 {
    // The finaliser of SplitMix64, on a counter.
    let mut bits = seen.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

struct Stream {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Stream {
    async fn read(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 1_024];
        match self.stream.read(&mut chunk).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.bytes.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }

    async fn frame(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            if let Some(frame) = take_frame(&mut self.bytes) {
                return Ok(frame);
            }
            self.read().await?;
        }
    }
}

/// A WebSocket session in namespace `/`.
async fn connect(address: SocketAddr) -> std::io::Result<Stream> {
    let mut stream = Stream { stream: TcpStream::connect(address).await?, bytes: Vec::new() };
    stream.stream.write_all(upgrade_request().as_bytes()).await?;
    let end = loop {
        match stream.bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => stream.read().await?,
        }
    };
    if !stream.bytes.starts_with(b"HTTP/1.1 101") {
        return Err(std::io::ErrorKind::ConnectionRefused.into());
    }
    stream.bytes.drain(..end);
    stream.frame().await?;
    stream.stream.write_all(&client_frame("40")).await?;
    while !stream.frame().await?.starts_with(b"40") {}
    Ok(stream)
}

/// Answers pings until the connection ends.
async fn stay(mut stream: Stream) {
    while let Ok(frame) = stream.frame().await {
        let answered = match &*frame {
            b"2" => stream.stream.write_all(&client_frame("3")).await,
            // A close frame has no text here.
            [] => return,
            _ => Ok(()),
        };
        if answered.is_err() {
            return;
        }
    }
}

struct Server {
    process: Process,
    port: u16,
}

fn server(window: u64) -> Result<Server, Failure> {
    let environment = [
        ("PORT", "0".to_owned()),
        ("ROOMCAST_DRAIN_GRACE", GRACE.to_string()),
        ("ROOMCAST_DRAIN_WINDOW", window.to_string()),
    ];
    let (process, _, log) = Process::start(&[program()?], &[], &environment)?;
    let mut lines = BufReader::new(log).lines();
    let listening =
        lines.find_map(|line| line.ok()?.split_once("listening on http://").map(|(_, rest)| rest.to_owned()));
    let address = listening.ok_or("the server does not start")?;
    let port = address.split(' ').next().and_then(|address| address.rsplit(':').next()).unwrap_or_default().parse()?;
    // Its log is read to the end, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    Ok(Server { process, port })
}

/// The program, which is built beside this one.
fn program() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?.with_file_name("roomcast");
    if program.is_file() { Ok(program) } else { Err("build it first: cargo build --release --package roomcast".into()) }
}

struct Proxy {
    address: SocketAddr,
    _process: Process,
}

impl Proxy {
    /// HAProxy with the documented configuration, on other ports, and for clients that all have one address: by the fewest connections.
    fn start(servers: [u16; 2]) -> Result<Self, Failure> {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/haproxy.cfg");
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut text = std::fs::read_to_string(example)?;
        for (from, to) in [
            ("127.0.0.1:8081".to_owned(), format!("127.0.0.1:{port}")),
            ("127.0.0.1:3001".to_owned(), format!("127.0.0.1:{}", servers[0])),
            ("127.0.0.1:3002".to_owned(), format!("127.0.0.1:{}", servers[1])),
            ("balance source".to_owned(), "balance leastconn".to_owned()),
            ("    hash-type consistent\n".to_owned(), String::new()),
        ] {
            if !text.contains(&from) {
                return Err(format!("docs/examples/haproxy.cfg has no {from}").into());
            }
            text = text.replace(&from, &to);
        }
        let file = std::env::temp_dir().join(format!("roomcast-drain-{}.cfg", std::process::id()));
        std::fs::write(&file, text)?;
        let haproxy = if Path::new("/usr/sbin/haproxy").exists() { "/usr/sbin/haproxy" } else { "haproxy" };
        let words = [haproxy, "-db", "-f", file.to_str().unwrap_or_default()];
        let (process, _, _) = Process::start(&words, &[], &[])?;
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err("HAProxy does not start; is it installed? See cargo xtask setup".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        std::fs::remove_file(file)?;
        Ok(Self { address, _process: process })
    }
}
