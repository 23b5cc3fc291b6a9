//! [`Session`]: the Engine.IO session as a state machine. It takes packets and the time, and returns what is to be
//! done. It moves no bytes and reads no clock.

use crate::limits::{FIRST_PING_SPREAD, LATE, NOOP_INTERVAL, POLL_CLOSE_TIMEOUT};
use crate::session::close_reason::CloseReason;
use crate::session::transport::Transport;
use roomcast_protocol::EngineKind;
use std::time::Duration;
use tokio::time::Instant;

/// The times that a session keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) upgrade_timeout: Duration,
}

/// The state of one session.
#[derive(Debug)]
pub(crate) struct Session {
    phase: Phase,
    transport: Transport,
    heartbeat: Heartbeat,
    /// Only while an upgrade is under way.
    upgrade: Option<Box<Upgrade>>,
    /// A GET is held.
    poll_held: bool,
    /// The answer to the held GET, if it is not packets.
    poll_reply: Option<PollReply>,
    /// A POST's body is being read, or its answer is held back.
    post_busy: bool,
    /// The POST was read, and its answer is held back until the handler can take more. Until then no pong can come.
    post_held: bool,
    establishment: Establishment,
}

/// Whether the session has begun its work. Until then it may have to make room for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Establishment {
    /// The first message will establish it.
    ByMessage,
    /// That message has come.
    Due,
    /// Its handler will establish it.
    ByHandler,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// What is queued may still leave until `until`.
    Closing {
        until: Instant,
        reason: CloseReason,
        /// The handler learns of the end now, and not only when the session is closed.
        at_once: bool,
    },
    Closed(CloseReason),
}

#[derive(Debug, Clone, Copy)]
enum Heartbeat {
    /// Waits to send the next ping.
    Quiet { ping_at: Instant },
    /// Waits for a pong. `extended`: its deadline was moved once for this ping.
    Awaiting { pong_by: Instant, extended: bool },
}

#[derive(Debug)]
struct Upgrade {
    until: Instant,
    /// When the upgrade is checked again, also for the end of the session.
    check_at: Instant,
    /// The probe has come. From then on a held GET is answered with a noop.
    probed: bool,
}

/// An answer to a poll that carries no queued packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollReply {
    Noop,
    Close,
    /// The last poll of a session that the server closed.
    NoopAndClose,
}

impl PollReply {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Noop => "6",
            Self::Close => "1",
            Self::NoopAndClose => "6\u{1e}1",
        }
    }
}

/// What is to be done for a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Pass the data to the handler.
    Deliver,
    /// Nothing.
    Ignore,
    /// The session is closed now.
    Closed,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Nothing,
    Ping,
    Closed,
}

/// What is to be done for a packet on the probing WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Answer `3probe`.
    Reply,
    /// The session is on the WebSocket now.
    Complete,
    /// Close that WebSocket. The session goes on by polling.
    Abort,
}

/// A request came in while another of its kind is being served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overlap;

impl Session {
    /// A session that opens now. `spread`, from 0 to 1, brings its first ping forward a little.
    pub(crate) fn new(transport: Transport, now: Instant, timing: &Timing, spread: f64) -> Self {
        let early = (timing.ping_interval / FIRST_PING_SPREAD).mul_f64(spread.clamp(0.0, 1.0));
        Self {
            phase: Phase::Open,
            transport,
            heartbeat: Heartbeat::Quiet { ping_at: now + timing.ping_interval - early },
            upgrade: None,
            poll_held: false,
            poll_reply: None,
            post_busy: false,
            post_held: false,
            establishment: Establishment::ByMessage,
        }
    }

    /// No message establishes the session, only [`Session::establish`].
    pub(crate) fn let_handler_establish(&mut self) {
        self.establishment = Establishment::ByHandler;
    }

    /// The session has begun its work. Returns `false` if it had before.
    pub(crate) fn establish(&mut self) -> bool {
        std::mem::replace(&mut self.establishment, Establishment::Done) != Establishment::Done
    }

