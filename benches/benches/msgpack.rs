//! Measures the conversion of arguments to MessagePack and back: `cargo bench -p roomcast-benches --bench msgpack`.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use roomcast_protocol::Args;
use roomcast_protocol::limits::MAX_DEPTH;
use roomcast_protocol::msgpack::{Flavour, Reader, args_array, from_json, read_args, to_json};
use std::hint::black_box;

/// Sizes of the arguments' JSON text in bytes, including brackets.
const TYPICAL: usize = 142;
const LARGE: usize = 3 * 1024;
const ATTACHMENT: usize = 1024;

/// An event with one post for [`TYPICAL`], or with a list of posts for [`LARGE`].
fn event(bytes: usize) -> Args {
    let post = |text: &str| {
        serde_json::json!({
            "room": "general", "user": "u-48213", "id": 901_223, "time": 1_795_487_962_751_u64, "text": text,
            "seen": [1, 22, 333],
        })
    };
    let mut text = "at the \"gate\"".to_owned();
    if bytes < LARGE {
        loop {
            let args = Args::event("message", &post(&text)).unwrap_or_default();
            if args.items().len() + 2 >= bytes {
                return args;
            }
            text.push('.');
        }
    }
    let mut posts = Vec::new();
    loop {
        posts.push(post("see you at the \"gate\", it opens at 8; bring the tickets"));
        let args = Args::event("messages", &posts).unwrap_or_default();
        if args.items().len() + 2 >= bytes {
            return args;
        }
    }
}

fn msgpack(criterion: &mut Criterion) {
    let file = Args::event("file", &("report.pdf", Bytes::from(vec![7; ATTACHMENT]))).unwrap_or_default();
    for (name, args) in [("typical 142 B", event(TYPICAL)), ("large 3 KB", event(LARGE)), ("1 KB attached", file)] {
        let text = args.items().to_owned();
        let mut message = Vec::new();
        args_array(&args, &mut message, Flavour::Notepack).unwrap_or_default();
        let message = Bytes::from(message);
        assert_eq!(read_args(&mut Reader::shared(&message), MAX_DEPTH).as_ref(), Ok(&args));
        println!("{name}: {} bytes of JSON, {} of MessagePack", text.len() + 2, message.len());

        let mut group = criterion.benchmark_group("to MessagePack");
        group.throughput(Throughput::Bytes(text.len() as u64));
        let mut out = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                from_json(black_box(&text), args.attachments(), &mut out, Flavour::Notepack)
            });
        });
        group.finish();

        let mut group = criterion.benchmark_group("from MessagePack");
        group.throughput(Throughput::Bytes(message.len() as u64));
        let (mut json, mut attachments) = (Vec::new(), Vec::new());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                json.clear();
                attachments.clear();
                to_json(&mut Reader::shared(black_box(&message)), &mut json, &mut attachments, MAX_DEPTH)
            });
        });
        group.bench_function(format!("{name}, as arguments"), |bencher| {
            bencher.iter(|| read_args(&mut Reader::shared(black_box(&message)), MAX_DEPTH));
        });
        group.bench_function(format!("{name}, skipped"), |bencher| {
            bencher.iter(|| Reader::new(black_box(&message)).skip_value());
        });
        group.finish();
    }
}

criterion_group!(benches, msgpack);
criterion_main!(benches);
