//! Broadcasts through the whole drain: who speaks, what each client has heard, and what is lost.
//!
//! A client of a server that stays broadcasts numbers. A client that is connected must hear them without a gap, and at the end of its
//! connection it must have heard what was broadcast before. Clients of the server that drains broadcast words of their own until they are
//! closed, and the other servers must hear each word that was acknowledged.

use crate::client::{Stream, ask, connect};
use roomcast_benches::verdict::Verdict;
use roomcast_benches::wire::client_frame;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

/// The room of the numbers. All clients are in it.
pub(crate) const NUMBERS: &str = "numbers";

/// The room of the words.
const WORDS: &str = "words";

/// The pause between two numbers: each goes to every client.
const PACE: Duration = Duration::from_millis(100);

/// The pause of one client between two words.
const PAUSE: Duration = Duration::from_millis(20);

/// What was said and heard.
#[derive(Default)]
pub(crate) struct Talk {
    over: AtomicBool,
    /// When each number was acknowledged, beginning with 1.
    numbers: Mutex<Vec<Instant>>,
    heard: AtomicU64,
    gaps: AtomicUsize,
    ended: AtomicUsize,
    /// In microseconds: the longest that a number took from its acknowledgement until a client heard it.
    slowest: AtomicU64,
    /// In microseconds: the oldest number that had not arrived when its client's connection ended. It was on its way if others took as
    /// long, and lost if none did.
    oldest: AtomicU64,
    /// The last word of each speaker that was acknowledged.
    words: Mutex<HashMap<usize, u64>>,
}

/// The numbers that one connection has heard.
#[derive(Default)]
pub(crate) struct Heard {
    last: u64,
}

impl Talk {
    /// A frame has arrived: `42["n",17]`.
    pub(crate) fn hear(&self, heard: &mut Heard, frame: &[u8]) {
        let Some(number) = number(frame, b"42[\"n\",") else { return };
        self.heard.fetch_add(1, Ordering::Relaxed);
        if heard.last != 0 && number != heard.last + 1 {
            self.gaps.fetch_add(1, Ordering::Relaxed);
        }
        heard.last = number;
        self.note(&self.slowest, number.saturating_sub(1));
    }

