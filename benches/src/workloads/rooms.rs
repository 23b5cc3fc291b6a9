//! [`rooms`]: publishers send to rooms, and every member checks what it receives. With one room it is a plain fan-out.

use super::crowd::Crowd;
use super::message::{Failure, SILENCE, text};
use crate::group::Group;
use crate::wire::{Client, STEP_TIMEOUT};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Publishes to all rooms together before those that are counted.
const WARM_UP: usize = 100;

/// Limit for publishes in flight at a fixed pace. A server that exceeds it cannot keep up and is not measured.
const MOST_BEHIND: usize = 1_000;

/// Time between two checks whether the servers receive one another's messages.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Size of the workload.
#[derive(Debug, Clone, Copy)]
pub struct Rooms {
    /// Number of subscribers, spread evenly over the rooms.
    pub subscribers: usize,
    /// Number of rooms.
    pub rooms: usize,
    /// Number of publishers, each with rooms of its own.
    pub publishers: usize,
    /// Publishes of all publishers together that are in flight. One counts as arrived when the room's members together have received as
    /// many messages as if each of them had received it.
    pub in_flight: usize,
    /// Publishes per second, for a fixed pace. The clock has steps of a millisecond, so at 2,000 two leave together.
    pub paced: Option<u32>,
    /// Number of publishes that are counted.
    pub publishes: usize,
    /// The server is the program `roomcast`, which publishes with other words than the conformance server.
    pub program: bool,
}

struct Room {
    /// The packet of a publish up to its number.
    publish: String,
    members: usize,
    sent: usize,
    /// Messages that all members together have received.
    got: usize,
}

struct State {
    rooms: Vec<Room>,
    /// The number of the next message for each subscriber.
    next: Vec<usize>,
    /// Publishes in flight, by publisher.
    in_flight: Vec<usize>,
}

/// Processor time of the servers per delivery, in nanoseconds. Every subscriber must receive each message of its room once, in order and
/// byte for byte; otherwise the measurement fails.
///
/// # Errors
/// A server fails, cannot keep up with the pace, or delivers something else.
pub fn rooms(group: &Group, size: Rooms) -> Result<f64, Failure> {
    let room_of = |number: usize| number % size.rooms;
    if group.is_several() {
        wait_until_heard(group)?;
    }
    // The publishers come last. They are members of the crowd, so that their heartbeats are answered too.
    let all = size.subscribers + size.publishers;
    let server_of = |number: usize| if number < size.subscribers { group.subscribers() } else { group.publishers() };
    let mut crowd = Crowd::new(all, server_of, |number, client| {
        if number >= size.subscribers {
            return Ok(());
        }
        client.send(&format!(r#"421["join","room{}"]"#, room_of(number)))?;
        client.expect("431[")
    })?;
    let text = text();
    let room = |number: usize| Room {
        publish: match size.program {
            true => format!(r#"42["publish","room{number}","msg","#),
            false => format!(r#"42["pub","room{number}","#),
        },
        members: (number..size.subscribers).step_by(size.rooms).count(),
        sent: 0,
        got: 0,
    };
    let mut state = State {
        rooms: (0..size.rooms).map(room).collect(),
        next: vec![0; size.subscribers],
        in_flight: vec![0; size.publishers],
    };
    let window = size.in_flight.div_ceil(size.publishers);
    let mut sent = 0;
    let mut expected = (usize::MAX, String::new());
    let mut run = |until: usize| -> Result<u64, Failure> {
        let (begun, first) = (Instant::now(), sent);
        let mut deliveries = 0;
        loop {
            let all = state.in_flight.iter().sum::<usize>();
            if sent == until && all == 0 {
                return Ok(deliveries);
            }
            let due = size.paced.map(|pace| first + (begun.elapsed().as_secs_f64() * f64::from(pace)) as usize);
            if due.is_some() && all > MOST_BEHIND {
                return Err("the server does not keep up with the pace".into());
            }
            // Each publisher in turn, as long as one may send.
            let mut idle = 0;
            while sent < until && idle < size.publishers {
                let by = room_of(sent) % size.publishers;
                let may = due.map_or_else(|| state.in_flight[by] < window, |due| sent < due);
                if !may {
                    if due.is_some() || size.publishers == 1 {
                        break;
                    }
                    // The publishers stay in step, so that the rooms of all of them are equally busy.
                    idle = size.publishers;
                    continue;
                }
                let room = &mut state.rooms[room_of(sent)];
                let packet = format!(r#"{}{},"{text}"]"#, room.publish, room.sent);
                crowd.members[size.subscribers + by].send(&packet)?;
                room.sent += 1;
                state.in_flight[by] += 1;
                sent += 1;
                idle = 0;
            }
            let patience = match size.paced {
                Some(pace) if sent < until => Duration::from_secs(1) / pace,
                _ => SILENCE,
            };
            crowd.read(patience, |number, _, packet| {
                if number >= size.subscribers {
                    // A publisher receives only the greeting of the conformance server.
                    return Ok(());
                }
                let next = &mut state.next[number];
                if expected.0 != *next {
                    expected = (*next, format!(r#"42["msg",{next},"{text}"]"#));
                }
                if packet != expected.1.as_bytes() {
                    let got = String::from_utf8_lossy(packet).into_owned();
                    return Err(format!("a subscriber got {got} for message {next}").into());
                }
                *next += 1;
                deliveries += 1;
                let at = room_of(number);
                let room = &mut state.rooms[at];
                room.got += 1;
                if room.got.is_multiple_of(room.members) {
                    state.in_flight[at % size.publishers] -= 1;
                }
                Ok(())
            })?;
        }
    };
    run(WARM_UP)?;
    let before = group.cpu_nanoseconds()?;
    let deliveries = run(WARM_UP + size.publishes)?;
    let spent = group.cpu_nanoseconds()? - before;
    Ok(spent as f64 / deliveries as f64)
}

/// Publishes until the subscribers' server receives it: servers do not receive one another's messages over Redis right from the start.
fn wait_until_heard(group: &Group) -> Result<(), Failure> {
    let (mut publisher, mut subscriber) = (Client::connect(group.publishers())?, Client::connect(group.subscribers())?);
    subscriber.send(r#"421["join","heard"]"#)?;
    subscriber.expect("431[")?;
    subscriber.stream.set_read_timeout(Some(ASK_EVERY))?;
    let begun = Instant::now();
    while begun.elapsed() < STEP_TIMEOUT {
        publisher.send(r#"42["pub","heard",0,""]"#)?;
        match subscriber.expect(r#"42["msg",0"#) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            end => return Ok(end?),
        }
    }
    Err("the servers do not receive one another's messages".into())
}
