//! Measures encoding and decoding of a packet, and the parts of both: `cargo bench -p roomcast-benches --bench protocol`.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use roomcast_protocol::frame::{FrameDecoder, FrameLimits, Message};
use roomcast_protocol::json::{self, JsonKind};
use roomcast_protocol::limits::MAX_DEPTH;
use roomcast_protocol::{Args, Assembled, DecodeError, Decoder, DecoderLimits, Packet, Parser, Received, Unpacked};
use serde::{Deserialize, Serialize};
use std::hint::black_box;

#[derive(Clone, Serialize, Deserialize)]
struct Post {
    room: String,
    user: String,
    id: u64,
    time: u64,
    text: String,
    seen: Vec<u32>,
}

/// An event whose text has this many bytes, including the Engine.IO type.
fn post(bytes: usize) -> Post {
    let mut post = Post {
        room: "general".into(),
        user: "u-48213".into(),
        id: 901_223,
        time: 1_795_487_962_751,
        text: String::new(),
        seen: vec![1, 22, 333],
    };
    // Words with an occasional escape, as people write.
    let prose = "see you at the \\\"gate\\\", ".repeat(bytes / 20 + 1).replace('\\', "");
    let mut chars = prose.chars();
    while text_of(&post).len() < bytes {
        post.text.push(chars.next().unwrap_or('.'));
    }
    if text_of(&post).len() > bytes {
        post.text.pop();
        post.text.push('.');
    }
    assert!(text_of(&post).len().abs_diff(bytes) <= 1);
    post
}

fn text_of(post: &Post) -> String {
    event(post).text().map(str::to_owned).unwrap_or_default()
}

fn event(post: &impl Serialize) -> Packet {
    Args::event("message", post)
        .ok()
        .and_then(|args| Packet::event("/", None, &args).ok())
        .unwrap_or_else(|| unreachable!("benches encode what can be encoded"))
}

const SMALL: &str = r#"42["chat","hello",3]"#;
const TYPICAL: usize = 142;
const LARGE: usize = 3 * 1024;
const ATTACHMENT: usize = 1024;

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let small = Args::event("chat", &("hello", 3)).unwrap_or_default();
    group.throughput(Throughput::Bytes(SMALL.len() as u64));
    group.bench_function("small 20 B", |bencher| {
        bencher.iter(|| {
            let args = Args::event("chat", black_box(&("hello", 3)));
            args.map(|args| Packet::event("/", None, &args))
        });
    });
    group.bench_function("small 20 B, ready arguments", |bencher| {
        bencher.iter(|| Packet::event("/", None, black_box(&small)));
    });
    for (name, bytes) in [("typical 142 B", TYPICAL), ("large 3 KB", LARGE)] {
        let post = post(bytes);
        let ready = Args::event("message", &post).unwrap_or_default();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |bencher| bencher.iter(|| event(black_box(&post))));
        group.bench_function(format!("{name}, ready arguments"), |bencher| {
            bencher.iter(|| Packet::event("/", None, black_box(&ready)));
        });
    }
    let file = ("report.pdf", Bytes::from(vec![7u8; ATTACHMENT]));
    group.throughput(Throughput::Bytes(ATTACHMENT as u64));
    group.bench_function("binary 1 KB", |bencher| bencher.iter(|| event(black_box(&file))));
    group.bench_function("binary 1 KB, polling too", |bencher| {
        let mut payload = Vec::with_capacity(2 * ATTACHMENT);
        bencher.iter(|| {
            payload.clear();
            event(black_box(&file)).push_polling(&mut payload);
        });
    });
    group.finish();
}

fn is_event(received: &Result<Option<Received<'_>>, DecodeError>) -> bool {
    matches!(received, Ok(Some(Received::Event { .. })))
}

