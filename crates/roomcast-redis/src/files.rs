//! Reading files of an operator: passwords, certificates, keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads a file off the runtime's threads. The error says what is wrong, and neither which file it is nor what is in it.
pub(crate) async fn read(path: Arc<PathBuf>, most: u64) -> Result<Vec<u8>, String> {
    let read = tokio::task::spawn_blocking(move || read_now(&path, most)).await;
    read.map_err(|_| "the runtime is ending".to_owned())?
}

/// The same on this thread, which must be one that may block.
pub(crate) fn read_now(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| error.to_string();
    // A pipe or a device may never end, and opening a pipe may wait for ever.
    if !std::fs::metadata(path).map_err(told)?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    // It may have grown since.
    File::open(path).map_err(told)?.take(most + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > most { Err(format!("it is too large; it has {most} bytes at most")) } else { Ok(bytes) }
}

/// A file of a test, which goes with it.
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
