//! [`ReadBuffer`]: what a thread reads into.

use crate::limits::READ_BUFFER;
use std::cell::Cell;

/// The thread's read buffer, on loan. If a handler makes this thread poll another connection meanwhile, that connection
/// gets a buffer of its own.
pub(crate) struct ReadBuffer(pub(crate) Vec<u8>);

thread_local! {
    static READ_STORAGE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl ReadBuffer {
    pub(crate) fn take() -> Self {
        let mut buffer = READ_STORAGE.take();
        if buffer.is_empty() {
            buffer.resize(READ_BUFFER, 0);
        }
        Self(buffer)
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        READ_STORAGE.set(std::mem::take(&mut self.0));
    }
}
