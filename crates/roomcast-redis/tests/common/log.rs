//! [`Log`]: the log lines while a test runs.

use parking_lot::Mutex;
use std::io::Write;
use std::sync::{Arc, OnceLock};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines of one test, and of tests that run beside it.
pub(crate) struct Log {
    lines: Lines,
    /// Where the test began. Earlier lines may be of a test that had the same port.
    from: usize,
}

/// The lines that are logged from now on.
pub(crate) fn log() -> Log {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        lines
    });
    Log { lines: lines.clone(), from: lines.0.lock().len() }
}

impl Log {
    /// How many lines contain all of these texts. One text must be specific to this test, such as a port: other tests
    /// of the process log too.
    pub(crate) fn count(&self, texts: &[&str]) -> usize {
        let lines = self.lines.0.lock();
        let lines = String::from_utf8_lossy(&lines[self.from..]);
        lines.lines().filter(|line| texts.iter().all(|text| line.contains(text))).count()
    }

    pub(crate) fn has(&self, texts: &[&str]) -> bool {
        self.count(texts) > 0
    }
}
