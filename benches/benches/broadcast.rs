//! Measures broadcasts in the in-memory adapter: `cargo bench -p roomcast-benches --bench broadcast`.

use criterion::{Criterion, criterion_group, criterion_main};
use roomcast_adapter::Local;

fn local(criterion: &mut Criterion) {
    roomcast_benches::broadcasts(criterion, "local", |context| Local::of(&context));
}

criterion_group!(benches, local);
criterion_main!(benches);
