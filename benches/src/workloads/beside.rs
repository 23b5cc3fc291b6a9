//! [`beside`]: how a handler that blocks its thread affects other clients.

use super::crowd::Crowd;
use super::message::{Failure, SILENCE};
use crate::server::Server;
use std::time::{Duration, Instant};

/// Rounds before those that are counted.
const WARM_UP: usize = 2;

/// Time from the request that makes a handler block to the first message that is timed.
const BEGUN: Duration = Duration::from_millis(10);

/// Size of the workload.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
    /// The number of other clients.
    pub others: usize,
    /// What the other clients do.
    pub they: They,
    /// How long the handler blocks each time.
    pub blocks: Duration,
    /// How often the handler blocks.
    pub rounds: usize,
}

/// What the other clients do while the handler blocks.
#[derive(Debug, Clone, Copy)]
pub enum They {
    /// Each sends a request once per period. The time from the request to the answer is measured.
    Ask(Duration),
    /// They are in a room, to which one client publishes once per period. The time from the publish to each message is measured.
    Listen(Duration),
}

/// Statistics of waits.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// The median.
    pub median: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The longest wait.
    pub longest: Duration,
}

struct State {
    /// When each request or publish was sent, by its number.
    sent: Vec<Instant>,
    /// The next number of each member of the room.
    next: Vec<usize>,
    waits: Vec<Duration>,
    /// Answers or messages that have arrived in this round.
    got: usize,
    /// Clients that have received this round's event `busy`.
    heard: usize,
    /// Whether the blocking handler has answered in this round.
    answered: bool,
}

/// Runs on a server with two workers. In every round a handler emits to all clients and then blocks; with `calm` it emits and does not
/// block, and everything else is the same. Messages that are sent in that time are timed. All clients must receive everything once and in
/// order.
///
/// # Errors
/// The server fails, or a client receives something else.
pub fn beside(server: &Server, size: Beside, calm: bool) -> Result<Waits, Failure> {
    let Beside { others, they, .. } = size;
    let (blocker, publisher) = (others, others + 1);
    let mut crowd = Crowd::new(
        others + 2,
        |_| server.address,
        |number, client| {
            if matches!(they, They::Ask(_)) || number >= others {
                return Ok(());
            }
            client.send(r#"421["join","room"]"#)?;
            client.expect("431[")
        },
    )?;
    // The period between sends, and how many sends and answers a round has.
    let (every, sends, answers) = match they {
        They::Ask(every) => {
            let sends = others * (size.blocks.as_nanos() / every.as_nanos()) as usize;
            (size.blocks.div_f64(sends as f64), sends, sends)
        }
        They::Listen(every) => {
            let sends = (size.blocks.saturating_sub(BEGUN).as_nanos()).div_ceil(every.as_nanos()) as usize;
            (every, sends, sends * others)
        }
    };
    let busy = if calm { 0 } else { size.blocks.as_millis() };
    let mut state =
        State { sent: Vec::new(), next: vec![0; others], waits: Vec::new(), got: 0, heard: 0, answered: false };
    for round in 0..WARM_UP + size.rounds {
        if round == WARM_UP {
            state.waits.clear();
        }
        (state.got, state.heard, state.answered) = (0, 0, false);
        let (begun, first) = (Instant::now(), state.sent.len());
        crowd.members[blocker].send(&format!(r#"42{round}["busy",{busy}]"#))?;
        let due = |number: usize| begun + BEGUN + every * (number - first) as u32;
        while state.got < answers || state.heard < others + 2 || !state.answered {
            while state.sent.len() < first + sends && due(state.sent.len()) <= Instant::now() {
                let number = state.sent.len();
                state.sent.push(Instant::now());
                match they {
                    They::Ask(_) => {
                        crowd.members[number % others].send(&format!(r#"42{number}["echo",{number}]"#))?;
                    }
                    They::Listen(_) => {
                        crowd.members[publisher].send(&format!(r#"42["pub","room",{number},"text"]"#))?;
                    }
                }
            }
            let patience = match state.sent.len() {
                all if all == first + sends => SILENCE,
                number => due(number).saturating_duration_since(Instant::now()),
            };
            crowd.read(patience, |number, _, packet| state.take(number, blocker, packet))?;
        }
    }
    Waits::of(state.waits).ok_or_else(|| "nothing was timed".into())
}

impl State {
    fn take(&mut self, from: usize, blocker: usize, packet: &[u8]) -> Result<(), Failure> {
        let text = std::str::from_utf8(packet)?;
        if text.starts_with(r#"42["auth""#) {
            // The greeting of the conformance server and its counterpart on Node.
        } else if text == r#"42["busy"]"# {
            self.heard += 1;
        } else if let Some(rest) = text.strip_prefix(r#"42["msg","#) {
            let number: usize = rest.trim_end_matches(r#","text"]"#).parse()?;
            let next = &mut self.next[from];
            if number != *next {
                return Err(format!("a member got message {number} for {next}").into());
            }
            *next += 1;
            self.arrived(number)?;
        } else if from == blocker && text.starts_with("43") {
            self.answered = true;
        } else if let Some((number, _)) = text.strip_prefix("43").and_then(|rest| rest.split_once('[')) {
            self.arrived(number.parse()?)?;
        } else {
            return Err(format!("a client got {text}").into());
        }
        Ok(())
    }

    fn arrived(&mut self, number: usize) -> Result<(), Failure> {
        let sent = self.sent.get(number).ok_or("an answer without a request")?;
        self.waits.push(sent.elapsed());
        self.got += 1;
        Ok(())
    }
}

impl Waits {
    /// `None` if there are no waits.
    pub fn of(mut waits: Vec<Duration>) -> Option<Self> {
        waits.sort_unstable();
        let rank = |per_mille: usize| waits.get((waits.len() * per_mille).div_ceil(1_000).saturating_sub(1)).copied();
        Some(Self { median: rank(500)?, p99: rank(990)?, longest: rank(1_000)? })
    }
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, p99, longest] = [self.median, self.p99, self.longest].map(|wait| wait.as_secs_f64() * 1e3);
        write!(f, "median {median:.2} ms, p99 {p99:.2} ms, longest {longest:.1} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_p99_and_longest() {
        let waits = (1..=1_000).rev().map(Duration::from_millis).collect();
        let Waits { median, p99, longest } = Waits::of(waits).unwrap();
        assert_eq!([median, p99, longest].map(|wait| wait.as_millis()), [500, 990, 1_000]);
        assert_eq!(Waits::of(vec![Duration::from_millis(7)]).unwrap().p99.as_millis(), 7);
        assert!(Waits::of(Vec::new()).is_none());
    }
}
