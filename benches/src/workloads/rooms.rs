//! [`rooms`]: publishers send to rooms, and every member checks what it gets. One room is a plain fan-out.

use super::crowd::Crowd;
use super::message::{Failure, SILENCE, text};
use crate::group::Group;
use crate::wire::{Client, STEP_TIMEOUT};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Publishes that are not counted, over all rooms.
const WARM_UP: usize = 100;

/// Most publishes under way when they are paced: a server that cannot keep up must not be measured.
const MOST_BEHIND: usize = 1_000;

/// Time between two questions whether servers hear one another.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Size of the workload.
#[derive(Debug, Clone, Copy)]
pub struct Rooms {
    /// Subscribers, spread over the rooms evenly.
    pub subscribers: usize,
    /// Rooms.
    pub rooms: usize,
    /// Publishers, each with its own rooms.
    pub publishers: usize,
    /// Publishes of all publishers together that are under way. One counts as arrived when the room's members have got as many
    /// messages together as if all had it.
    pub in_flight: usize,
    /// Publishes a second, if they go out by the clock; its steps are of a millisecond, so at 2,000 two leave together.
    pub paced: Option<u32>,
    /// Publishes that are counted.
    pub publishes: usize,
}

struct Room {
    /// Beginning of a publish, up to the number.
    publish: String,
    members: usize,
    sent: usize,
    /// Messages that the members have got together.
    got: usize,
}

struct State {
    rooms: Vec<Room>,
    /// The next number of each subscriber.
    next: Vec<usize>,
    /// Publishes under way, by publisher.
    under_way: Vec<usize>,
}

/// Nanoseconds of the servers' processor time for each delivery. Every subscriber gets each message of its room once, in order,
/// to the byte, or the measurement fails.
///
/// # Errors
/// A server does not do what it should.
pub fn rooms(group: &Group, size: Rooms) -> Result<f64, Failure> {
    let room_of = |number: usize| number % size.rooms;
    if group.is_several() {
        wait_until_heard(group)?;
    }
    // The publishers come last; their heartbeats are answered as the others' are.
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
        publish: format!(r#"42["pub","room{number}","#),
        members: (number..size.subscribers).step_by(size.rooms).count(),
        sent: 0,
        got: 0,
    };
    let mut state = State {
        rooms: (0..size.rooms).map(room).collect(),
        next: vec![0; size.subscribers],
        under_way: vec![0; size.publishers],
    };
    let window = size.in_flight.div_ceil(size.publishers);
    let mut sent = 0;
    let mut expected = (usize::MAX, String::new());
    let mut run = |until: usize| -> Result<u64, Failure> {
        let (begun, first) = (Instant::now(), sent);
        let mut deliveries = 0;
        loop {
            let all = state.under_way.iter().sum::<usize>();
            if sent == until && all == 0 {
                return Ok(deliveries);
            }
            let due = size.paced.map(|pace| first + (begun.elapsed().as_secs_f64() * f64::from(pace)) as usize);
            if due.is_some() && all > MOST_BEHIND {
                return Err("the server does not keep up with the pace".into());
            }
            // Each publisher in turn, for as long as one may send.
            let mut idle = 0;
            while sent < until && idle < size.publishers {
                let by = room_of(sent) % size.publishers;
                let may = due.map_or_else(|| state.under_way[by] < window, |due| sent < due);
                if !may {
                    if due.is_some() || size.publishers == 1 {
                        break;
                    }
                    // In step: the rooms of one publisher are as busy as those of another.
                    idle = size.publishers;
                    continue;
                }
                let room = &mut state.rooms[room_of(sent)];
                let packet = format!(r#"{}{},"{text}"]"#, room.publish, room.sent);
                crowd.members[size.subscribers + by].send(&packet)?;
                room.sent += 1;
                state.under_way[by] += 1;
                sent += 1;
                idle = 0;
            }
            let patience = match size.paced {
                Some(pace) if sent < until => Duration::from_secs(1) / pace,
                _ => SILENCE,
            };
            crowd.read(patience, |number, _, packet| {
                if number >= size.subscribers {
                    // A publisher: what the conformance server greets with.
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
                    state.under_way[at % size.publishers] -= 1;
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

/// Servers over Redis do not hear one another from the first moment on: asks until one does.
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
    Err("the servers do not hear one another".into())
}
