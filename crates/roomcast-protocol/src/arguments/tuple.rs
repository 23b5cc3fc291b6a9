//! Which types are tuples: only they stand for several arguments.

use std::any::type_name;

/// Whether `T` is a tuple, `()`, or a reference to one.
///
/// serde has one shape for tuples, fixed arrays, and the vectors of three floats of some libraries; the compiler's name
/// of a type distinguishes them. The test below fails if a compiler ever spells tuples differently; then they would be
/// one argument, an array.
pub(crate) fn is_tuple<T: ?Sized>() -> bool {
    let mut name = type_name::<T>();
    while let Some(referenced) = name.strip_prefix('&') {
        name = referenced.strip_prefix("mut ").unwrap_or(referenced);
    }
    name.starts_with('(')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_and_nothing_else() {
        struct Unit;
        struct Pair(#[allow(dead_code, reason = "a type, never made")] u8, #[allow(dead_code, reason = "as above")] u8);
        assert!(is_tuple::<()>() && is_tuple::<(u8,)>() && is_tuple::<(u8, &str, Pair)>());
        assert!(is_tuple::<&(u8, u8)>() && is_tuple::<&&mut (u8, u8)>() && is_tuple::<&mut &(u8, u8)>());
        assert!(!is_tuple::<[(u8, u8); 2]>() && !is_tuple::<[(); 0]>() && !is_tuple::<[(u8, u8)]>());
        assert!(!is_tuple::<Pair>() && !is_tuple::<Unit>() && !is_tuple::<Option<(u8, u8)>>());
        assert!(!is_tuple::<Box<(u8, u8)>>() && !is_tuple::<str>() && !is_tuple::<fn(u8, u8)>());
        assert!(!is_tuple::<serde_json::Value>() && !is_tuple::<dyn std::fmt::Debug>());
    }
}
