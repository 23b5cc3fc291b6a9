//! [`ClassicOptions`].

/// Options of the classic dialect: those that Node's `createAdapter` has, and how broadcasts are heard. Servers of a cluster may
/// hear in different ways.
///
/// Without the last two a server subscribes the pattern `KEY#NAMESPACE#*` for each namespace: it is sent each broadcast of the
/// cluster, and reads from the channel's name which are for rooms without members here.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClassicOptions {
    /// Prefix of all channels; `socket.io`. All servers and emitters of a cluster must have the same, and it must differ from
    /// the `channelPrefix` of a streams or sharded adapter on the same Redis.
    pub key: String,
    /// Whether answers go to the asking server's own channel; no. Servers with and without it understand one another.
    pub publish_on_specific_response_channel: bool,
    /// Whether the server subscribes the channel of each room with members here, a socket's own id among them, and no pattern; no.
    /// Redis then sends it no broadcasts to single rooms that only others have members of.
    ///
    /// It pays where most broadcasts are to single rooms (or sockets) that few servers have members of. It costs a subscription for each socket and each
    /// room here, which are made again after a reconnect, 512 in a round trip, before the server hears; and two messages to Redis when a socket comes and goes.
    /// A broadcast to a room is missed if it comes in the round trip after the room's first member here joined.
    /// Of broadcasts to single rooms losses are not counted, as not all are heard.
    ///
    /// The user needs the right to the channels (ACL `&KEY*`), and to no pattern but `KEY-request#NAMESPACE#`. A room whose channel Redis forbids does not hear
    /// the other servers; that is logged and counted, and others are not harmed.
    pub exact_rooms: bool,
    /// Whether the server subscribes the one pattern `KEY#*` for all namespaces; no.
    ///
    /// It pays where there are thousands of namespaces, most of them open on all servers: Redis compares each message with each pattern of
    /// each server. The server is sent the broadcasts of namespaces that it has not open, and drops them. The user needs the right to that pattern (ACL `&KEY#*`). Not together with `exact_rooms`, which takes precedence.
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