fn is_binary_event(assembled: &Result<Option<Assembled>, DecodeError>) -> bool {
    matches!(assembled, Ok(Some(packet)) if matches!(packet.received(), Received::Event { .. }))
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let mut decoder = Decoder::new(DecoderLimits::default());
    let texts = [
        ("small 20 B", SMALL.to_owned()),
        ("typical 142 B", text_of(&post(TYPICAL))),
        ("large 3 KB", text_of(&post(LARGE))),
    ];
    for (name, text) in texts {
        assert!(is_event(&decoder.text(&text[1..])));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| is_event(&decoder.text(black_box(&text[1..]))));
        });
    }
    let packet = event(&("report.pdf", Bytes::from(vec![7u8; ATTACHMENT])));
    let text = packet.text().unwrap_or_default().to_owned();
    let attachment = packet.binaries().next().unwrap_or_default().to_vec();
    assert_eq!(decoder.text(&text[1..]), Ok(None));
    assert!(is_binary_event(&decoder.binary(&attachment)));
    group.throughput(Throughput::Bytes((text.len() + attachment.len()) as u64));
    group.bench_function("binary 1 KB", |bencher| {
        bencher.iter(|| {
            let awaits = decoder.text(black_box(&text[1..])) == Ok(None);
            awaits && is_binary_event(&decoder.binary(black_box(&attachment)))
        });
    });
    group.finish();
}

/// The same events where the parser is MessagePack.
fn packed(criterion: &mut Criterion) {
    let small = Args::event("chat", &("hello", 3)).unwrap_or_default();
    let file = Args::event("message", &("report.pdf", Bytes::from(vec![7u8; ATTACHMENT]))).unwrap_or_default();
    let post = |bytes| Args::event("message", &post(bytes)).unwrap_or_default();
    let events =
        [("small 20 B", small), ("typical 142 B", post(TYPICAL)), ("large 3 KB", post(LARGE)), ("binary 1 KB", file)];
    for (name, args) in events {
        let encode = |args: &Args| Parser::MessagePack.event("/", None, args);
        let message = encode(&args).ok().and_then(|packet| packet.binaries().next().map(<[u8]>::to_vec));
        let message = message.unwrap_or_default();
        assert!(Unpacked::read(&message, DecoderLimits::default()).is_ok());
        println!("{name}: {} bytes of MessagePack", message.len());
        let mut group = criterion.benchmark_group("packed");
        group.bench_function(format!("encode, {name}, ready arguments"), |bencher| {
            bencher.iter(|| encode(black_box(&args)));
        });
        group.bench_function(format!("decode, {name}"), |bencher| {
            bencher.iter(|| {
                let unpacked = Unpacked::read(black_box(&message), DecoderLimits::default());
                matches!(unpacked.as_ref().map(Unpacked::received), Ok(Received::Event { .. }))
            });
        });
        group.finish();
    }
}

fn arguments(criterion: &mut Criterion) {
    for (name, bytes) in [("typical 142 B", TYPICAL), ("large 3 KB", LARGE)] {
        let args = Args::of(&post(bytes)).unwrap_or_default();
        let text = args.items().to_owned();
        assert_eq!(json::check(&text, MAX_DEPTH), Ok(JsonKind::Object));
        assert!(args.parse::<Post>().is_ok());
        let mut group = criterion.benchmark_group("arguments");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("json::check, {name}"), |bencher| {
            bencher.iter(|| json::check(black_box(&text), MAX_DEPTH));
        });
        group.bench_function(format!("parse to a struct, {name}"), |bencher| {
            bencher.iter(|| black_box(&args).parse::<Post>());
        });
        // The cost of the struct without attachments and without the walk over the arguments.
        group.bench_function(format!("serde_json alone, {name}"), |bencher| {
            bencher.iter(|| serde_json::from_str::<Post>(black_box(&text)));
        });
        group.finish();
    }
}

/// A client's final frame, which is masked.
fn client_frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first_byte];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame decode and unmask");
    for (name, bytes) in [("128 B", 128), ("16 KB", 16 * 1024)] {
        for (kind, first_byte) in [("text", 0x81), ("binary", 0x82)] {
            let frame = client_frame(first_byte, &vec![b'a'; bytes]);
            group.throughput(Throughput::Bytes(bytes as u64));
            // Unmasking happens in place, so each iteration needs a fresh copy. Copying is not measured.
            group.bench_function(format!("{kind} {name}"), |bencher| {
                bencher.iter_batched_ref(
                    || (FrameDecoder::new(FrameLimits::default()), frame.clone()),
                    |(decoder, frame)| {
                        let mut input = black_box(&mut frame[..]);
                        let length = match decoder.decode(&mut input) {
                            Ok(Some(Message::Text(text))) => text.len(),
                            Ok(Some(Message::Binary(bytes))) => bytes.len(),
                            _ => unreachable!("the frame is whole"),
                        };
                        assert_eq!(length, bytes);
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, encode, decode, packed, arguments, frames);
criterion_main!(benches);
