//! [`Connection`]: an Engine.IO session as its client sees it. It carries the sockets of the client, one for each
//! namespace, and hands them what the server sends.

use crate::compression::Compression;
use crate::disconnection::Disconnection;
use crate::http::Http;
use crate::packed;
use parking_lot::Mutex;
use roomcast_protocol::{
    Args, ArgsRef, Decoder, DecoderLimits, EngineData, EngineKind, EnginePacket, Packet, Parser, Received, Unpacked,
};
use roomcast_server::Transport;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

/// What the writing task of a transport is to do, in order.
#[derive(Debug)]
pub(crate) enum Out {
    Packet(Packet),
    /// A WebSocket frame that carries no packet.
    Frame(Vec<u8>),
    /// Tell when the server has taken everything before this.
    Fence(oneshot::Sender<()>),
    /// Close the session as a client does.
    Close,
    /// Drop the connection.
    Leave,
    /// Hand the rest to another transport.
    HandOver(oneshot::Sender<mpsc::UnboundedReceiver<Out>>),
}

/// Whether the client asks for what the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Polls {
    Go,
    /// The next answer is the last one.
    Ending,
    Over,
}

/// A socket of the client, as its connection sees it.
pub(crate) trait Receiver: Send + Sync {
    /// The server has accepted it; `json` is the answer's payload.
    fn connected(&self, json: &str);
    /// The server has refused it.
    fn refused(&self, json: &str);
    /// It has left its namespace. Only the first reason counts.
    fn left(&self, reason: &Disconnection);
    /// Takes an event, and returns the answer if it has one ready.
    fn event(&self, event: &str, id: Option<u64>, args: ArgsRef<'_>) -> Option<(u64, Args)>;
    /// Takes the server's answer to the event with that id.
    fn answered(&self, id: u64, args: Args);
}

/// The end of a connection that the client holds.
pub(crate) struct Connection {
    pub(crate) http: Http,
    pub(crate) sid: String,
    pub(crate) link: Arc<Link>,
    pub(crate) tasks: Mutex<Vec<AbortHandle>>,
}

/// What the tasks of a connection share.
pub(crate) struct Link {
    pub(crate) out: mpsc::UnboundedSender<Out>,
    pub(crate) parser: Parser,
    limits: DecoderLimits,
    /// Most bytes of a POST.
    pub(crate) max_payload: usize,
    pub(crate) transport: Mutex<Transport>,
    pub(crate) compression: Mutex<Compression>,
    /// Whether the client reads.
    pub(crate) reading: watch::Sender<bool>,
    pub(crate) polls: watch::Sender<Polls>,
    /// Those who wait for the answer to a ping of the WebSocket.
    pub(crate) fences: Mutex<VecDeque<oneshot::Sender<()>>>,
    pub(crate) is_closing: AtomicBool,
    sockets: Mutex<HashMap<String, Weak<dyn Receiver>>>,
    decoder: Mutex<Decoder>,
    ended: Mutex<Option<Disconnection>>,
}

impl Link {
    pub(crate) fn new(
        out: mpsc::UnboundedSender<Out>,
        parser: Parser,
        max_payload: usize,
        transport: Transport,
    ) -> Arc<Self> {
        // A client bounds nothing: it trusts its server.
        let limits = DecoderLimits { max_attachments: usize::MAX, max_bytes: usize::MAX, ..DecoderLimits::default() };
        Arc::new(Self {
            out,
            parser,
            limits,
            max_payload,
            transport: Mutex::new(transport),
            compression: Mutex::default(),
            reading: watch::Sender::new(true),
            polls: watch::Sender::new(Polls::Go),
            fences: Mutex::default(),
            is_closing: AtomicBool::new(false),
            sockets: Mutex::default(),
            decoder: Mutex::new(Decoder::new(limits)),
            ended: Mutex::new(None),
        })
    }

    /// Gives the writing task something to do. If the task has ended, so has the connection, which those who wait see.
    pub(crate) fn put(&self, out: Out) {
        drop(self.out.send(out));
    }

    pub(crate) fn send<E: fmt::Display>(&self, packet: Result<Packet, E>) {
        match packet {
            Ok(packet) => self.put(Out::Packet(packet)),
            Err(error) => panic!("a client's packet cannot be sent: {error}"),
        }
    }

    /// Adds a socket. `false`: the connection has one in its namespace already.
    pub(crate) fn add<R: Receiver + 'static>(&self, namespace: &str, socket: &Arc<R>) -> bool {
        let mut sockets = self.sockets.lock();
        if sockets.get(namespace).is_some_and(|other| other.strong_count() > 0) {
            return false;
        }
        let weak: Weak<R> = Arc::downgrade(socket);
        sockets.insert(namespace.to_owned(), weak);
        let ended = self.ended.lock().clone();
        drop(sockets);
        if let Some(reason) = ended {
            socket.left(&reason);
        }
        true
    }

    /// Takes a socket out. Returns whether it was the last one.
    pub(crate) fn remove(&self, namespace: &str) -> bool {
        let mut sockets = self.sockets.lock();
        sockets.remove(namespace);
        sockets.values().all(|socket| socket.strong_count() == 0)
    }

