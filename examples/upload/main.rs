//! Files in both directions, in chunks and at the pace of the slower side. A client that uploads sends the next chunk when the last one is
//! acknowledged, which is after it was written to the disk. When a client downloads, the server awaits `socket.ready()` before each chunk,
//! so that little waits in memory for a client that reads slowly.
//!
//! ```text
//! cargo run -p roomcast-examples --bin upload
//! ```
//!
//! A client emits `begin(size)`, which answers `{id, chunk}`; `chunk(id, offset, bytes)` for each chunk, which answers with the size so far;
//! `download(id)`, and gets `part(id, offset, bytes)` until that is answered; `progress(id)`. The files end with the server.
//!
//! Environment: `HOST`, `PORT`.

use bytes::Bytes;
use parking_lot::Mutex;
use roomcast::{DisconnectReason, Socket, SocketId, SocketIo, State};
use roomcast_examples::{Outcome, listener, stopped};
use serde_json::json;
use std::collections::HashMap;
use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// Bytes of a chunk. Below the server's `max_payload` of 1 MB, and large enough that the round trips do not count.
const CHUNK: usize = 64 * 1024;

/// The largest file, and the most files of a client that are not complete.
const LARGEST: u64 = 64 * 1024 * 1024;
const UNFINISHED: usize = 4;

/// The uploads by id.
#[derive(Clone)]
struct Uploads {
    folder: Arc<PathBuf>,
    files: Arc<Mutex<HashMap<String, Upload>>>,
}

#[derive(Clone)]
struct Upload {
    owner: SocketId,
    size: u64,
    received: u64,
    /// What is told to whoever asks for the progress of a download.
    sent: u64,
    waiting: usize,
}

impl Uploads {
    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    fn upload(&self, id: &str) -> Outcome<Upload> {
        Ok(self.files.lock().get(id).cloned().ok_or("there is no such file")?)
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Upload)) {
        if let Some(upload) = self.files.lock().get_mut(id) {
            change(upload);
        }
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("roomcast-upload-{}", SocketId::random()?));
    tokio::fs::create_dir(&folder).await?;
    let uploads = Uploads { folder: Arc::new(folder.clone()), files: Arc::default() };
    let io = SocketIo::builder().state(uploads.clone()).build();
    let clients = io.of("/");
    clients.on("begin", begin);
    clients.on("chunk", chunk);
    clients.on("download", download);
    clients.on("progress", |id: String, State(uploads): State<Uploads>| async move {
        let Upload { received, sent, waiting, .. } = uploads.upload(&id)?;
        Outcome::Ok(json!({"received": received, "sent": sent, "waiting": waiting}))
    });
    clients.on_connection(move |socket: Socket| {
        let uploads = uploads.clone();
        async move { socket.on_disconnect(move |socket, reason| give_up(socket, reason, uploads)) }
    });
    io.serve(listener().await?, stopped()?).await?;
    tokio::fs::remove_dir_all(&folder).await?;
    Ok(())
}

async fn begin(socket: Socket, size: u64, State(uploads): State<Uploads>) -> Outcome<serde_json::Value> {
    if size > LARGEST {
        return Err(format!("a file has at most {LARGEST} bytes").into());
    }
    let id = SocketId::random()?.to_string();
    {
        let mut files = uploads.files.lock();
        let unfinished = files.values().filter(|upload| upload.owner == socket.id() && upload.received < upload.size);
        if unfinished.count() >= UNFINISHED {
            return Err(format!("only {UNFINISHED} uploads at the same time").into());
        }
        files.insert(id.clone(), Upload { owner: socket.id(), size, received: 0, sent: 0, waiting: 0 });
    }
    File::create_new(uploads.path(&id)).await?;
    Ok(json!({"id": id, "chunk": CHUNK}))
}

/// Chunks come one after the other. A client that lost the connection meanwhile asks `progress` where to go on.
async fn chunk(
    socket: Socket,
    (id, offset, bytes): (String, u64, Bytes),
    State(uploads): State<Uploads>,
) -> Outcome<u64> {
    let Upload { owner, size, received, .. } = uploads.upload(&id)?;
    let end = offset.saturating_add(u64::try_from(bytes.len())?);
    if owner != socket.id() || offset != received {
        return Err(format!("expected are the bytes from {received}").into());
    }
    if bytes.len() > CHUNK || end > size {
        return Err("more than was announced".into());
    }
    let mut file = OpenOptions::new().write(true).open(uploads.path(&id)).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    file.write_all(&bytes).await?;
    file.flush().await?;
    uploads.change(&id, |upload| upload.received = end);
    Ok(end)
}

async fn download(socket: Socket, id: String, State(uploads): State<Uploads>) -> Outcome<u64> {
    let upload = uploads.upload(&id)?;
    if upload.received < upload.size {
        return Err("the upload is not complete".into());
    }
    let mut file = File::open(uploads.path(&id)).await?;
    let mut offset = 0;
    while offset < upload.size {
        let mut bytes = Vec::with_capacity(CHUNK);
        (&mut file).take(u64::try_from(CHUNK)?).read_to_end(&mut bytes).await?;
        // Waits while half a megabyte or more is on its way to this client.
        socket.ready().await?;
        let length = u64::try_from(bytes.len())?;
        socket.emit("part", (&id, offset, Bytes::from(bytes)))?;
        offset = offset.saturating_add(length);
        let waiting = socket.outstanding().bytes;
        uploads.change(&id, |upload| (upload.sent, upload.waiting) = (offset, waiting));
    }
    Ok(offset)
}

/// Removes what a client that has gone did not complete.
async fn give_up(socket: Socket, _: DisconnectReason, uploads: Uploads) -> Outcome<()> {
    let mut unfinished = Vec::new();
    uploads.files.lock().retain(|id, upload| {
        let keep = upload.owner != socket.id() || upload.received == upload.size;
        if !keep {
            unfinished.push(id.clone());
        }
        keep
    });
    for id in unfinished {
        tokio::fs::remove_file(uploads.path(&id)).await?;
    }
    Ok(())
}
