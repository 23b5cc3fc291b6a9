//! [`Item`]: one value of MessagePack.

use super::kind::Kind;

/// One value, or the header of an array or map: the values inside come next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item<'a> {
    Nil,
    Undefined,
    Bool(bool),
    Uint(u64),
    /// A negative integer.
    Int(i64),
    Float(f64),
    Str(&'a [u8]),
    Bin(&'a [u8]),
    Array(u32),
    Map(u32),
    /// notepack 2's Date: milliseconds.
    Date(i64),
    Ext(i8, &'a [u8]),
}

impl Item<'_> {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Nil => Kind::Nil,
            Self::Undefined => Kind::Undefined,
            Self::Bool(_) => Kind::Bool,
            Self::Uint(_) | Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Str(_) => Kind::Str,
            Self::Bin(_) => Kind::Bin,
            Self::Array(_) => Kind::Array,
            Self::Map(_) => Kind::Map,
            Self::Date(_) | Self::Ext(..) => Kind::Ext,
        }
    }
}
