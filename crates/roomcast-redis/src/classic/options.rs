//! [`ClassicOptions`].

/// Options of the classic dialect: those that Node's `createAdapter` has, and how broadcasts are heard. Servers of a cluster may
/// hear in different ways.
///
/// Unless told otherwise a server subscribes the pattern `KEY#NAMESPACE#*` for each namespace, as Node does: it is sent every
/// broadcast of its namespaces, and passes over those to single rooms that nobody here is in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClassicOptions {
    /// Prefix of all channels; `socket.io`. All servers and emitters of a cluster must have the same, and it must differ from
    /// the `channelPrefix` of a streams or sharded adapter on the same Redis.
    pub key: String,
    /// Whether answers go to the asking server's own channel; no. Servers with and without it understand one another.
    pub publish_on_specific_response_channel: bool,
    /// Whether the channels of rooms with members here are subscribed, and no pattern; no. Redis then sends no broadcast to a single
    /// room, or to a single socket, to a server where nobody is in it.
    ///
    /// - It pays where most broadcasts are to single rooms, and few servers have members of each.
    /// - It costs a subscription for each room with members here, the room of each socket's id among them. After a break all are
    ///   made again, 512 in a command, before the namespace hears.
    /// - A broadcast to a room can be missed that comes within a round trip of the first join here.
    /// - Losses of broadcasts to single rooms are not counted: not all of them are heard here.
    /// - The user needs the right to the channels (ACL `&KEY*`) and to no pattern but `KEY-request#NAMESPACE#`. A room whose channel
    ///   Redis forbids does not hear the other servers, which is logged and counted; all others do.
    pub exact_rooms: bool,
    /// Whether the one pattern `KEY#*` is subscribed for all namespaces; no. `exact_rooms` takes precedence, with a warning.
    ///
    /// - It pays where there are hundreds of namespaces that are open on most servers: Redis compares every message with every pattern
    ///   that anybody has subscribed. So all servers should have it.
    /// - A server is sent the broadcasts of namespaces that are not open on it, too, and drops them.
    /// - The user needs the right to that pattern (ACL `&KEY#*`), and to none for each namespace but `KEY-request#NAMESPACE#`.
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
