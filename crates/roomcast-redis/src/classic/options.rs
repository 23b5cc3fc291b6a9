//! [`ClassicOptions`].

/// Options of the classic dialect, as Node's `createAdapter` has them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClassicOptions {
    /// Prefix of all channels; `socket.io`. All servers and emitters of a cluster must have the same, and it must differ from
    /// the `channelPrefix` of a streams or sharded adapter on the same Redis.
    pub key: String,
    /// Whether answers go to the asking server's own channel; no. Servers with and without it understand one another.
    pub publish_on_specific_response_channel: bool,
}

impl Default for ClassicOptions {
    fn default() -> Self {
        Self { key: "socket.io".to_owned(), publish_on_specific_response_channel: false }
    }
}
