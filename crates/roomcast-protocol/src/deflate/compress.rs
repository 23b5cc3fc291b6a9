//! The thread's compressor: raw DEFLATE of one message or body.

use crate::limits::{DEFLATE_KEPT, DEFLATE_LARGEST};
use flate2::{Compress, Compression, FlushCompress, Status};
use std::cell::RefCell;

/// What a thread that compresses keeps.
struct Compressor {
    level: u8,
    state: Compress,
    /// What came out, until it is copied to where it belongs.
    out: Vec<u8>,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor>> = const { RefCell::new(None) };
}

/// What a flush without an end adds, and permessage-deflate leaves out (RFC 7692, section 7.2.1).
pub(super) const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Compresses one message of permessage-deflate, and passes the result on. `None`: it does not become smaller, or is
/// larger than [`DEFLATE_LARGEST`].
pub(crate) fn with_message<R>(payload: &[u8], level: u8, use_it: impl FnOnce(&[u8]) -> R) -> Option<R> {
    with_deflated(payload, level, FlushCompress::Sync, |bytes| {
        let bytes = bytes.strip_suffix(&TAIL)?;
        (bytes.len() < payload.len()).then(|| use_it(bytes))
    })
}

/// Compresses one message of permessage-deflate, to be sent with
/// [`push_compressed_frame`](crate::frame::push_compressed_frame). `None`: it does not become smaller, or is larger than
/// [`DEFLATE_LARGEST`]. A [`Packet`](crate::Packet) does this itself.
pub fn compress_message(message: &[u8], level: u8) -> Option<Vec<u8>> {
    with_message(message, level, <[u8]>::to_vec)
}

/// Compresses a whole body, and passes on the raw stream.
pub(super) fn with_body<R>(payload: &[u8], level: u8, use_it: impl FnOnce(&[u8]) -> R) -> Option<R> {
    with_deflated(payload, level, FlushCompress::Finish, |bytes| Some(use_it(bytes)))
}

fn with_deflated<R>(
    payload: &[u8],
    level: u8,
    flush: FlushCompress,
    use_it: impl FnOnce(&[u8]) -> Option<R>,
) -> Option<R> {
    if payload.len() > DEFLATE_LARGEST {
        return None;
    }
    let level = level.clamp(1, 9);
    let used = COMPRESSOR.try_with(|slot| {
        // `use_it` does not compress.
        let mut slot = slot.try_borrow_mut().ok()?;
        let compressor = match &mut *slot {
            Some(compressor) if compressor.level == level => {
                compressor.state.reset();
                compressor
            }
            other => {
                let state = Compress::new(Compression::new(u32::from(level)), false);
                other.insert(Compressor { level, state, out: Vec::new() })
            }
        };
        let Compressor { state, out, .. } = compressor;
        out.clear();
        // What does not fit this is not worth it.
        out.reserve(payload.len());
        let status = state.compress_vec(payload, out, flush).ok()?;
        let done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            // Something may be left inside if the buffer is full.
            _ => state.total_in() == payload.len() as u64 && out.len() < out.capacity(),
        };
        let result = if done { use_it(out) } else { None };
        if out.capacity() > DEFLATE_KEPT {
            *out = Vec::new();
        }
        result
    });
    used.ok().flatten()
}
