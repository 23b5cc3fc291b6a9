//! [`Echo`]: whether the subscriber connection is deaf, judged by our own messages coming back.
//!
//! On a subscriber connection Redis answers a command after the messages that it has sent before. So when a PONG
//! arrives, every own message whose publication was confirmed before the PING was sent has arrived too, however far
//! behind the connection is. One that is missing then never comes: the connection is deaf, or it and the publisher are
//! on two servers that do not know each other. This state machine decides; the connections of each dialect send the
//! PINGs and act.

use std::time::Duration;
use tokio::time::Instant;

/// What is known of our own messages on one subscribed channel. Later messages have higher numbers.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    /// How often the subscription has been confirmed.
    confirmations: u64,
    /// The subscription is confirmed now.
    is_confirmed: bool,
    /// The last message that was sent to Redis, and taken by it, since that confirmation.
    published: Option<u64>,
    /// The last message that came back.
    received: Option<u64>,
    /// A message that was given to the broker, and when. Its way to Redis and back is measured.
    measured: Option<(u64, Instant)>,
}

/// What had been published at a moment. It is void once the subscription has been confirmed anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    confirmations: u64,
    published: Option<u64>,
}

impl Echo {
    pub(crate) fn connected(&mut self) {
        *self = Self { confirmations: self.confirmations + 1, is_confirmed: true, ..Self::default() };
    }

    pub(crate) fn lost(&mut self) {
        self.is_confirmed = false;
    }

    /// To be taken before a message is published, and before a PING is sent. `None` while the subscription is not
    /// confirmed.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.is_confirmed.then_some(Mark { confirmations: self.confirmations, published: self.published })
    }

    /// Redis has taken a message that was sent after `before`. One that was sent before the subscription was confirmed
    /// need not come back.
    pub(crate) fn published(&mut self, number: u64, before: Mark) {
        if self.is_confirmed && before.confirmations == self.confirmations {
            self.published = self.published.max(Some(number));
        }
    }

    /// A message is about to be published. If the subscription is confirmed, its way is measured.
    pub(crate) fn sends(&mut self, number: u64, now: Instant) {
        if self.is_confirmed {
            self.measured = Some((number, now));
        }
    }

    /// A message has come back. Returns how long that took, if its way was measured.
    pub(crate) fn received(&mut self, number: u64, now: Instant) -> Option<Duration> {
        self.received = self.received.max(Some(number));
        let (_, sent) = self.measured.take_if(|(measured, _)| *measured == number)?;
        Some(now.duration_since(sent))
    }

    /// Whether the connection is deaf. To be asked when a PING is answered, and all that arrived before the answer was
    /// passed on.
    pub(crate) fn is_deaf(&self, before_ping: Mark) -> bool {
        self.is_confirmed && before_ping.confirmations == self.confirmations && before_ping.published > self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn a_connection_that_is_behind_is_not_deaf() {
        let mut echo = Echo::default();
        assert!(echo.mark().is_none(), "nothing is expected before the subscription is confirmed");
        echo.connected();
        let before = echo.mark().unwrap();
        echo.published(7, before);
        // The PING was sent before Redis took the message.
        assert!(!echo.is_deaf(before));
        let ping = echo.mark().unwrap();
        assert_eq!(echo.received(7, Instant::now()), None);
        assert!(!echo.is_deaf(ping));
        echo.published(8, ping);
        assert!(!echo.is_deaf(ping));
        assert!(echo.is_deaf(echo.mark().unwrap()));
    }

    #[test]
    fn what_was_published_before_the_confirmation_is_not_expected() {
        let mut echo = Echo::default();
        echo.connected();
        let before = echo.mark().unwrap();
        echo.lost();
        echo.published(1, before);
        echo.connected();
        echo.published(2, before);
        assert!(!echo.is_deaf(echo.mark().unwrap()));
    }

    #[test]
    fn the_way_of_the_last_message_is_measured() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut echo = Echo::default();
        echo.sends(1, begun);
        assert_eq!(echo.received(1, begun + second), None, "the subscription was not confirmed when it was sent");
        echo.connected();
        echo.sends(2, begun);
        echo.sends(3, begun + second);
        assert_eq!(echo.received(2, begun + 2 * second), None, "a later message was sent meanwhile");
        assert_eq!(echo.received(3, begun + 3 * second), Some(2 * second));
        assert_eq!(echo.received(3, begun + 4 * second), None, "it has come back already");
        echo.sends(4, begun);
        echo.connected();
        assert_eq!(echo.received(4, begun + second), None, "the connection is another one");
    }

    /// What Redis has sent to the connection and is still in flight.
    enum Sent {
        Message(u64),
        Pong(Mark),
    }

    /// Beside a Redis with any backlog: a connection is found deaf if and only if it is, and then by the next PING.
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
            let mut in_flight: VecDeque<Sent> = VecDeque::new();
            // Taken by Redis, but not yet confirmed to us; and whether Redis passed it on.
            let mut publishing: VecDeque<(u64, Option<Mark>, bool)> = VecDeque::new();
            // The first message that went missing because the connection is deaf: what the next PING must find.
            let mut missing: Option<u64> = None;
            for _ in 0..200 {
                match below(12) {
                    0..=2 => {
                        next += 1;
                        let comes = subscribed && !deaf;
                        publishing.push_back((next, echo.mark(), comes));
                        if comes {
                            in_flight.push_back(Sent::Message(next));
                        }
                    }
                    3..=5 => {
                        if let Some((number, Some(before), came)) = publishing.pop_front() {
                            echo.published(number, before);
                            if !came && echo.published == Some(number) {
                                missing = missing.or(Some(number));
                            }
                        }
                    }
                    6 => in_flight.extend(echo.mark().map(Sent::Pong)),
                    7..=9 => match in_flight.pop_front() {
                        Some(Sent::Message(number)) => drop(echo.received(number, Instant::now())),
                        Some(Sent::Pong(before)) => {
                            let is_deaf = echo.is_deaf(before);
                            let expected = missing.is_some_and(|missing| before.published >= Some(missing));
                            assert_eq!(is_deaf, expected, "seed {seed}");
                            found += usize::from(is_deaf);
                            behind += usize::from(!is_deaf && before.published < Some(next));
                        }
                        None => {}
                    },
                    10 if below(4) == 0 => {
                        // A new connection: what was in flight on the old one never comes.
                        echo.lost();
                        in_flight.clear();
                        (subscribed, deaf, missing) = (true, false, None);
                        if below(2) == 0 {
                            // Redis subscribes before it confirms.
                            next += 1;
                            publishing.push_back((next, echo.mark(), true));
                            in_flight.push_back(Sent::Message(next));
                        }
                        echo.connected();
                    }
                    11 if below(4) == 0 && !in_flight.iter().any(|sent| matches!(sent, Sent::Message(_))) => {
                        deaf = subscribed;
                    }
                    _ => {}
                }
            }
        }
        assert!(found > 500 && behind > 500, "{found} deaf, {behind} behind");
    }
}
