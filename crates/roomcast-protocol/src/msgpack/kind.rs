//! [`Kind`]: what a value is.

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// nil, JavaScript's `null`.
    Nil,
    /// notepack's own form of `undefined` (`d4 00`): socket.io-msgpack-parser's way to say "absent".
    Undefined,
    /// A boolean.
    Bool,
    /// An integer, signed or not.
    Int,
    /// A float of 32 or 64 bits.
    Float,
    /// Text.
    Str,
    /// Bytes; notepack's ext 0 is among them.
    Bin,
    /// An array.
    Array,
    /// A map.
    Map,
    /// Any other extension, dates included.
    Ext,
}