    /// Whether the message that establishes the session has come.
    pub(crate) fn is_to_be_established(&self) -> bool {
        self.establishment == Establishment::Due
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the session ends, and what is queued may still leave.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closed(reason) => Some(reason),
            _ => None,
        }
    }

    /// The reason for the end, once the handler is to learn of it.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closed(reason) | Phase::Closing { reason, at_once: true, .. } => Some(reason),
            _ => None,
        }
    }

    // --- packets ---

    /// The client sent a packet on its transport.
    pub(crate) fn receive(&mut self, kind: EngineKind, now: Instant, timing: &Timing) -> Step {
        if !self.is_open() {
            return Step::Ignore;
        }
        match (kind, self.heartbeat) {
            (EngineKind::Pong, _) => self.heartbeat = Heartbeat::Quiet { ping_at: now + timing.ping_interval },
            // Any other packet is a sign of life too. It moves the deadline once for each ping (engine.io 6.6.12).
            (_, Heartbeat::Awaiting { extended: false, .. }) => {
                self.heartbeat = Heartbeat::Awaiting { pong_by: now + timing.ping_timeout, extended: true };
            }
            _ => {}
        }
        match kind {
            EngineKind::Message => {
                if self.establishment == Establishment::ByMessage {
                    self.establishment = Establishment::Due;
                }
                Step::Deliver
            }
            EngineKind::Ping => {
                self.fail(CloseReason::TransportError);
                Step::Closed
            }
            EngineKind::Close if self.transport == Transport::Polling => {
                self.poll_reply = Some(PollReply::Noop);
                self.close(CloseReason::TransportClose);
                Step::Closed
            }
            _ => Step::Ignore,
        }
    }

    /// The time from the ping to the pong that the client sends now. `None` if it is no such pong, or if another packet
    /// came in between: that moved the deadline, and only the deadline is kept.
    pub(crate) fn round_trip(&self, kind: EngineKind, now: Instant, timing: &Timing) -> Option<Duration> {
        match self.heartbeat {
            Heartbeat::Awaiting { pong_by, extended: false } if kind == EngineKind::Pong && self.is_open() => {
                Some((now + timing.ping_timeout).saturating_duration_since(pong_by))
            }
            _ => None,
        }
    }

    // --- time ---

    /// Reading is paused, so a pong may have come that was not read. At its deadline it counts as received. The pings
    /// go on at their interval, as clients give up when they receive none.
    pub(crate) fn excuse_pong(&mut self, now: Instant, timing: &Timing) {
        if let Heartbeat::Awaiting { pong_by, .. } = self.heartbeat
            && pong_by <= now
        {
            // With an extended deadline the next ping may be overdue; then it is due now.
            let ping_at = (pong_by + timing.ping_interval).checked_sub(timing.ping_timeout).unwrap_or(now);
            self.heartbeat = Heartbeat::Quiet { ping_at: ping_at.max(now) };
        }
    }

    /// Does what is due. Call it after everything that has arrived was read.
    pub(crate) fn tick(&mut self, now: Instant, timing: &Timing) -> Tick {
        match self.phase {
            Phase::Closed(_) => Tick::Closed,
            Phase::Closing { until, reason, .. } if until <= now => {
                self.close(reason);
                Tick::Closed
            }
            Phase::Closing { .. } => Tick::Nothing,
            Phase::Open => match self.heartbeat {
                Heartbeat::Quiet { ping_at } if ping_at <= now => {
                    self.heartbeat = Heartbeat::Awaiting { pong_by: now + timing.ping_timeout, extended: false };
                    Tick::Ping
                }
                Heartbeat::Awaiting { pong_by, extended } if pong_by <= now => {
                    if now - pong_by > LATE && !extended {
                        // The server slept and could receive nothing. That is not the client's fault.
                        self.heartbeat = Heartbeat::Awaiting { pong_by: now + LATE, extended: true };
                        return Tick::Nothing;
                    }
                    self.fail(CloseReason::PingTimeout);
                    Tick::Closed
                }
                _ => Tick::Nothing,
            },
        }
    }

    /// When [`Session::tick`] is to be called next, or `None` once closed.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match (self.phase, self.heartbeat) {
            (Phase::Closed(_), _) => None,
            (Phase::Closing { until, .. }, _) => Some(until),
            (Phase::Open, Heartbeat::Quiet { ping_at }) => Some(ping_at),
            (Phase::Open, Heartbeat::Awaiting { pong_by, .. }) => Some(pong_by),
        }
    }

    // --- the end ---

    /// Closes the session, and answers a held poll with the end.
    pub(crate) fn fail(&mut self, reason: CloseReason) {
        if self.closed().is_none() {
            self.poll_reply = Some(PollReply::Close);
            self.close(reason);
        }
    }

    /// As [`Session::fail`], if the session is still on polling. After an upgrade, a poll or POST that fails does not
    /// concern the session any more.
    pub(crate) fn fail_polling(&mut self, reason: CloseReason) {
        if self.transport == Transport::Polling {
            self.fail(reason);
        }
    }

    /// Closes the session at once.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        if self.closed().is_none() {
            self.phase = Phase::Closed(reason);
            self.upgrade = None;
        }
    }

    /// The server ends the session. What is queued may still leave; `drained` tells that nothing is.
    pub(crate) fn finish(&mut self, reason: CloseReason, drained: bool, now: Instant, timeout: Duration) {
        if !self.is_open() {
            return;
        }
        if self.transport == Transport::Polling && self.poll_held && self.poll_reply.is_none() && drained {
            self.fail(reason);
            return;
        }
        if self.transport == Transport::Polling && reason == CloseReason::ServerShutdown && drained {
            // No poll is held that could carry the end, and a server that stops accepts no more polls.
            self.close(reason);
            return;
        }
        let patient = self.transport == Transport::Polling && reason != CloseReason::ServerShutdown;
        let timeout = if patient { POLL_CLOSE_TIMEOUT } else { timeout };
        self.phase = Phase::Closing { until: now + timeout, reason, at_once: false };
    }

    /// The client broke a rule and has no more claim to the session: the handler learns of the end at once, and what is
    /// queued has `timeout` to leave. If nothing is queued the reason is `at_once`, else `waiting`.
    pub(crate) fn fault(
        &mut self,
        [at_once, waiting]: [CloseReason; 2],
        drained: bool,
        now: Instant,
        timeout: Duration,
    ) {
        if !self.is_open() {
            return;
        }
        if self.transport == Transport::Polling && self.poll_is_writable() && drained {
            self.fail(at_once);
            return;
        }
        let is_websocket = self.transport == Transport::WebSocket;
        let reason = if is_websocket && drained { at_once } else { waiting };
        self.phase = Phase::Closing { until: now + timeout, reason, at_once: true };
    }

    /// What was queued has left.
    pub(crate) fn drained(&mut self) {
        if let Phase::Closing { reason, .. } = self.phase {
            self.close(reason);
        }
    }

    // --- polling ---

    /// A GET begins.
    pub(crate) fn begin_poll(&mut self) -> Result<(), Overlap> {
        // A GET that was held before an upgrade is answered with a noop. It is not an overlap.
        if self.poll_held && self.transport == Transport::Polling {
            self.fail(CloseReason::TransportError);
            return Err(Overlap);
        }
        self.poll_held = true;
        Ok(())
    }

    /// The answer to the held GET, unless it is packets. `drained` tells that none are queued.
    pub(crate) fn poll_reply(&mut self, drained: bool) -> Option<PollReply> {
        if let Some(reply) = self.poll_reply.take() {
            return Some(reply);
        }
        if self.transport == Transport::WebSocket {
            // The packets go to the WebSocket now.
            return Some(PollReply::Noop);
        }
        match self.phase {
            Phase::Closing { reason, .. } if drained => {
                self.close(reason);
                Some(PollReply::NoopAndClose)
            }
            Phase::Closed(_) => Some(PollReply::Close),
            _ => None,
        }
    }

    /// The held GET was answered.
    pub(crate) fn end_poll(&mut self) {
        self.poll_held = false;
    }

    /// Whether a packet would leave at once by polling.
    pub(crate) fn poll_is_writable(&self) -> bool {
        self.poll_held && self.poll_reply.is_none()
    }

    /// A POST begins.
    pub(crate) fn begin_post(&mut self) -> Result<(), Overlap> {
        if self.post_busy && self.transport == Transport::Polling {
            self.fail(CloseReason::TransportError);
            return Err(Overlap);
        }
        self.post_busy = true;
        Ok(())
    }

    /// The POST's body was read. Its answer is held back.
    pub(crate) fn hold_post(&mut self) {
        self.post_held = true;
    }

    /// Whether a POST's answer is held back.
    pub(crate) fn is_post_held(&self) -> bool {
        self.post_held
    }

    /// The POST was answered, or refused.
    pub(crate) fn end_post(&mut self) {
        self.post_busy = false;
        self.post_held = false;
    }

    // --- upgrade ---

    /// A WebSocket comes to take over this session. Returns `false` if the session has one, or another one is probing.
    pub(crate) fn begin_upgrade(&mut self, now: Instant, timing: &Timing) -> bool {
        if !self.is_open() || self.transport == Transport::WebSocket || self.upgrade.is_some() {
            return false;
        }
        let until = now + timing.upgrade_timeout;
        self.upgrade = Some(Box::new(Upgrade { until, check_at: now + NOOP_INTERVAL, probed: false }));
        true
    }

    /// A text packet on the probing WebSocket.
    pub(crate) fn probe(&mut self, kind: EngineKind, data: &str, now: Instant) -> Probe {
        let Some(upgrade) = &mut self.upgrade else { return Probe::Abort };
        match kind {
            EngineKind::Ping if data == "probe" => {
                if !std::mem::replace(&mut upgrade.probed, true) {
                    upgrade.check_at = now + NOOP_INTERVAL;
                }
                Probe::Reply
            }
            EngineKind::Upgrade => {
                self.upgrade = None;
                self.transport = Transport::WebSocket;
                if self.poll_held {
                    self.poll_reply = Some(PollReply::Noop);
                }
                Probe::Complete
            }
            _ => {
                self.upgrade = None;
                Probe::Abort
            }
        }
    }

    /// The probing WebSocket is gone.
    pub(crate) fn abort_upgrade(&mut self) {
        self.upgrade = None;
    }

    /// Does what is due of the upgrade. Returns `false` if it is over, as it took too long. A held GET may have to be
    /// woken.
    pub(crate) fn tick_upgrade(&mut self, now: Instant, drained: bool) -> bool {
        let Some(upgrade) = &mut self.upgrade else { return false };
        if upgrade.until <= now {
            self.upgrade = None;
            return false;
        }
        if upgrade.check_at <= now {
            upgrade.check_at = now + NOOP_INTERVAL;
            if upgrade.probed && self.poll_held && self.poll_reply.is_none() && drained {
                self.poll_reply = Some(PollReply::Noop);
            }
        }
        true
    }

    /// When [`Session::tick_upgrade`] is to be called next.
    pub(crate) fn upgrade_deadline(&self) -> Option<Instant> {
        let upgrade = self.upgrade.as_deref()?;
        Some(upgrade.check_at.min(upgrade.until))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk;
