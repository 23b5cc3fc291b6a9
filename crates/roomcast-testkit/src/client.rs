//! [`Client`]: a client in the process of its server.
#![expect(clippy::needless_pass_by_value, reason = "what is emitted may be given by value or by reference")]

use crate::builder::{ClientBuilder, Options};
use crate::compression::Compression;
use crate::connect_error::ConnectError;
use crate::connection::Receiver as _;
use crate::disconnection::Disconnection;
use crate::socket::{ClientSocket, Phase};
use crate::unmet::{Waiting, fail};
use crate::unread::list;
use crate::websocket;
use roomcast_protocol::{Args, SocketId, ToArgs};
use roomcast_server::{SocketIo, Transport};
use std::panic::Location;
use std::sync::Arc;
use tokio::time::timeout;

/// A client in the process of its server: one socket, in one namespace.
///
/// Everything but TCP is real: HTTP and the upgrade by hyper, frames, packets, rates and middlewares. Its tasks run on
/// the test's runtime; pings are answered by themselves.
///
/// Methods that wait give up after the client's [patience](ClientBuilder::patience), or at once if it is disconnected.
/// They then fail the test with one line: the client's name, what it waited for, what is unread, and the line of the
/// test. Those that begin with `try_` return that line as an error.
///
/// When a client is dropped, what it sent still goes out, and then its stream ends, as when a tab is closed. By polling it
/// says goodbye, as the official client does when its page is left.
#[derive(Debug)]
pub struct Client {
    pub(crate) socket: Arc<ClientSocket>,
    options: Options,
}

impl ClientBuilder {
    /// Connects, and waits for the server's answer.
    ///
    /// # Errors
    /// [`ConnectError`]: the handshake was refused, or a middleware refused the socket, or no answer came.
    ///
    /// # Panics
    /// Outside a tokio runtime, or if the connection has a socket in this namespace already.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let Self { options, connection } = self;
        let connection = match connection {
            Some(connection) => connection,
            None => options.open().await?,
        };
        let Options { name, namespace, patience, .. } = &options;
        let socket = Arc::new(ClientSocket::new(name, namespace, *patience, connection));
        options.enter(&socket).await?;
        Ok(Client { socket, options })
    }
}

impl Client {
    // --- connecting ---

