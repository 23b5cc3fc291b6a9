//! JSON text: checked, and read into types.

pub(crate) mod error;
pub(crate) mod from_str;
pub(crate) mod kind;
pub(crate) mod scanner;

pub use error::JsonError;
pub use from_str::from_str;
pub use kind::JsonKind;
pub use scanner::check;
