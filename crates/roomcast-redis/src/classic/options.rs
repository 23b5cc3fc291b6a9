//! [`ClassicOptions`].

/// Options of the classic dialect: those of Node's `createAdapter`, and how broadcasts are subscribed. The servers of a
/// cluster may differ in that.
///
/// By default a server subscribes the pattern `KEY#NAMESPACE#*` for each namespace, as Node does. Redis then sends it
/// every broadcast of its namespaces, and it skips those to single rooms that have no members here.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClassicOptions {
    /// Prefix of all channels. All servers and emitters of a cluster must have the same, and it must differ from the
    /// `channelPrefix` of a streams or sharded adapter on the same Redis. Defaults to `socket.io`.
    pub key: String,
    /// Whether answers go to the asking server's own channel. Servers with and without it understand each other.
    /// Defaults to `false`.
    pub publish_on_specific_response_channel: bool,
    /// Whether to subscribe the channels of rooms that have members here, in place of a pattern. Redis then sends a
    /// broadcast to a single room or socket only to servers that have a member. Defaults to `false`.
    ///
    /// - It pays if most broadcasts go to single rooms, and few servers have members of each.
    /// - It costs a subscription for each room with members here, including the room of each socket's id. When the
    ///   connection is made again, all of them are subscribed again, 512 in a command, before the namespace counts as
    ///   connected.
    /// - A broadcast to a room can be missed within one round trip after the room's first member joins here.
    /// - Lost broadcasts to single rooms are not counted, because this server does not receive all of them.
    /// - The user needs the right to the channels (ACL `&KEY*`), and to no pattern but `KEY-request#NAMESPACE#`. If
    ///   Redis forbids the channel of a room, that room alone misses the broadcasts of the other servers; this is
    ///   logged and counted.
    pub exact_rooms: bool,
    /// Whether to subscribe the one pattern `KEY#*` for all namespaces. `exact_rooms` takes precedence, with a warning.
    /// Defaults to `false`.
    ///
    /// - It pays if hundreds of namespaces are open on most servers: Redis compares every message with every pattern
    ///   that any client has subscribed. So all servers should set it.
    /// - A server also gets the broadcasts of namespaces that are not open on it, and drops them.
    /// - The user needs the right to that pattern (ACL `&KEY#*`), and for each namespace only to
    ///   `KEY-request#NAMESPACE#`.
    pub one_pattern: bool,
}

impl Default for ClassicOptions {
    fn default() -> Self {
        Self {
            key: "socket.io".to_owned(),
            publish_on_specific_response_channel: false,
            exact_rooms: false,
            one_pattern: false,
        }
    }
}
