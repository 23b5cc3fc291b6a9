//! [`inflate`]: one message of permessage-deflate, bounded.

use super::compress::TAIL;
use flate2::{Decompress, FlushDecompress, Status};
use std::cell::RefCell;

/// Why a message cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It has more bytes than allowed.
    #[error("the message inflates to more than max_payload")]
    TooLong,
    /// It is not a complete DEFLATE stream of a single message.
    #[error("the compressed message is damaged")]
    Damaged,
}

thread_local! {
    static INFLATER: RefCell<Option<Decompress>> = const { RefCell::new(None) };
}

/// An empty last block. It is read as that only if the message is complete, so it tells a truncated one.
const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// The bytes of a message of permessage-deflate, at most `most`. No more than `most` is ever allocated, whatever the
/// message inflates to.
///
/// # Errors
/// [`InflateError`].
pub fn inflate(message: &[u8], most: usize) -> Result<Vec<u8>, InflateError> {
    let inflated = INFLATER.try_with(|slot| {
        let mut slot = slot.try_borrow_mut().map_err(|_| InflateError::Damaged)?;
        let state = slot.get_or_insert_with(|| Decompress::new(false));
        state.reset(false);
        // Text becomes some four times as long.
        let out = Vec::with_capacity(message.len().saturating_mul(4).min(most));
        Inflating { state, out, most }.run(message)
    });
    inflated.unwrap_or(Err(InflateError::Damaged))
}

struct Inflating<'a> {
    state: &'a mut Decompress,
    out: Vec<u8>,
    most: usize,
}

impl Inflating<'_> {
    fn run(mut self, message: &[u8]) -> Result<Vec<u8>, InflateError> {
        if let Some(left) = self.feed(message)? {
            // A client may mark its last block as the last; a zero completes it (RFC 7692, section 7.2.3.4).
            return if matches!(left, [] | [0]) { Ok(self.out) } else { Err(InflateError::Damaged) };
        }
        match (self.feed(&TAIL)?, self.feed(&LAST_BLOCK)?) {
            (None, Some([])) => Ok(self.out),
            _ => Err(InflateError::Damaged),
        }
    }

    /// Takes in all of `input`. Returns what is left of it if the stream ends before.
    fn feed<'i>(&mut self, mut input: &'i [u8]) -> Result<Option<&'i [u8]>, InflateError> {
        loop {
            self.grow();
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let full = self.out.len() >= self.most;
            let status = if full {
                self.state.decompress(input, &mut [0], FlushDecompress::Sync)
            } else {
                self.state.decompress_vec(input, &mut self.out, FlushDecompress::Sync)
            };
            let status = status.map_err(|_| InflateError::Damaged)?;
            let read = self.state.total_in() - read;
            let written = self.state.total_out() - written;
            if full && written > 0 {
                return Err(InflateError::TooLong);
            }
            input = input.get(read as usize..).unwrap_or_default();
            if self.out.len() > self.most {
                return Err(InflateError::TooLong);
            }
            let has_room = full || self.out.len() < self.out.capacity();
            match status {
                Status::StreamEnd => return Ok(Some(input)),
                _ if input.is_empty() && has_room => return Ok(None),
                _ if read == 0 && written == 0 && has_room => return Err(InflateError::Damaged),
                _ => {}
            }
        }
    }

    /// Doubles a buffer that is full, up to the bound.
    fn grow(&mut self) {
        let length = self.out.len();
        if length == self.out.capacity() && length < self.most {
            let next = length.saturating_mul(2).max(64).min(self.most);
            self.out.reserve_exact(next - length);
        }
    }
}
