//! [`ListenerId`]: names a handler of a socket.

/// A handler that was given to a socket, for [`Socket::remove_listener`](crate::Socket::remove_listener).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ListenerId(u32);

impl ListenerId {
    pub(crate) fn numbered(number: u32) -> Self {
        Self(number)
    }
}
