//! [`ConnectionRates`]: decides whether a client's packet is within the [`RateLimits`], and what becomes of it if not.

use crate::error::check_event;
use crate::limits::{RATE_GRACE, RATE_KEYS, RATE_LOG_INTERVAL, RATE_LOG_LINES, RATE_WARNING_INTERVAL};
use crate::rate_limits::{OverRate, RateLimits};
use parking_lot::Mutex;
use roomcast_engine::{Bucket, Handshake, Rate, RateTable, rate_key};
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The rates of all connections of a server.
#[derive(Debug)]
pub(crate) struct Rates {
    limits: RateLimits,
    users: Tables<u64>,
    addresses: Tables<IpAddr>,
    /// Makes the numbers of users out of their keys, so that a long key costs nothing. It is keyed and built to withstand chosen input:
    /// nobody can find a key with another user's number.
    hasher: RandomState,
    /// Log lines about all clients.
    lines: Mutex<Bucket>,
}

/// What one connection has used, and what its client was told.
#[derive(Debug)]
pub(crate) struct ConnectionRates {
    all: Arc<Rates>,
    /// What its rates of addresses are kept for, if there are any and the address is known.
    address: Option<IpAddr>,
    /// The task that reads from the client takes this for each packet, and other threads only to set the user.
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    events: Bucket,
    bytes: Bucket,
    user: Option<u64>,
    warned: Option<Instant>,
    logged: Option<Instant>,
    has_asked: bool,
}

/// What a packet takes of the limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) events: u32,
    pub(crate) bytes: u32,
}

/// A packet that exceeds a limit, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Excess {
    /// Whose limit: `connection`, `user` or `address`.
    pub(crate) limit: &'static str,
    /// Of what: `events` or `bytes`.
    pub(crate) what: &'static str,
    /// The time after which the packet would be within the limit.
    pub(crate) wait: Duration,
    /// A client that awaits an acknowledgement gets an error.
    pub(crate) answer: bool,
    /// The client is to be warned.
    pub(crate) warn: bool,
    /// The connection is to be closed.
    pub(crate) close: bool,
    /// A warning is to be logged.
    pub(crate) log: bool,
}

