//! [`compress_body`]: a body of HTTP in the two forms that browsers accept.

use super::compress::with_body;
use flate2::Crc;

/// The form of a compressed body: a value of `Content-Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `gzip` (RFC 1952).
    Gzip,
    /// `deflate`: a zlib stream (RFC 1950).
    Zlib,
}

impl Format {
    /// As `Content-Encoding` names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zlib => "deflate",
        }
    }
}

/// Magic number, method, no flags, no time, no level, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A window of 32 KiB, the default level, and the check of both.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x9c];

/// Compresses a body with the thread's compressor. `None`: it does not become smaller, or has more than
/// [`DEFLATE_LARGEST`](crate::limits::DEFLATE_LARGEST) bytes.
pub fn compress_body(body: &[u8], format: Format, level: u8) -> Option<Vec<u8>> {
    let (header, trailer): (&[u8], Vec<u8>) = match format {
        Format::Gzip => {
            let mut crc = Crc::new();
            crc.update(body);
            (&GZIP_HEADER, [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat())
        }
        Format::Zlib => (&ZLIB_HEADER, adler32(body).to_be_bytes().to_vec()),
    };
    let whole = with_body(body, level, |stream| [header, stream, &trailer].concat())?;
    (whole.len() < body.len()).then_some(whole)
}

/// RFC 1950, section 8.2.
fn adler32(bytes: &[u8]) -> u32 {
    /// The largest prime below 65,536.
    const MODULUS: u32 = 65_521;
    /// So many bytes cannot overflow the sums.
    const STRETCH: usize = 5_552;
    let (mut low, mut high) = (1, 0);
    for stretch in bytes.chunks(STRETCH) {
        for byte in stretch {
            low += u32::from(*byte);
            high += low;
        }
        (low, high) = (low % MODULUS, high % MODULUS);
    }
    (high << 16) | low
}
