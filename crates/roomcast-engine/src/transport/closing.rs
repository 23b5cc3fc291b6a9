//! How a WebSocket ends: close frames, and what is expected after them.

use roomcast_protocol::frame::close_frame;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

/// A close frame is queued. What the client still sends is read and discarded.
pub(super) struct Ending {
    pub(super) until: Instant,
    pub(super) handshake: CloseHandshake,
}

/// What to expect of the client once it is sent a close frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseHandshake {
    /// Its close frame is still to come.
    Awaited,
    /// Its frames cannot be understood any more. The stream is shut down behind our close frame, so that the client
    /// sees an end although its answer will not be recognised.
    Unreadable,
    /// As `Unreadable`, and the stream is shut down.
    Shut,
    /// Its close frame has come.
    Done,
}

/// The answer to a close frame, with its code and reason, as Node's `ws` sends it.
pub(super) fn echo(close: Option<(u16, &str)>) -> Vec<u8> {
    let (code, reason) = close.unzip();
    close_frame(code, reason.unwrap_or_default())
}

/// Ends a WebSocket that gets no session: writes `bytes` as they are, and closes the stream.
pub(crate) async fn refuse<S>(mut stream: S, bytes: Vec<u8>, patience: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let goodbye = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await?;
        // What the client still sends is read. Otherwise the kernel would reset the connection, perhaps before the
        // client has read `bytes`.
        let mut buffer = [0; 512];
        while stream.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(patience, goodbye).await;
}
