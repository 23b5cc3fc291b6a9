//! A server that drains: `drain [CLIENTS] [SECONDS] [redis]`, by default 5,000 clients and a window of 10 s.
//!
//! Two servers of the program stand behind HAProxy with the configuration of `docs/examples/`. One of them gets SIGTERM. Its clients
//! reconnect as the official client does: after 0.5 to 1.5 s, then after twice as long, and so on. Told are how many reconnect in each
//! second, the peak over the average, how long the server took to exit, and whether every client is connected in the end.
//!
//! With `redis` the two servers and a third one, which is not behind HAProxy, are a cluster on a Redis of this program's own. A client of
//! the third server broadcasts numbers to all clients meanwhile, and clients of the server that drains broadcast words: see `talk`.

mod client;
mod talk;

use client::{Seen, client};

use roomcast_benches::process::{Process, allow_descriptors};
use roomcast_benches::redis::Redis;
use roomcast_benches::verdict::Verdict;
use roomcast_benches::workloads::Failure;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use talk::{Talk, Witness};

/// How long the server goes on after SIGTERM, for HAProxy to notice: two failed checks of 2 s each, and a second.
const GRACE: u64 = 5;

/// The longest that the server may take to close after grace and window.
const CLOSE: f64 = 8.5;

/// The aim: the second in which most clients reconnect has at most so many times the average.
const PEAK: f64 = 1.3;

/// Clients that connect at the same time at the beginning.
const AT_ONCE: usize = 200;

/// Clients of the server that drains which broadcast words.
const SPEAKERS: usize = 20;

fn main() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args().skip(1);
    let clients: usize = arguments.next().as_deref().unwrap_or("5000").parse()?;
    let window: u64 = arguments.next().as_deref().unwrap_or("10").parse()?;
    let redis = match arguments.next().as_deref() {
        None => None,
        Some("redis") => Some(Redis::start(&[])?),
        Some(other) => return Err(format!("{other} is unknown; write redis, or nothing").into()),
    };
    allow_descriptors(clients + 100)?;
    let servers = [server(window, redis.as_ref())?, server(window, redis.as_ref())?];
    let third = redis.as_ref().map(|redis| server(window, Some(redis))).transpose()?;
    let proxy = Proxy::start([servers[0].port, servers[1].port])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(run(clients, window, servers, third, &proxy))
}

async fn run(
    clients: usize,
    window: u64,
    servers: [Server; 2],
    third: Option<Server>,
    proxy: &Proxy,
) -> Result<ExitCode, Failure> {
    let talk = third.is_some().then(Arc::<Talk>::default);
    let seen = Arc::new(Seen::new(talk.clone()));
    let (reconnected, reconnects) = channel();
    let connecting = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    for _ in 0..clients {
        let (seen, reconnected, connecting) = (seen.clone(), reconnected.clone(), connecting.clone());
        tokio::spawn(client(proxy.address, seen, reconnected, connecting));
    }
    wait("all clients are connected", || seen.connected.load(Ordering::Relaxed) == clients).await?;
    let [mut first, second] = servers;
    let mut witnesses = Vec::new();
    if let (Some(talk), Some(third)) = (&talk, &third) {
        for server in [&second, third] {
            let (witness, (joined, has_joined)) = (Arc::<Witness>::default(), tokio::sync::oneshot::channel());
            tokio::spawn(witness.clone().listen(server.address(), joined));
            has_joined.await?;
            witnesses.push(witness);
        }
        tokio::spawn(talk.clone().count(third.address()));
        for speaker in 0..SPEAKERS {
            tokio::spawn(talk.clone().speak(first.address(), speaker));
        }
        // They speak before the drain begins, and through all of it.
        wait("everybody has spoken", || talk.have_spoken(SPEAKERS)).await?;
    }
    let begun = Instant::now();
    Command::new("sh").args(["-c", &format!("kill -TERM {}", first.process.pid())]).status()?;
    wait("the server exits", || first.process.has_ended()).await?;
    let took = begun.elapsed().as_secs_f64();
    wait("all clients are connected again", || seen.connected.load(Ordering::Relaxed) == clients).await?;
    if let Some(talk) = &talk {
        talk.finish();
        // What is lost never comes: then the verdict says so.
        let _ = wait("all words are heard", || talk.all_heard(&witnesses)).await;
    }

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
    // On Redis a client is back when its join is answered, which asks the other servers: later than it reconnects.
    verdict.check(talk.is_some() || peak <= PEAK, "the peak is more than 1.3 times the average");
    verdict.check(took <= (GRACE + window) as f64 + CLOSE, "the server exits too late");
    if let Some(talk) = &talk {
        talk.judge(&witnesses, &mut verdict);
    }
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

struct Server {
    process: Process,
    port: u16,
}

impl Server {
    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

fn server(window: u64, redis: Option<&Redis>) -> Result<Server, Failure> {
    let mut environment = vec![
        ("PORT", "0".to_owned()),
        ("ROOMCAST_DRAIN_GRACE", GRACE.to_string()),
        ("ROOMCAST_DRAIN_WINDOW", window.to_string()),
    ];
    if let Some(redis) = redis {
        environment.extend([("NODE_ENV", "production".to_owned()), ("REDIS_URL", redis.url.clone())]);
    }
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
