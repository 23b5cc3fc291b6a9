//! Numbers as JavaScript spells them.

use serde_json::ser::{CompactFormatter, Formatter};
use std::io;

/// A finite number as JavaScript spells it. An event whose name is a number is called by this.
pub(crate) fn javascript(value: f64) -> String {
    let mut text = Vec::new();
    // Writing to a vector cannot fail, and what is written is ASCII.
    let _ = write_f64(&mut text, value);
    String::from_utf8(text).unwrap_or_default()
}

pub(crate) fn write_f64<W: ?Sized + io::Write>(writer: &mut W, value: f64) -> io::Result<()> {
    write_number(writer, value, |json| CompactFormatter.write_f64(json, value))
}

pub(crate) fn write_f32<W: ?Sized + io::Write>(writer: &mut W, value: f32) -> io::Result<()> {
    write_number(writer, f64::from(value), |json| CompactFormatter.write_f32(json, value))
}

/// Writes a finite float as JavaScript spells it: `3.0` as `3`, `-0.0` as `0`, `1e21` as `1e+21`, and decimals from
/// 1e-7 up to 1e21.
fn write_number<W: ?Sized + io::Write>(
    writer: &mut W,
    value: f64,
    rust: impl FnOnce(&mut &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    if value == 0.0 {
        return writer.write_all(b"0");
    }
    // 24 bytes hold the shortest form of any double.
    let mut buffer = [0u8; 32];
    let mut free = &mut buffer[..];
    rust(&mut free)?;
    let length = 32 - free.len();
    let text = buffer.get(..length).unwrap_or_default();
    let magnitude = value.abs();
    if let Some(integer) = text.strip_suffix(b".0") {
        return writer.write_all(integer);
    }
    let Some(e) = text.iter().position(|byte| *byte == b'e') else {
        if magnitude >= 1e-6 {
            return writer.write_all(text);
        }
        return write_exponent(writer, value);
    };
    if (1e-6..1e21).contains(&magnitude) {
        return write!(writer, "{value}");
    }
    let (mantissa, exponent) = (text.get(..e).unwrap_or_default(), text.get(e + 1..).unwrap_or_default());
    writer.write_all(mantissa.strip_suffix(b".0").unwrap_or(mantissa))?;
    writer.write_all(b"e")?;
    if !exponent.starts_with(b"-") && !exponent.starts_with(b"+") {
        writer.write_all(b"+")?;
    }
    writer.write_all(exponent)
}

/// A number under 1e-6 that Rust writes as a decimal and JavaScript with an exponent.
fn write_exponent<W: ?Sized + io::Write>(writer: &mut W, value: f64) -> io::Result<()> {
    write!(writer, "{value:e}")
}
