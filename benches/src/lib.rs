//! Criterion benches, one file a subject: `cargo bench -p roomcast-benches --bench protocol`.