    fn socket(&self, namespace: &str) -> Option<Arc<dyn Receiver>> {
        self.sockets.lock().get(namespace)?.upgrade()
    }

    /// The connection has ended. Only the first reason counts.
    pub(crate) fn end(&self, reason: &Disconnection) {
        self.ended.lock().get_or_insert_with(|| reason.clone());
        self.fences.lock().clear();
        self.polls.send_replace(Polls::Over);
        // They may connect again, over another connection, and then this one does not concern them any more.
        let sockets = std::mem::take(&mut *self.sockets.lock());
        sockets.values().filter_map(Weak::upgrade).for_each(|socket| socket.left(reason));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.lock().is_some()
    }

    /// Takes a text of the server: one Engine.IO packet.
    pub(crate) fn text(&self, text: &str) {
        let Ok(packet) = EnginePacket::from_text(text) else {
            return self.end(&Disconnection::ParseError(format!("{text:?}")));
        };
        match (packet.kind, packet.data) {
            (EngineKind::Ping, _) => self.send(Packet::engine(EngineKind::Pong, "")),
            (EngineKind::Close, _) => self.end(&Disconnection::TransportClose),
            (EngineKind::Message, EngineData::Text(text)) => self.message(text),
            (EngineKind::Message, EngineData::Binary(bytes)) => self.binary(&bytes),
            _ => {}
        }
    }

    /// Takes a binary message of the server: an attachment, or a packet in MessagePack.
    pub(crate) fn binary(&self, bytes: &[u8]) {
        if self.parser == Parser::MessagePack {
            return self.packed(bytes);
        }
        let assembled = self.decoder.lock().binary(bytes);
        match assembled {
            Ok(Some(packet)) => self.received(packet.received()),
            Ok(None) => {}
            Err(error) => self.end(&Disconnection::ParseError(error.to_string())),
        }
    }

    fn message(&self, text: &str) {
        if self.parser == Parser::MessagePack {
            return self.end(&Disconnection::ParseError(format!("text, and not MessagePack: {text:?}")));
        }
        let received = self.decoder.lock().text(text);
        match received {
            // The decoder is that of a server, which has no use for what a refusal says.
            Ok(Some(Received::ConnectError { namespace })) => {
                let json = text.get(1..).unwrap_or_default();
                let json = json.strip_prefix(namespace).and_then(|json| json.strip_prefix(',')).unwrap_or(json);
                if let Some(socket) = self.socket(namespace) {
                    socket.refused(json);
                }
            }
            Ok(Some(received)) => self.received(received),
            Ok(None) => {}
            Err(error) => self.end(&Disconnection::ParseError(format!("{error}: {text:?}"))),
        }
    }

    fn packed(&self, bytes: &[u8]) {
        match Unpacked::read(bytes, self.limits) {
            Ok(unpacked) => match unpacked.received() {
                Received::ConnectError { namespace } => {
                    if let Some(socket) = self.socket(namespace) {
                        socket.refused(&packed::data(bytes).unwrap_or_else(|error| error.to_string()));
                    }
                }
                received => self.received(received),
            },
            Err(error) => self.end(&Disconnection::ParseError(error.to_string())),
        }
    }

    fn received(&self, received: Received<'_>) {
        match received {
            Received::Connect { namespace, auth } => {
                if let Some(socket) = self.socket(namespace) {
                    socket.connected(auth.unwrap_or("{}"));
                }
            }
            Received::Disconnect { namespace } => {
                if let Some(socket) = self.socket(namespace) {
                    self.remove(namespace);
                    socket.left(&Disconnection::ByServer);
                }
            }
            Received::Event { namespace, id, event } => {
                let Some(socket) = self.socket(namespace) else { return };
                if let Some((id, answer)) = socket.event(&event.name, id, event.args) {
                    self.send(self.parser.ack(namespace, id, &answer));
                }
            }
            Received::Ack { namespace, id: Some(id), args } => {
                if let Some(socket) = self.socket(namespace) {
                    socket.answered(id, args.to_owned());
                }
            }
            Received::Ack { id: None, .. } | Received::ConnectError { .. } => {}
        }
    }
}

impl Connection {
    /// Drops the stream without a word, with what was not written yet.
    pub(crate) fn cut(&self) {
        self.link.end(&Disconnection::Cut);
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }

    /// Closes the session, after what was sent before.
    pub(crate) fn close(&self) {
        self.link.is_closing.store(true, SeqCst);
        self.link.put(Out::Close);
    }

    /// Waits until the server has taken what was sent, and has answered. It does not wait if it would in vain: for a
    /// client that does not read, or a connection that has ended.
    pub(crate) async fn fence(&self) {
        if self.link.has_ended() || !*self.link.reading.borrow() {
            return;
        }
        let (done, fenced) = oneshot::channel();
        self.link.put(Out::Fence(done));
        // An error says that the connection has ended meanwhile.
        drop(fenced.await);
    }
}

/// As a closed tab: what was sent goes out, and then the stream ends.
impl Drop for Connection {
    fn drop(&mut self) {
        self.link.put(Out::Leave);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = self.link.transport.lock();
        f.debug_struct("Connection").field("transport", &*transport).finish_non_exhaustive()
    }
}
