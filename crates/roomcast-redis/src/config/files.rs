//! Reads an operator's files: passwords, certificates, keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads a file of at most `most` bytes, on a thread that may block. The error says what is wrong, but neither names
/// the file nor quotes it.
pub(crate) async fn read(path: Arc<PathBuf>, most: u64) -> Result<Vec<u8>, String> {
    let read = tokio::task::spawn_blocking(move || read_now(&path, most)).await;
    read.map_err(|_| "the runtime is ending".to_owned())?
}

/// Like [`read`], on the current thread, which must be one that may block.
pub(crate) fn read_now(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let text = |error: io::Error| error.to_string();
    // A pipe or a device may never end, and opening a pipe may block forever.
    if !std::fs::metadata(path).map_err(text)?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    // Not the size from above: the file may have grown since.
    File::open(path).map_err(text)?.take(most + 1).read_to_end(&mut bytes).map_err(text)?;
    if bytes.len() as u64 > most { Err(format!("it is too large; {most} bytes are allowed")) } else { Ok(bytes) }
}

/// A temporary file for a test, removed on drop.
#[cfg(test)]
pub(crate) struct Scratch(PathBuf);

#[cfg(test)]
impl Scratch {
    pub(crate) fn new(content: &[u8]) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("roomcast-file-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
