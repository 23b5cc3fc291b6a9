//! Criterion benches, one file a subject: `cargo bench -p roomcast-benches --bench protocol`. The programs in `src/bin` measure
//! whole servers; `docs/benchmarks.md` tells how to run them.
//!
//! [`broadcasts`] is the broadcast bench for any adapter. To measure your own, give it a function that makes one, as
//! `SocketIo::builder().adapter(...)` takes it; in place of `Local` below stands your adapter:
//!
//! ```no_run
//! use criterion::{Criterion, criterion_group, criterion_main};
//! use roomcast_adapter::{AdapterContext, Local};
//!
//! fn mine(criterion: &mut Criterion) {
//!     roomcast_benches::broadcasts(criterion, "mine", |context: AdapterContext| Local::new(context.namespace));
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
