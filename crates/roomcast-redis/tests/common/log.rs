//! [`Log`]: everything that was logged by a test's process.

use parking_lot::Mutex;
use std::io::Write;
use std::sync::{Arc, OnceLock};

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// That of this process, which begins with the first call.
pub(crate) fn log() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    });
    log.clone()
}

impl Log {
    /// Lines that have all of these. One of them must be this test's own, a port say: other tests of the process log too.
    pub(crate) fn count(&self, texts: &[&str]) -> usize {
        let log = self.0.lock();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| texts.iter().all(|text| line.contains(text))).count()
    }

    pub(crate) fn has(&self, texts: &[&str]) -> bool {
        self.count(texts) > 0
    }
}
