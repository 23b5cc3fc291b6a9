//! Criterion benches, one file for each subject, such as `cargo bench -p roomcast-benches --bench protocol`. The programs in `src/bin`
//! measure whole servers; `docs/benchmarks.md` says how to run them.
//!
//! [`broadcasts`] is the broadcast bench for any adapter. To measure your own, pass a function that creates one, as for
//! `SocketIo::builder().adapter(...)`. Replace `Local` below by your adapter:
//!
//! ```no_run
//! use criterion::{Criterion, criterion_group, criterion_main};
//! use roomcast_adapter::{AdapterContext, Local};
//!
//! fn mine(criterion: &mut Criterion) {
//!     roomcast_benches::broadcasts(criterion, "mine", |context: AdapterContext| Local::of(&context));
//! }
//!
//! criterion_group!(benches, mine);
//! criterion_main!(benches);
//! ```

pub mod dial;
pub mod group;
pub mod peer;
pub mod process;
pub mod redis;
pub mod report;
pub mod resp;
pub mod server;
pub mod verdict;
pub mod wire;
pub mod workloads;

mod broadcasts;

pub use broadcasts::broadcasts;
