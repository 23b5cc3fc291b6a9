//! [`Session`]: the Engine.IO session as a state machine. It takes packets and the time, and says what is to be done; it moves
//! no bytes and reads no clock.

use crate::limits::{FIRST_PING_SPREAD, LATE, NOOP_INTERVAL, POLL_CLOSE_TIMEOUT};
use crate::session::close_reason::CloseReason;
use crate::session::transport::Transport;
use roomcast_protocol::EngineKind;
use std::time::Duration;
use tokio::time::Instant;

/// Times of a session's life.
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
    /// What the held GET is answered, if not with packets.
    poll_reply: Option<PollReply>,
    /// A POST's body is being read, or its answer held back.
    post_busy: bool,
    /// The POST was read, and its answer is held back until the client can take more. Until then no pong can come.
    post_held: bool,
    standing: Standing,
}

/// Whether the session has begun its work. Until then it has to make room for others if need be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The first message will establish it.
    New,
    /// That message has come.
    Heard,
    /// Its client will say when it is.
    AwaitsWord,
    Established,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// What is queued may still leave until then.
    Closing {
        until: Instant,
        reason: CloseReason,
        /// The client that stands above is told of the end already, and not only when the session is closed.
        told: bool,
    },
    Closed(CloseReason),
}

#[derive(Debug, Clone, Copy)]
enum Heartbeat {
    /// The next ping is due then.
    Quiet { ping_at: Instant },
    /// A pong is awaited until then. `extended`: the deadline was moved once for this ping.
    Awaiting { pong_by: Instant, extended: bool },
}

#[derive(Debug)]
struct Upgrade {
    until: Instant,
    /// When the upgrade is looked at again, also to see that the session is over.
    look_at: Instant,
    /// The probe has come: from then on a held GET is answered with a noop.
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

/// What a packet asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Hand the data on.
    Deliver,
    /// Nothing.
    Ignore,
    /// The session is closed now.
    Closed,
}

/// What the time asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Nothing,
    Ping,
    Closed,
}

/// What a packet on the probing WebSocket asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Answer `3probe`.
    Reply,
    /// The session is on the WebSocket now.
    Complete,
    /// Close that WebSocket; the session goes on by polling.
    Abort,
}

/// A request came in while another of its kind is under way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overlap;