    /// Connects to the main namespace over a WebSocket.
    ///
    /// ```
    /// # use roomcast_server::SocketIo;
    /// # use roomcast_testkit::Client;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), roomcast_testkit::ConnectError> {
    /// let io = SocketIo::builder().build();
    /// io.of("/").on("double", |n: u32| 2 * n);
    /// let client = Client::connect(&io).await?;
    /// assert_eq!(client.ask::<u32>("double", 21).await, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    pub async fn connect(io: &SocketIo) -> Result<Self, ConnectError> {
        Self::builder(io).connect().await
    }

    /// Begins to set how a client connects.
    pub fn builder(io: &SocketIo) -> ClientBuilder {
        ClientBuilder::new(io)
    }

    /// Begins to join a further namespace over the same connection. [`ClientBuilder::name`],
    /// [`auth`](ClientBuilder::auth) and [`patience`](ClientBuilder::patience) apply; what concerns the connection is
    /// set already.
    pub fn of(&self, namespace: &str) -> ClientBuilder {
        ClientBuilder::on(&self.options, self.socket.connection(), namespace)
    }

    /// Lets a WebSocket take over from polling, as the official client does soon after it has connected.
    ///
    /// # Errors
    /// [`ConnectError`]: the server refused, and polling goes on; or the session ended.
    pub async fn upgrade(&self) -> Result<(), ConnectError> {
        if self.transport() == Transport::WebSocket {
            return Err(ConnectError::new(&self.socket.name, "it uses a WebSocket already"));
        }
        let connection = self.socket.connection();
        let upgraded = timeout(self.socket.patience, websocket::upgrade(&connection, &self.socket.name)).await;
        upgraded.unwrap_or_else(|_| {
            let text = format!("no answer to its upgrade within {:?}", self.socket.patience);
            Err(ConnectError::new(&self.socket.name, text))
        })
    }

    /// Connects again, over a connection of its own, with the same options. What is unread stays, as do the answers of
    /// [`Client::answer`]. With connection state recovery the client says what it has, and [`Client::recovered`] tells
    /// whether the server knew it.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    ///
    /// # Panics
    /// If it is still connected.
    pub async fn reconnect(&self) -> Result<(), ConnectError> {
        self.reconnect_with(&self.options).await
    }

    /// As [`Client::reconnect`], to another server of the cluster.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    ///
    /// # Panics
    /// If it is still connected.
    pub async fn reconnect_to(&self, io: &SocketIo) -> Result<(), ConnectError> {
        let mut options = self.options.clone();
        options.http.service = io.clone().into_service();
        self.reconnect_with(&options).await
    }

    async fn reconnect_with(&self, options: &Options) -> Result<(), ConnectError> {
        assert!(!self.is_connected(), "{} is still connected", self.socket.name);
        let connection = options.open().await?;
        self.socket.change(|state| {
            state.connection = connection;
            state.phase = Phase::Connecting;
            state.answered.clear();
        });
        options.enter(&self.socket).await
    }

    // --- what it is ---

    /// The id of its socket, which the server knows it by.
    ///
    /// # Panics
    /// If it is not connected.
    #[track_caller]
    pub fn id(&self) -> SocketId {
        match &self.socket.state.lock().phase {
            Phase::Connected(id) => *id,
            phase => panic!("{} has no id: it is {}", self.socket.name, shown_phase(phase)),
        }
    }

    /// Whether it is in its namespace, as far as it knows: what the server has sent counts once it has been read.
    pub fn is_connected(&self) -> bool {
        matches!(self.socket.state.lock().phase, Phase::Connected(_))
    }

    /// The transport that its connection uses now.
    pub fn transport(&self) -> Transport {
        *self.socket.connection().link.transport.lock()
    }

    /// What of its connection was compressed so far: of what it has read, and of what its messages have become on their
    /// way out. See [`ClientBuilder::per_message_deflate`] and [`ClientBuilder::accept_encoding`].
    pub fn compression(&self) -> Compression {
        *self.socket.connection().link.compression.lock()
    }

    /// Whether the server has recovered its state at the last [`Client::reconnect`].
    pub fn recovered(&self) -> bool {
        self.socket.state.lock().recovery.has_recovered()
    }

    // --- sending ---

    /// Emits an event. A tuple is sent as several arguments, `()` as none, as everywhere in roomcast.
    ///
    /// # Panics
    /// If the client is not connected, or the value cannot be sent.
    #[track_caller]
    pub fn emit(&self, event: &str, args: impl ToArgs) {
        self.send(event, Args::event(event, &args), false);
    }

    /// Sends an event and returns its id, if it wants an answer.
    #[track_caller]
    pub(crate) fn send(&self, event: &str, args: Result<Args, roomcast_protocol::ToArgsError>, ask: bool) -> u64 {
        let ClientSocket { name, namespace, .. } = &*self.socket;
        let args = args.unwrap_or_else(|error| panic!("{name}: {event} cannot be emitted: {error}"));
        assert!(
            !roomcast_protocol::RESERVED_EVENTS.contains(&event),
            "{name}: {event} is a name that Socket.IO keeps for itself"
        );
        let mut state = self.socket.state.lock();
        let Phase::Connected(_) = state.phase else {
            panic!("{name} cannot emit {event}: it is {}", shown_phase(&state.phase));
        };
        let id = state.next_id;
        state.next_id += u64::from(ask);
        // Under the lock, so that ids go out in their order.
        let link = &state.connection.link;
        link.send(link.parser.event(namespace, ask.then_some(id), &args));
        id
    }

    // --- leaving ---

    /// Leaves the namespace, as `socket.disconnect()` of the official client: with the last namespace the connection is
    /// closed too.
    pub fn disconnect(&self) {
        let connection = self.socket.connection();
        if self.is_connected() {
            connection.link.send(connection.link.parser.disconnect(&self.socket.namespace));
            if connection.link.remove(&self.socket.namespace) {
                connection.close();
            }
        }
        self.socket.left(&Disconnection::ByClient);
    }

    /// The connection is lost without a word, with all its namespaces, and with what was not written yet. The server sees
    /// the end of the stream; by polling that of the poll, if it holds one just then, as it does for an idle client.
    pub fn cut(&self) {
        self.socket.connection().cut();
    }

    /// Reads nothing from now on, in all namespaces of the connection, neither events nor pings: a client that is slow, or whose phone lost its network. What
    /// [`PIPE_BYTES`](crate::limits::PIPE_BYTES) (by polling, the answer to the poll that is held) do not hold waits in the
    /// server's outbox, until the server gives up.
    pub fn pause_reading(&self) {
        self.socket.connection().link.reading.send_replace(false);
    }

    /// Reads again.
    pub fn resume_reading(&self) {
        self.socket.connection().link.reading.send_replace(true);
    }

    /// Waits until the client has left its namespace, and says how.
    ///
    /// # Panics
    /// If it is still connected after its patience.
    #[track_caller]
    #[must_use = "await the end"]
    pub fn disconnected(&self) -> Waiting<Disconnection> {
        let (caller, socket) = (Location::caller(), self.socket.clone());
        Box::pin(async move {
            let left = socket.until(|state| match &state.phase {
                Phase::Left(reason) => Some(reason.clone()),
                _ => None,
            });
            let left = left.await;
            left.unwrap_or_else(|| {
                let unread = list(&socket.state.lock().unread);
                let text = format!("{} is still connected after {:?}; {unread}", socket.name, socket.patience);
                fail(caller, &text)
            })
        })
    }
}

fn shown_phase(phase: &Phase) -> String {
    match phase {
        Phase::Connecting => "connecting".to_owned(),
        Phase::Connected(id) => format!("connected as {id}"),
        Phase::Refused(error) => format!("refused ({error})"),
        Phase::Left(reason) => format!("disconnected ({reason})"),
    }
}
