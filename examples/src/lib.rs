//! Applications that use roomcast, one in each folder beside this one; `examples/README.md` lists them. Here is what they share.

mod serving;

pub use serving::{Outcome, listener, stopped};