    /// Keeps the time since a number was acknowledged, if it is longer than those before. `at`: its place among the numbers.
    fn note(&self, longest: &AtomicU64, at: u64) {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(said) = usize::try_from(at).ok().and_then(|at| numbers.get(at)) else { return };
        longest.fetch_max(u64::try_from(said.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A connection has ended: what was broadcast before must have arrived, unless it was on its way.
    pub(crate) fn end(&self, heard: &Heard) {
        if heard.last > 0 {
            self.ended.fetch_add(1, Ordering::Relaxed);
            // The one after the last that was heard.
            self.note(&self.oldest, heard.last);
        }
    }

    /// Broadcasts numbers from a server that stays, until the talk is over.
    pub(crate) async fn count(self: Arc<Self>, server: SocketAddr) -> std::io::Result<()> {
        let mut stream = connect(server).await?;
        let mut number = 0_u64;
        while !self.over.load(Ordering::Relaxed) {
            number += 1;
            ask(&mut stream, &format!("[\"publish\",\"{NUMBERS}\",\"n\",{number}]"), |_| {}).await?;
            self.numbers.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            tokio::time::sleep(PACE).await;
        }
        Ok(())
    }

    /// Broadcasts words from the server that drains, until the connection ends.
    pub(crate) async fn speak(self: Arc<Self>, server: SocketAddr, speaker: usize) -> std::io::Result<()> {
        let mut stream = connect(server).await?;
        for word in 1.. {
            let said = format!("[\"publish\",\"{WORDS}\",\"w\",{}]", speaker as u64 * 1_000_000 + word);
            if ask(&mut stream, &said, |_| {}).await.is_err() {
                break;
            }
            self.words.lock().unwrap_or_else(PoisonError::into_inner).insert(speaker, word);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Whether so many clients of the server that drains have spoken, and numbers are broadcast.
    pub(crate) fn have_spoken(&self, speakers: usize) -> bool {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner).len();
        words == speakers && !self.numbers.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(crate) fn finish(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Says what was heard, and checks that nothing is lost. `witnesses`: what clients of the other servers have heard of the words.
    pub(crate) fn judge(&self, witnesses: &[Arc<Witness>], verdict: &mut Verdict) {
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let said = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).len();
        println!(
            "{said} numbers were broadcast, and {} arrived, at most {:.1} ms after their acknowledgement; gaps: {}; {} connections ended, when \
             the oldest number that had not arrived was {:.1} ms old",
            self.heard.load(Ordering::Relaxed),
            self.slowest.load(Ordering::Relaxed) as f64 / 1_000.0,
            load(&self.gaps),
            load(&self.ended),
            self.oldest.load(Ordering::Relaxed) as f64 / 1_000.0
        );
        verdict.check(load(&self.gaps) == 0, "a connected client missed a number");
        // On a quiet machine a number takes a millisecond, and the end of a connection may take as long: more than the last one
        // counts as a loss.
        let longest = Duration::from_micros(self.slowest.load(Ordering::Relaxed)).max(PACE);
        let on_its_way = Duration::from_micros(self.oldest.load(Ordering::Relaxed)) <= longest;
        verdict.check(on_its_way, "a client missed a number that it should have heard before its end");
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let all: u64 = words.values().sum();
        println!("{} clients of the server that drained were acknowledged {all} words", words.len());
        for witness in witnesses {
            let missed: u64 = words.iter().map(|(speaker, last)| witness.misses(*speaker, *last)).sum();
            println!("a client of another server missed {missed} of them");
            verdict.check(missed == 0, "a word of the server that drained did not reach another server");
        }
    }

    /// Whether all acknowledged words have arrived.
    pub(crate) fn all_heard(&self, witnesses: &[Arc<Witness>]) -> bool {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        witnesses.iter().all(|witness| words.iter().all(|(speaker, last)| witness.misses(*speaker, *last) == 0))
    }
}

/// A client of a server that stays, which hears the words.
#[derive(Default)]
pub(crate) struct Witness {
    /// Of each speaker: the last word, and how many came.
    heard: Mutex<HashMap<usize, (u64, u64)>>,
}

impl Witness {
    /// Listens until the connection ends.
    pub(crate) async fn listen(
        self: Arc<Self>,
        server: SocketAddr,
        joined: tokio::sync::oneshot::Sender<()>,
    ) -> std::io::Result<()> {
        let mut stream = connect(server).await?;
        ask(&mut stream, &format!("[\"join\",\"{WORDS}\"]"), |_| {}).await?;
        let _ = joined.send(());
        loop {
            let frame = stream.frame().await?;
            answer_ping(&mut stream, &frame).await?;
            if let Some(word) = number(&frame, b"42[\"w\",") {
                let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                let (last, count) = heard.entry(usize::try_from(word / 1_000_000).unwrap_or_default()).or_default();
                (*last, *count) = ((*last).max(word % 1_000_000), *count + 1);
            }
        }
    }

    /// How many of a speaker's words up to `last` did not come.
    fn misses(&self, speaker: usize, last: u64) -> u64 {
        let (heard, count) =
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&speaker).copied().unwrap_or_default();
        // The last word may have come without its acknowledgement.
        last.max(heard).saturating_sub(count)
    }
}

/// Answers the server's ping, if it is one.
pub(crate) async fn answer_ping(stream: &mut Stream, frame: &[u8]) -> std::io::Result<()> {
    if frame == b"2" { stream.stream.write_all(&client_frame("3")).await } else { Ok(()) }
}

/// The number in `PREFIX17]`.
fn number(frame: &[u8], prefix: &[u8]) -> Option<u64> {
    std::str::from_utf8(frame.strip_prefix(prefix)?.strip_suffix(b"]")?).ok()?.parse().ok()
}
