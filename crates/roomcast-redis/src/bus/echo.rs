//! [`Echo`]: whether the connection that hears does hear, told by messages of our own.
//!
//! Redis answers a command behind the messages that it has sent before. So an own message whose publication was confirmed before
//! a PING was sent has come when the PONG is there, however far behind the connection is. One that has not come then never will:
//! the connection is deaf, or it and the one that publishes are on two servers that do not know one another. This machine decides;
//! the connections of each dialect ask and act.

/// What is known of own messages on a channel that is subscribed here. They are numbered; later ones have higher numbers.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    /// Counts the times that the channel was confirmed.
    times: u64,
    /// It is confirmed now.
    hears: bool,
    /// The last message that Redis took since then, and was given since then.
    taken: Option<u64>,
    /// The last that came.
    heard: Option<u64>,
}

/// A moment. It means nothing any more when the channel has been confirmed anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    times: u64,
    taken: Option<u64>,
}

impl Echo {
    /// From now on the channel is heard.
    pub(crate) fn connected(&mut self) {
        *self = Self { times: self.times + 1, hears: true, taken: None, heard: None };
    }

    /// It is not heard for now.
    pub(crate) fn lost(&mut self) {
        self.hears = false;
    }

    /// A message is about to be published, or a PING to be sent.
    pub(crate) fn before(&self) -> Option<Before> {
        self.hears.then_some(Before { times: self.times, taken: self.taken })
    }

    /// Redis has taken a message. What it was given before the channel was confirmed need not come.
    pub(crate) fn taken(&mut self, number: u64, before: Before) {
        if self.hears && before.times == self.times {
            self.taken = self.taken.max(Some(number));
        }
    }

    /// It has come.
    pub(crate) fn heard(&mut self, number: u64) {
        self.heard = self.heard.max(Some(number));
    }

    /// A PING was answered, and all messages that came before its answer were handed on: whether the connection is deaf.
    pub(crate) fn is_deaf(&self, before_ping: Before) -> bool {
        self.hears && before_ping.times == self.times && before_ping.taken > self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn who_is_behind_is_not_deaf() {
        let mut echo = Echo::default();
        assert!(echo.before().is_none(), "nothing is expected before the channel is confirmed");
        echo.connected();
        let before = echo.before().unwrap();
        echo.taken(7, before);
        // The PING was sent earlier than Redis took the message.
        assert!(!echo.is_deaf(before));
        let ping = echo.before().unwrap();
        echo.heard(7);
        assert!(!echo.is_deaf(ping));
        echo.taken(8, ping);
        assert!(!echo.is_deaf(ping));
        assert!(echo.is_deaf(echo.before().unwrap()));
    }

    #[test]
    fn what_was_published_before_the_connection_heard_is_not_expected() {
        let mut echo = Echo::default();
        echo.connected();
        let before = echo.before().unwrap();
        echo.lost();
        echo.taken(1, before);
        echo.connected();
        echo.taken(2, before);
        assert!(!echo.is_deaf(echo.before().unwrap()));
    }

    /// What Redis has sent to the connection and is still on its way.
    enum Sent {
        Message(u64),
        Pong(Before),
    }

    /// Beside a Redis with any backlog: it is deaf if and only if it is one, and then with the next PING.
    #[test]
    fn random_histories() {
        let (mut found, mut behind) = (0, 0);
        for seed in 1..=2_000u64 {
            let mut random = seed;
            let mut below = |bound: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % bound
            };
            let mut echo = Echo::default();
            let (mut subscribed, mut deaf, mut next) = (false, false, 0);
            let mut way: VecDeque<Sent> = VecDeque::new();
            // Taken by Redis, and not confirmed to us yet; whether it passed them on.
            let mut publishing: VecDeque<(u64, Option<Before>, bool)> = VecDeque::new();
            // The first one that must have come, as the connection has been deaf since: what a PING after it finds.
            let mut missing: Option<u64> = None;
            for _ in 0..200 {
                match below(12) {
                    0..=2 => {
                        next += 1;
                        let comes = subscribed && !deaf;
                        publishing.push_back((next, echo.before(), comes));
                        if comes {
                            way.push_back(Sent::Message(next));
                        }
                    }
                    3..=5 => {
                        if let Some((number, Some(before), came)) = publishing.pop_front() {
                            echo.taken(number, before);
                            if !came && echo.taken == Some(number) {
                                missing = missing.or(Some(number));
                            }
                        }
                    }
                    6 => way.extend(echo.before().map(Sent::Pong)),
                    7..=9 => match way.pop_front() {
                        Some(Sent::Message(number)) => echo.heard(number),
                        Some(Sent::Pong(before)) => {
                            let is_deaf = echo.is_deaf(before);
                            let expected = missing.is_some_and(|missing| before.taken >= Some(missing));
                            assert_eq!(is_deaf, expected, "seed {seed}");
                            found += usize::from(is_deaf);
                            behind += usize::from(!is_deaf && before.taken < Some(next));
                        }
                        None => {}
                    },
                    10 if below(4) == 0 => {
                        // A new connection: what was on its way on the old one never comes.
                        echo.lost();
                        way.clear();
                        (subscribed, deaf, missing) = (true, false, None);
                        if below(2) == 0 {
                            // Redis subscribes before it confirms.
                            next += 1;
                            publishing.push_back((next, echo.before(), true));
                            way.push_back(Sent::Message(next));
                        }
                        echo.connected();
                    }
                    11 if below(4) == 0 && !way.iter().any(|sent| matches!(sent, Sent::Message(_))) => {
                        deaf = subscribed;
                    }
                    _ => {}
                }
            }
        }
        assert!(found > 500 && behind > 500, "{found} deaf, {behind} behind");
    }
}