impl Session {
    /// A session that opens now. `spread` from 0 to 1 brings the first ping forward a little.
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
            standing: Standing::New,
        }
    }

    /// No message establishes the session; [`Session::establish`] does.
    pub(crate) fn await_word(&mut self) {
        self.standing = Standing::AwaitsWord;
    }

    /// The session has begun its work; `false`: it had before.
    pub(crate) fn establish(&mut self) -> bool {
        std::mem::replace(&mut self.standing, Standing::Established) != Standing::Established
    }

    /// Whether the message has come that establishes the session.
    pub(crate) fn is_to_be_established(&self) -> bool {
        self.standing == Standing::Heard
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the server asked for the end, and what is queued may still leave.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closed(reason) => Some(reason),
            _ => None,
        }
    }

    /// The reason that the client that stands above is to be told, once there is one.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closed(reason) | Phase::Closing { reason, told: true, .. } => Some(reason),
            _ => None,
        }
    }

    // --- packets ---

    /// A packet of the client on its transport.
    pub(crate) fn receive(&mut self, kind: EngineKind, now: Instant, timing: &Timing) -> Step {
        if !self.is_open() {
            return Step::Ignore;
        }
        match (kind, self.heartbeat) {
            (EngineKind::Pong, _) => self.heartbeat = Heartbeat::Quiet { ping_at: now + timing.ping_interval },
            // Any other packet shows life too: it moves the deadline once for each ping (engine.io 6.6.12).
            (_, Heartbeat::Awaiting { extended: false, .. }) => {
                self.heartbeat = Heartbeat::Awaiting { pong_by: now + timing.ping_timeout, extended: true };
            }
            _ => {}
        }
        match kind {
            EngineKind::Message => {
                if self.standing == Standing::New {
                    self.standing = Standing::Heard;
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

    // --- time ---

    /// Reading is paused, so a pong may have come that was not read: at its deadline it is taken for granted. The pings go on
    /// at their interval, as clients give up when they hear none.
    pub(crate) fn excuse(&mut self, now: Instant, timing: &Timing) {
        if let Heartbeat::Awaiting { pong_by, .. } = self.heartbeat
            && pong_by <= now
        {
            // An extended deadline only makes the next ping later than that, and then it is due now.
            let ping_at = (pong_by + timing.ping_interval).checked_sub(timing.ping_timeout).unwrap_or(now);
            self.heartbeat = Heartbeat::Quiet { ping_at: ping_at.max(now) };
        }
    }

    /// What is due. Call it after everything that has arrived was read.
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
                        // The server slept, so nobody could be heard: that is not the client's fault.
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

    /// When [`Session::tick`] is to be called next; `None` once closed.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match (self.phase, self.heartbeat) {
            (Phase::Closed(_), _) => None,
            (Phase::Closing { until, .. }, _) => Some(until),
            (Phase::Open, Heartbeat::Quiet { ping_at }) => Some(ping_at),
            (Phase::Open, Heartbeat::Awaiting { pong_by, .. }) => Some(pong_by),
        }
    }

    // --- the end ---

    /// The client is at fault: a held poll is told the end.
    pub(crate) fn fail(&mut self, reason: CloseReason) {
        if self.closed().is_none() {
            self.poll_reply = Some(PollReply::Close);
            self.close(reason);
        }
    }

    /// As [`Session::fail`], if the session is still on polling: what goes wrong with a request that an upgrade has overtaken
    /// is no longer the session's concern.
    pub(crate) fn fail_polling(&mut self, reason: CloseReason) {
        if self.transport == Transport::Polling {
            self.fail(reason);
        }
    }

    /// The end, at once.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        if self.closed().is_none() {
            self.phase = Phase::Closed(reason);
            self.upgrade = None;
        }
    }

    /// The server wants the end: what is queued may still leave. `drained` tells whether anything is.
    pub(crate) fn finish(&mut self, reason: CloseReason, drained: bool, now: Instant, timeout: Duration) {
        if !self.is_open() {
            return;
        }
        if self.transport == Transport::Polling && self.poll_held && self.poll_reply.is_none() && drained {
            self.fail(reason);
            return;
        }
        if self.transport == Transport::Polling && reason == CloseReason::ServerShutdown && drained {
            // No poll is held, so there is nobody to tell, and a server that stops takes no more polls.
            self.close(reason);
            return;
        }
        let patient = self.transport == Transport::Polling && reason != CloseReason::ServerShutdown;
        let timeout = if patient { POLL_CLOSE_TIMEOUT } else { timeout };
        self.phase = Phase::Closing { until: now + timeout, reason, told: false };
    }

    /// The client broke a rule, so it has no more claim to the session: whoever stands above is told at once, and what is
    /// queued has `timeout` to leave. If nothing is, the reason is "forced close", else `waiting`.
    pub(crate) fn fault(&mut self, waiting: CloseReason, drained: bool, now: Instant, timeout: Duration) {
        if !self.is_open() {
            return;
        }
        if self.transport == Transport::Polling && self.poll_is_writable() && drained {
            self.fail(CloseReason::ForcedClose);
            return;
        }
        let at_once = self.transport == Transport::WebSocket && drained;
        let reason = if at_once { CloseReason::ForcedClose } else { waiting };
        self.phase = Phase::Closing { until: now + timeout, reason, told: true };
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
        // A GET that an upgrade has overtaken is answered with a noop; it is no overlap.
        if self.poll_held && self.transport == Transport::Polling {
            self.fail(CloseReason::TransportError);
            return Err(Overlap);
        }
        self.poll_held = true;
        Ok(())
    }

    /// What the held GET is to be answered, if not with packets: `drained` tells whether none is queued.
    pub(crate) fn poll_reply(&mut self, drained: bool) -> Option<PollReply> {
        if let Some(reply) = self.poll_reply.take() {
            return Some(reply);
        }
        if self.transport == Transport::WebSocket {
            // The packets are the WebSocket's now.
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

    /// The POST's body was read; its answer is held back.
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

    /// A WebSocket comes for this session; `false`: it has one, or is about to.
    pub(crate) fn begin_upgrade(&mut self, now: Instant, timing: &Timing) -> bool {
        if !self.is_open() || self.transport == Transport::WebSocket || self.upgrade.is_some() {
            return false;
        }
        let until = now + timing.upgrade_timeout;
        self.upgrade = Some(Box::new(Upgrade { until, look_at: now + NOOP_INTERVAL, probed: false }));
        true
    }

    /// A text packet on the probing WebSocket.
    pub(crate) fn probe(&mut self, kind: EngineKind, data: &str, now: Instant) -> Probe {
        let Some(upgrade) = &mut self.upgrade else { return Probe::Abort };
        match kind {
            EngineKind::Ping if data == "probe" => {
                if !std::mem::replace(&mut upgrade.probed, true) {
                    upgrade.look_at = now + NOOP_INTERVAL;
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

    /// What is due of the upgrade: `false` means that it took too long and is over. A held GET may have to be woken.
    pub(crate) fn tick_upgrade(&mut self, now: Instant, drained: bool) -> bool {
        let Some(upgrade) = &mut self.upgrade else { return false };
        if upgrade.until <= now {
            self.upgrade = None;
            return false;
        }
        if upgrade.look_at <= now {
            upgrade.look_at = now + NOOP_INTERVAL;
            if upgrade.probed && self.poll_held && self.poll_reply.is_none() && drained {
                self.poll_reply = Some(PollReply::Noop);
            }
        }
        true
    }

    /// When [`Session::tick_upgrade`] is to be called next.
    pub(crate) fn upgrade_deadline(&self) -> Option<Instant> {
        let upgrade = self.upgrade.as_deref()?;
        Some(upgrade.look_at.min(upgrade.until))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk;
