//! [`RateLimits`]: how much clients may send.

use roomcast_engine::Rate;

/// How much clients may send, as rates of events and of bytes. None is limited by default.
///
/// ```
/// use roomcast_server::{OverRate, Rate, RateLimits, SocketIo};
///
/// let mut limits = RateLimits::default();
/// limits.events = Rate::per_second(20).map(|rate| rate.burst(100));
/// limits.bytes = Some("100k/s burst 1M".parse()?);
/// limits.over = OverRate::Error;
/// limits.warning = Some("slow down".into());
/// let io = SocketIo::builder().rate_limits(limits).build();
/// # Ok::<(), roomcast_server::RateError>(())
/// ```
///
/// Each EVENT of a client, with or without attachments, counts as one event, and so does each CONNECT after the first of its
/// connection. The bytes are those of the packet and its attachments as they came. Of an ACK only the bytes count. A packet that one
/// limit refuses is not handled, and does not count against the other limits.
///
/// A packet is read and decoded before it is known whether it exceeds a limit. So limits spare the handlers, the other clients and the
/// other servers, but not the work of reading: only [`OverRate::Disconnect`] ends that.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RateLimits {
    /// Events of each connection, in all its namespaces together.
    pub events: Option<Rate>,
    /// Bytes of each connection.
    pub bytes: Option<Rate>,
    /// Events of all connections of one user on this server. The application names the users:
    /// [`Socket::set_user`](crate::Socket::set_user).
    pub user_events: Option<Rate>,
    /// Bytes of all connections of one user.
    pub user_bytes: Option<Rate>,
    /// Events of all connections from one client address, if it is known
    /// ([`Handshake::client_address`](crate::Handshake::client_address)). IPv6 addresses with the same first 64 bits count as one,
    /// because a client usually has them all.
    pub address_events: Option<Rate>,
    /// Bytes of all connections from one address.
    pub address_bytes: Option<Rate>,
    /// What becomes of a packet over a limit.
    pub over: OverRate,
    /// The name of an event that warns a client which exceeds a limit, with `{limit, retryAfterMs}` as its argument, where the limit is
    /// `connection`, `user` or `address`. It is sent at most every 10 s. Defaults to none. A reserved name, such as `connect`, counts
    /// as none, and is logged as an error.
    pub warning: Option<String>,
}

/// What becomes of a packet over one of the [`RateLimits`].
///
/// Whatever is chosen, the packet is counted (`roomcast_packets_over_rate_total`), and a CONNECT is refused with a CONNECT_ERROR,
/// "rate limit exceeded", because its client waits for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverRate {
    /// It is dropped. A client that awaits an acknowledgement gets none.
    #[default]
    Drop,
    /// It is dropped. A client that awaits an acknowledgement gets `{"ok":false,"error":"rate limit exceeded","retryAfterMs":n}`.
    Error,
    /// The client's connection is closed, with the reason [`CloseReason::RateLimit`](crate::CloseReason::RateLimit).
    ///
    /// With a [`warning`](RateLimits::warning) the client is warned first. For 2 s after the warning, what exceeds a limit is dropped as
    /// with [`OverRate::Error`]. For another 8 s, what exceeds a limit closes the connection. After these 10 s the client is warned anew.
    Disconnect,
}
