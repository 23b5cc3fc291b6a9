//! Processor time of a server per delivery of a fan-out: `fanout [--rounds N] [--subscribers N] [--publishes N]
//! [--in-flight N] PROGRAM…`.
//!
//! Subscribers of one room get what a publisher sends, 128 bytes at a time; each checks each message to the byte, once and in
//! order. A program named `floor` is this crate's (`floor.rs`), one that ends in `.mjs` runs under Node, one named `roomcast`
//! is spoken to by its event `publish`, all others by the conformance server's `pub`. The server is on core 0, this program
//! on core 1; the programs take turns in each round.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use roomcast_benches::process::{Server, load, pin_this_process};
use roomcast_benches::wire::{Client, client_frame, take_frame};
use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of a message's text.
const PAYLOAD: usize = 128;

/// Publishes that are not counted.
const WARM_UP: usize = 100;

/// Nothing came for so long: the measurement has failed.
const SILENCE: Duration = Duration::from_secs(20);

struct Options {
    rounds: usize,
    subscribers: usize,
    publishes: usize,
    in_flight: usize,
    programs: Vec<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut options = Self { rounds: 5, subscribers: 1_000, publishes: 400, in_flight: 1, programs: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number =
                || -> Result<usize, Box<dyn Error>> { Ok(words.next().ok_or("a number is missing")?.parse()?) };
            match &*word {
                "--rounds" => options.rounds = number()?,
                "--subscribers" => options.subscribers = number()?,
                "--publishes" => options.publishes = number()?,
                "--in-flight" => options.in_flight = number()?,
                program => options.programs.push(program.into()),
            }
        }
        if options.programs.is_empty() {
            return Err("which programs? for example: fanout floor target/release/roomcast".into());
        }
        Ok(options)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    let needed = options.subscribers as u64 + 64;
    if rlimit::increase_nofile_limit(needed)? < needed {
        return Err(format!("{needed} descriptors are needed here, and as many in the server: raise ulimit -n").into());
    }
    pin_this_process(1)?;
    let Options { subscribers, publishes, in_flight, .. } = options;
    println!("{subscribers} subscribers, {publishes} publishes of {PAYLOAD} bytes, {in_flight} in flight");
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); options.programs.len()];
    for round in 1..=options.rounds {
        for (program, figures) in options.programs.iter().zip(&mut figures) {
            let figure = measure(program, &options)?;
            println!("round {round}: {figure:6.2} µs  {}  (load {})", program.display(), load());
            figures.push(figure);
        }
    }
    let first = median(&mut figures[0]);
    for (program, figures) in options.programs.iter().zip(&mut figures) {
        let middle = median(figures);
        println!(
            "{:4.2}x of {}: {middle:.2} µs per delivery ({:.2} to {:.2}), {}",
            middle / first,
            options.programs[0].display(),
            figures[0],
            figures[figures.len() - 1],
            program.display(),
        );
    }
    Ok(())
}

/// Sorts, and tells the middle.
fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Microseconds of the server's processor time per delivery.
fn measure(program: &Path, options: &Options) -> Result<f64, Box<dyn Error>> {
    let server = Server::start(program, Some(0))?;
    let named = program.file_name().is_some_and(|name| name == "roomcast");
    let publish = if named { r#"42["publish","room","msg","# } else { r#"42["pub","room","# };
    let mut crowd = Crowd::new(&server, options.subscribers)?;
    let mut publisher = Client::connect(server.address)?;
    let payload = "x".repeat(PAYLOAD);
    let message = |number: usize| format!(r#"42["msg",{number},"{payload}"]"#);
    let mut run = |numbers: std::ops::Range<usize>| -> Result<(), Box<dyn Error>> {
        let mut next = numbers.start;
        let window = options.in_flight * options.subscribers;
        while crowd.got < numbers.end * options.subscribers {
            // One in flight: the next goes out when everybody has the last.
            while next < numbers.end && (next + 1) * options.subscribers <= crowd.got + window {
                publisher.stream.write_all(&client_frame(&format!(r#"{publish}{next},"{payload}"]"#)))?;
                next += 1;
            }
            crowd.read(&message)?;
        }
        Ok(())
    };
    run(0..WARM_UP)?;
    let before = server.cpu_nanoseconds()?;
    run(WARM_UP..WARM_UP + options.publishes)?;
    let spent = server.cpu_nanoseconds()? - before;
    Ok(spent as f64 / 1_000.0 / (options.publishes * options.subscribers) as f64)
}

/// The subscribers.
struct Crowd {
    poll: Poll,
    events: Events,
    subscribers: Vec<Subscriber>,
    /// Messages that all of them have got together.
    got: usize,
}

struct Subscriber {
    stream: TcpStream,
    received: Vec<u8>,
    next: usize,
}

impl Crowd {
    fn new(server: &Server, subscribers: usize) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let mut list = Vec::with_capacity(subscribers);
        for number in 0..subscribers {
            let mut client = Client::connect(server.address)?;
            client.send(r#"421["join","room"]"#)?;
            client.expect("431[")?;
            client.stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(client.stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            list.push(Subscriber { stream, received: client.received, next: 0 });
        }
        Ok(Self { poll, events: Events::with_capacity(1024), subscribers: list, got: 0 })
    }

    /// Waits for messages and checks them.
    fn read(&mut self, message: &impl Fn(usize) -> String) -> Result<(), Box<dyn Error>> {
        let begun = Instant::now();
        self.poll.poll(&mut self.events, Some(SILENCE))?;
        if self.events.is_empty() && begun.elapsed() >= SILENCE {
            return Err(format!("nothing came for {SILENCE:?}; {} messages until then", self.got).into());
        }
        let mut buffer = [0; 64 * 1024];
        // Most subscribers wait for the same message.
        let mut expected = (usize::MAX, String::new());
        for event in &self.events {
            let subscriber = &mut self.subscribers[event.token().0];
            loop {
                let count = match subscriber.stream.read(&mut buffer) {
                    Ok(0) => return Err("the server has closed a connection".into()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                subscriber.received.extend_from_slice(&buffer[..count]);
                if count < buffer.len() {
                    break;
                }
            }
            while let Some(packet) = take_frame(&mut subscriber.received) {
                if packet == b"2" {
                    subscriber.stream.write_all(&client_frame("3"))?;
                    continue;
                }
                if expected.0 != subscriber.next {
                    expected = (subscriber.next, message(subscriber.next));
                }
                if packet != expected.1.as_bytes() {
                    let got = String::from_utf8_lossy(&packet).into_owned();
                    return Err(format!("a subscriber got {got} for message {}", subscriber.next).into());
                }
                subscriber.next += 1;
                self.got += 1;
            }
        }
        Ok(())
    }
}
