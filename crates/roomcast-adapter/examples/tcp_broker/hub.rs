//! [`Hub`]: stands in for your message system. It passes frames on to whoever has their namespace open.

use parking_lot::Mutex;
use roomcast_adapter::cluster::codec;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Most frames that wait for one connection. A connection that does not read them is closed; its broker reconnects.
const MAX_WAITING: usize = 100_000;

/// From now on the connection gets the frames that are published in the namespace. The same frame confirms it.
pub(crate) const SUBSCRIBE: u8 = 1;
/// Goes to every connection that has the namespace open.
pub(crate) const PUBLISH: u8 = 2;
/// Answered with the number of connections that have the namespace open, in eight bytes, after all before it.
pub(crate) const COUNT: u8 = 3;

/// On the wire: length, kind, length of the namespace, namespace, body.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) namespace: Arc<str>,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    pub(crate) fn bytes(kind: u8, namespace: &str, body: &[u8]) -> Vec<u8> {
        let length = (1 + 2 + namespace.len() + body.len()) as u32;
        let name = (namespace.len() as u16).to_be_bytes();
        [&length.to_be_bytes()[..], &[kind], &name, namespace.as_bytes(), body].concat()
    }

    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let length = u64::from(from.read_u32().await?);
        if length > codec::MAX_BYTES as u64 + 1_024 {
            return Err(malformed());
        }
        let mut bytes = Vec::new();
        from.take(length).read_to_end(&mut bytes).await?;
        let mut rest = &bytes[..];
        let (kind, name) = (rest.read_u8().await?, rest.read_u16().await?);
        let (namespace, body) = rest.split_at_checked(usize::from(name)).ok_or_else(malformed)?;
        let namespace = std::str::from_utf8(namespace).map_err(|_| malformed())?.into();
        Ok(Self { kind, namespace, body: body.to_vec() })
    }
}

/// Its connections by number.
#[derive(Debug, Default)]
pub struct Hub(Mutex<HashMap<u64, Connection>>);

#[derive(Debug)]
struct Connection {
    open: Option<Arc<str>>,
    queue: mpsc::Sender<Vec<u8>>,
}

impl Hub {
    /// Serves brokers until the future is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let mut connections = tokio::task::JoinSet::new();
        for number in 0.. {
            let (stream, _) = listener.accept().await?;
            connections.spawn(self.clone().connection(number, stream));
            while connections.try_join_next().is_some() {}
        }
        Ok(())
    }

    async fn connection(self: Arc<Self>, number: u64, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (mut reader, mut writer) = stream.into_split();
        let (queue, mut frames) = mpsc::channel::<Vec<u8>>(MAX_WAITING);
        self.0.lock().insert(number, Connection { open: None, queue });
        let reading = async {
            while let Ok(frame) = Frame::read(&mut reader).await {
                self.take(number, frame);
            }
        };
        let writing = async {
            // It ends when the connection was closed, which drops the queue's other end.
            while let Some(frame) = frames.recv().await {
                if writer.write_all(&frame).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
        self.0.lock().remove(&number);
    }

    fn take(&self, number: u64, Frame { kind, namespace, body }: Frame) {
        let mut connections = self.0.lock();
        let has_open = |connection: &Connection| connection.open.as_ref() == Some(&namespace);
        if kind == PUBLISH {
            let message = Frame::bytes(PUBLISH, &namespace, &body);
            return connections.retain(|_, it| !has_open(it) || it.queue.try_send(message.clone()).is_ok());
        }
        let count = connections.values().filter(|it| has_open(it)).count() as u64;
        let answer = Frame::bytes(kind, &namespace, &count.to_be_bytes());
        let Some(connection) = connections.get_mut(&number) else { return };
        if kind == SUBSCRIBE {
            connection.open = Some(namespace);
        }
        if connection.queue.try_send(answer).is_err() {
            connections.remove(&number);
        }
    }
}
