//! [`Tap`]: a TCP proxy between a server and Redis that counts what Redis sends.

use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The text in a pushed message before its channel, or before the pattern that it matches.
const MESSAGE: &[u8] = b"message\r\n$";

/// Enough bytes for the channel's length, and the part of its name that tells its purpose.
const HEAD: usize = 64;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Read {
    /// On all its connections.
    pub(crate) bytes: u64,
    pub(crate) broadcasts: u64,
    /// Messages on other channels: servers announce themselves, and answer.
    pub(crate) others: u64,
}

/// It ends on drop.
pub(crate) struct Tap {
    port: u16,
    read: Arc<Mutex<Read>>,
    accepting: AbortHandle,
}

impl Tap {
    pub(crate) async fn start(redis: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (port, read) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Read>>::default());
        let counted = read.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((server, _)) = listener.accept().await {
                tokio::spawn(carry(server, redis, counted.clone()));
            }
        });
        Self { port, read, accepting: accepting.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn read(&self) -> Read {
        *self.read.lock()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(server: TcpStream, redis: u16, read: Arc<Mutex<Read>>) -> io::Result<()> {
    let redis = TcpStream::connect(("127.0.0.1", redis)).await?;
    for stream in [&server, &redis] {
        stream.set_nodelay(true)?;
    }
    let (mut from_server, mut to_server) = server.into_split();
    let (mut from_redis, mut to_redis) = redis.into_split();
    tokio::select! {
        done = tokio::io::copy(&mut from_server, &mut to_redis) => done.map(drop),
        done = counted(&mut from_redis, &mut to_server, &read) => done,
    }
}

/// Counts bytes before it passes them on, so that everything a server has got is counted.
async fn counted(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, read: &Mutex<Read>) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let kept = buffer.len();
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let searched = {
            let mut read = read.lock();
            read.bytes += (buffer.len() - kept) as u64;
            count(&buffer, &mut read)
        };
        to.write_all(&buffer[kept..]).await?;
        // An incomplete message is searched again together with the next bytes.
        buffer.drain(..searched);
    }
}

/// Counts the messages in these bytes; their texts do not contain [`MESSAGE`]. Returns how many bytes need not be
/// searched again.
fn count(bytes: &[u8], read: &mut Read) -> usize {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(MESSAGE.len()).position(|window| window == MESSAGE) {
        let begin = at + found + MESSAGE.len();
        let Some(head) = bytes.get(begin..begin + HEAD) else { return at + found };
        // `19\r\nsocket.io-roomcast#`, `14\r\nsocket.io#/#e#`
        if head.windows(11).any(|window| window == b"socket.io#/") {
            read.broadcasts += 1;
        } else {
            read.others += 1;
        }
        at = begin;
    }
    at.max(bytes.len().saturating_sub(MESSAGE.len()))
}
