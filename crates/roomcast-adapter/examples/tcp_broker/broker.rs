//! [`TcpBroker`]: what you write to connect a message system of your own.

use super::hub::{COUNT, Frame, PUBLISH, SUBSCRIBE};
use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Arrival, Broker, BrokerError, Count, Inbox, Outcome, Outgoing, ServerId, codec};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Most time that the hub has to answer.
const HUB_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two attempts to connect.
const RETRY: Duration = Duration::from_millis(50);

/// The broker of one server: a connection for each open namespace, and one for publishing and counting.
#[derive(Debug)]
pub struct TcpBroker {
    hub: SocketAddr,
    open: Mutex<HashMap<Arc<str>, JoinHandle<()>>>,
    publisher: tokio::sync::Mutex<Option<TcpStream>>,
}

impl TcpBroker {
    /// A broker that connects to the hub at `hub` when it needs to.
    pub fn new(hub: SocketAddr) -> Arc<Self> {
        Arc::new(Self { hub, open: Mutex::default(), publisher: tokio::sync::Mutex::default() })
    }

    /// Sends frames, then asks how many have the namespace open: the answer shows that the hub has the frames, too.
    async fn send(&self, frames: Vec<u8>, namespace: &str) -> io::Result<usize> {
        let mut publisher = self.publisher.lock().await;
        // Taken out, so that a connection that failed, or whose call was dropped halfway, is not used again.
        let mut stream = match publisher.take() {
            Some(stream) => stream,
            None => connect(self.hub).await?,
        };
        let all = [frames, Frame::bytes(COUNT, namespace, b"")].concat();
        let asking = async {
            stream.write_all(&all).await?;
            Frame::read(&mut stream).await
        };
        let answer = timeout(HUB_TIMEOUT, asking).await??;
        *publisher = Some(stream);
        Ok(answer.body.try_into().map_or(0, u64::from_be_bytes) as usize)
    }
}

async fn connect(hub: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(HUB_TIMEOUT, TcpStream::connect(hub)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Receives a namespace's messages until the connection ends. (If the network fails silently, that is noticed late: a
/// real broker would ping.)
async fn hear(hub: SocketAddr, namespace: &str, inbox: &dyn Inbox, connected: &mut bool) -> io::Result<()> {
    let mut stream = BufReader::new(connect(hub).await?);
    stream.write_all(&Frame::bytes(SUBSCRIBE, namespace, b"")).await?;
    loop {
        let frame = Frame::read(&mut stream).await?;
        if frame.kind == SUBSCRIBE {
            *connected = true;
            inbox.connected();
            continue;
        }
        inbox.receive(vec![match codec::decode(&frame.body) {
            Ok(message) => Arrival::Message(message),
            Err(error) => Arrival::Malformed(error.to_string()),
        }]);
    }
}

#[async_trait]
impl Broker for TcpBroker {
    fn open(&self, namespace: &Arc<str>, _: &ServerId, inbox: Arc<dyn Inbox>) {
        let (hub, name) = (self.hub, namespace.clone());
        let hearing = async move {
            loop {
                let mut connected = false;
                let _ = hear(hub, &name, &*inbox, &mut connected).await;
                if connected {
                    inbox.lost();
                }
                sleep(RETRY).await;
            }
        };
        self.open.lock().entry(namespace.clone()).or_insert_with(|| tokio::spawn(hearing));
    }

    async fn close(&self, namespace: &str) {
        let hearing = self.open.lock().remove(namespace);
        if let Some(hearing) = hearing {
            hearing.abort();
            // It may be handing over a message.
            let _ = hearing.await;
        }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        let (mut frames, mut outcomes) = (Vec::new(), Vec::new());
        for outgoing in batch {
            let message = codec::encode(&outgoing.message);
            if message.len() > codec::MAX_BYTES {
                outcomes.push(Outcome::Never("the message is too large".to_owned()));
                continue;
            }
            outcomes.push(Outcome::Sent);
            frames.extend(Frame::bytes(PUBLISH, &outgoing.namespace, &message));
        }
        if let Err(error) = self.send(frames, "").await {
            let unsent = outcomes.iter_mut().filter(|outcome| **outcome == Outcome::Sent);
            unsent.for_each(|outcome| *outcome = Outcome::Again(error.to_string()));
        }
        outcomes
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        let counted = self.send(Vec::new(), namespace).await;
        counted.map(|servers| Some(Count::of(servers))).map_err(|error| BrokerError(error.to_string()))
    }
}

impl Drop for TcpBroker {
    fn drop(&mut self) {
        self.open.get_mut().values().for_each(JoinHandle::abort);
    }
}