/// Too few tokens: of what, and for how long.
type TooFew = (&'static str, Duration);

const EVENTS: &str = "events";
const BYTES: &str = "bytes";

impl Rates {
    /// `None` if nothing is limited.
    pub(crate) fn new(mut limits: RateLimits) -> Option<Arc<Self>> {
        let users = Tables::new(limits.user_events, limits.user_bytes);
        let addresses = Tables::new(limits.address_events, limits.address_bytes);
        if limits.events.is_none() && limits.bytes.is_none() && users.is_none() && addresses.is_none() {
            return None;
        }
        if let Some(Err(error)) = limits.warning.as_deref().map(check_event) {
            tracing::error!(%error, "clients that exceed a rate are not warned: choose another name for the warning of `RateLimits`");
            limits.warning = None;
        }
        Some(Arc::new(Self { limits, users, addresses, hasher: RandomState::new(), lines: Mutex::default() }))
    }

    pub(crate) fn warning(&self) -> Option<&str> {
        self.limits.warning.as_deref()
    }

    /// Whether a line about a client may be logged now.
    fn may_log(&self, now: Instant) -> bool {
        let rate = Rate::new(RATE_LOG_LINES, Duration::from_secs(60));
        rate.is_some_and(|rate| self.lines.lock().take(1, &rate, now).is_ok())
    }
}

impl ConnectionRates {
    pub(crate) fn new(all: &Arc<Rates>, client: &Handshake) -> Box<Self> {
        Self::of(all, if all.addresses.is_none() { None } else { client.client_address() })
    }

    fn of(all: &Arc<Rates>, address: Option<IpAddr>) -> Box<Self> {
        Box::new(Self { all: all.clone(), address: address.map(rate_key), used: Mutex::default() })
    }

    pub(crate) fn all(&self) -> &Rates {
        &self.all
    }

    /// From now on the connection is that user's; with an empty key it is nobody's.
    pub(crate) fn set_user(&self, key: &str) {
        if !self.all.users.is_none() {
            self.used.lock().user = (!key.is_empty()).then(|| self.all.hasher.hash_one(key));
        }
    }

    /// Whether this is asked for the first time.
    pub(crate) fn is_first_connect(&self) -> bool {
        !std::mem::replace(&mut self.used.lock().has_asked, true)
    }

    /// Takes what a packet costs, of all limits or of none.
    ///
    /// # Errors
    /// It exceeds a limit.
    pub(crate) fn take(&self, cost: Cost, now: Instant) -> Result<(), Excess> {
        let mut used = self.used.lock();
        used.take(&self.all, cost, self.address, now)
            .map_err(|(limit, (what, wait))| used.exceeded(&self.all, limit, what, wait, now))
    }
}

impl Used {
    fn take(
        &mut self,
        all: &Rates,
        cost: Cost,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), (&'static str, TooFew)> {
        let limits = &all.limits;
        // The narrower limit first: what one connection sends in excess must not use up its user's or its address's rate.
        self.take_own(limits, cost, now).map_err(|few| ("connection", few))?;
        if let Some(user) = &self.user
            && let Err(few) = all.users.take(user, cost, now)
        {
            self.give_back(limits, cost);
            return Err(("user", few));
        }
        if let Some(address) = &address
            && let Err(few) = all.addresses.take(address, cost, now)
        {
            self.give_back(limits, cost);
            if let Some(user) = &self.user {
                all.users.give_back(user, cost);
            }
            return Err(("address", few));
        }
        Ok(())
    }

    fn take_own(&mut self, limits: &RateLimits, cost: Cost, now: Instant) -> Result<(), TooFew> {
        if let Some(rate) = &limits.events {
            self.events.take(cost.events, rate, now).map_err(|wait| (EVENTS, wait))?;
        }
        if let Some(rate) = &limits.bytes
            && let Err(wait) = self.bytes.take(cost.bytes, rate, now)
        {
            if let Some(rate) = &limits.events {
                self.events.give_back(cost.events, rate);
            }
            return Err((BYTES, wait));
        }
        Ok(())
    }

    fn give_back(&mut self, limits: &RateLimits, cost: Cost) {
        if let Some(rate) = &limits.events {
            self.events.give_back(cost.events, rate);
        }
        if let Some(rate) = &limits.bytes {
            self.bytes.give_back(cost.bytes, rate);
        }
    }

    /// What to do about a packet over a limit.
    fn exceeded(
        &mut self,
        all: &Rates,
        limit: &'static str,
        what: &'static str,
        wait: Duration,
        now: Instant,
    ) -> Excess {
        let since_warned = self.warned.map(|warned| now.duration_since(warned));
        let may_warn = all.warning().is_some() && since_warned.is_none_or(|since| since >= RATE_WARNING_INTERVAL);
        let is_warned = all.warning().is_none() || since_warned.is_some_and(|since| since >= RATE_GRACE);
        let close = all.limits.over == OverRate::Disconnect && is_warned && !may_warn;
        if may_warn {
            self.warned = Some(now);
        }
        let log = self.logged.is_none_or(|logged| now.duration_since(logged) >= RATE_LOG_INTERVAL) && all.may_log(now);
        if log {
            self.logged = Some(now);
        }
        Excess { limit, what, wait, answer: all.limits.over != OverRate::Drop, warn: may_warn, close, log }
    }
}

/// The rates of users, or of addresses.
#[derive(Debug)]
struct Tables<K> {
    events: Option<RateTable<K>>,
    bytes: Option<RateTable<K>>,
}

impl<K: Eq + Hash + Clone> Tables<K> {
    fn new(events: Option<Rate>, bytes: Option<Rate>) -> Self {
        let table = |rate| RateTable::new(rate, RATE_KEYS);
        Self { events: events.map(table), bytes: bytes.map(table) }
    }

    fn is_none(&self) -> bool {
        self.events.is_none() && self.bytes.is_none()
    }

    fn take(&self, key: &K, cost: Cost, now: Instant) -> Result<(), TooFew> {
        if let Some(events) = &self.events {
            events.take(key, cost.events, now).map_err(|wait| (EVENTS, wait))?;
        }
        if let Some(bytes) = &self.bytes
            && let Err(wait) = bytes.take(key, cost.bytes, now)
        {
            if let Some(events) = &self.events {
                events.give_back(key, cost.events);
            }
            return Err((BYTES, wait));
        }
        Ok(())
    }

    fn give_back(&self, key: &K, cost: Cost) {
        if let Some(events) = &self.events {
            events.give_back(key, cost.events);
        }
        if let Some(bytes) = &self.bytes {
            bytes.give_back(key, cost.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Cost = Cost { events: 1, bytes: 10 };

    fn rates(set: impl FnOnce(&mut RateLimits)) -> Arc<Rates> {
        let mut limits = RateLimits::default();
        set(&mut limits);
        Rates::new(limits).unwrap()
    }

    #[test]
    fn without_a_rate_there_is_nothing_to_look_at() {
        let mut limits = RateLimits::default();
        (limits.over, limits.warning) = (OverRate::Disconnect, Some("w".into()));
        assert!(Rates::new(limits).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn which_addresses_are_one() {
        for (first, second, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            let all = rates(|limits| limits.address_events = Rate::per_second(1));
            let take = |address: &str| {
                let taken = ConnectionRates::of(&all, Some(address.parse().unwrap())).take(ONE, Instant::now());
                taken.map_err(|excess| (excess.limit, excess.what))
            };
            assert_eq!(take(first), Ok(()));
            assert_eq!(take(second), if same { Err(("address", "events")) } else { Ok(()) }, "{first} {second}");
        }
        // Unknown addresses are not limited.
        let all = rates(|limits| limits.address_events = Rate::per_second(1));
        let unknown = ConnectionRates::of(&all, None);
        assert!((0..5).all(|_| unknown.take(ONE, Instant::now()).is_ok()));
    }

    /// What one limit refuses takes nothing of the others, whichever it is.
    #[tokio::test(start_paused = true)]
    async fn a_refused_packet_takes_nothing() {
        type Field = fn(&mut RateLimits) -> &mut Option<Rate>;
        let fields: [(Field, u32); 6] = [
            (|limits| &mut limits.events, 1),
            (|limits| &mut limits.bytes, 10),
            (|limits| &mut limits.user_events, 1),
            (|limits| &mut limits.user_bytes, 10),
            (|limits| &mut limits.address_events, 1),
            (|limits| &mut limits.address_bytes, 10),
        ];
        for narrow in 0..fields.len() {
            let all = rates(|limits| {
                for (at, (field, unit)) in fields.iter().enumerate() {
                    // One packet in ten seconds is within the narrow limit, and two are within the others.
                    let burst = if at == narrow { *unit } else { 2 * unit };
                    *field(limits) = Rate::new(*unit, Duration::from_secs(10)).map(|rate| rate.burst(burst));
                }
            });
            let address = IpAddr::from([192, 0, 2, 1]);
            let connection = ConnectionRates::of(&all, Some(address));
            connection.set_user("ann");
            let begin = Instant::now();
            assert_eq!(connection.take(ONE, begin), Ok(()));
            for _ in 0..10 {
                let excess = connection.take(ONE, begin).unwrap_err();
                let limit = ["connection", "user", "address"][narrow / 2];
                assert_eq!((excess.limit, excess.what), (limit, ["events", "bytes"][narrow % 2]));
                assert_eq!(excess.wait, Duration::from_secs(10));
            }
            assert_eq!(connection.take(ONE, begin + Duration::from_secs(10)), Ok(()));
            // The others were left with one packet, and have got another one meanwhile.
            let mut used = connection.used.lock();
            let now = begin + Duration::from_secs(10);
            for (at, taken) in [
                used.events.take(1, &all.limits.events.unwrap(), now).is_ok(),
                used.bytes.take(10, &all.limits.bytes.unwrap(), now).is_ok(),
                all.users.events.as_ref().unwrap().take(&used.user.unwrap(), 1, now).is_ok(),
                all.users.bytes.as_ref().unwrap().take(&used.user.unwrap(), 10, now).is_ok(),
                all.addresses.events.as_ref().unwrap().take(&address, 1, now).is_ok(),
                all.addresses.bytes.as_ref().unwrap().take(&address, 10, now).is_ok(),
            ]
            .into_iter()
            .enumerate()
            {
                assert_eq!(taken, at != narrow, "{narrow} {at}");
            }
        }
    }

    /// One line for a connection in ten minutes, and sixty for all in a minute.
    #[tokio::test(start_paused = true)]
    async fn the_log_is_not_filled() {
        let all = rates(|limits| limits.events = Rate::new(1, Duration::from_secs(86_400)));
        let begin = Instant::now();
        let logs = |connection: &ConnectionRates, now| connection.take(ONE, now).unwrap_err().log;
        let connections: Vec<_> = (0..=RATE_LOG_LINES).map(|_| ConnectionRates::of(&all, None)).collect();
        for (at, connection) in (0..).zip(&connections) {
            assert_eq!(connection.take(ONE, begin), Ok(()));
            assert_eq!(logs(connection, begin), at < RATE_LOG_LINES, "{at}");
            assert!(!logs(connection, begin));
        }
        // The last one had no line yet.
        let later = begin + Duration::from_secs(1);
        assert!(logs(connections.last().unwrap(), later));
        let first = connections.first().unwrap();
        assert!(!logs(first, begin + RATE_LOG_INTERVAL - Duration::from_millis(1)));
        assert!(logs(first, begin + RATE_LOG_INTERVAL));
    }
}
