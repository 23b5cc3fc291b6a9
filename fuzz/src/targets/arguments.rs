//! Arguments into handlers' types: hostile text and attachments, and types that take much memory.

use crate::heap;
use crate::input::Input;
use crate::novelty::{seen, size};
use bytes::Bytes;
use roomcast_protocol::{Args, ByteStr, FromArgs, json};
use serde::Deserialize;
use serde_bytes::ByteBuf;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
#[expect(dead_code, reason = "only reading it counts")]
enum Tagged {
    A { a: ByteBuf, b: Option<Value> },
    B(Flat),
    C,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "t", content = "c")]
#[expect(dead_code, reason = "only reading it counts")]
enum Adjacent {
    A(ByteBuf, u8),
    B { list: Vec<Bytes> },
    C,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only reading it counts")]
enum External {
    Unit,
    New(Bytes),
    Tuple(i8, ByteBuf),
    Struct { a: f32, b: Box<External> },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only reading it counts")]
enum Untagged {
    Number(f64),
    Text(String),
    Binary(ByteBuf),
    List(Vec<Untagged>),
    Map(HashMap<String, Untagged>),
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only reading it counts")]
struct Flat {
    id: Option<u64>,
    #[serde(default)]
    data: Vec<ByteBuf>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only reading it counts")]
struct Tree {
    next: Option<Box<Tree>>,
    #[serde(default)]
    list: Vec<Tree>,
}

/// Bytes of heap that a byte of text may become: a tree of small objects, in maps that double their capacity.
const SPREAD: usize = 512;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let depth = input.choice(&[128, 1_024]);
    let attachments: Vec<Bytes> = (0..input.byte() % 4).map(|_| Bytes::copy_from_slice(input.piece())).collect();
    let Ok(items) = std::str::from_utf8(input.rest()) else { return };
    // The decoder accepts nothing else.
    let array = format!("[{items}]");
    if json::check(&array, depth).is_err() {
        return;
    }
    let largest = attachments.iter().map(Bytes::len).max().unwrap_or_default();
    let bound = 16_384 + SPREAD * items.len() + (1 + items.len() / 16) * largest;
    let args = Args::from_parts(ByteStr::from(items.trim_matches([' ', '\t', '\r', '\n'])), attachments);
    let reads = [
        read::<()>(&args, bound),
        read::<(String, i64, Option<Bytes>)>(&args, bound),
        read::<(u8, i128, u128, f32, char, bool)>(&args, bound),
        read::<Vec<(u8, Value)>>(&args, bound),
        read::<Tagged>(&args, bound),
        read::<Adjacent>(&args, bound),
        read::<External>(&args, bound),
        read::<Untagged>(&args, bound),
        read::<Flat>(&args, bound),
        read::<Tree>(&args, bound),
        read::<Bytes>(&args, bound),
        read::<[ByteBuf; 2]>(&args, bound),
        read::<HashMap<u64, Box<RawValue>>>(&args, bound),
        read::<serde::de::IgnoredAny>(&args, bound),
        read::<Args>(&args, bound),
    ];
    seen((reads, args.attachments().len(), size(items.len())));
    assert_eq!(args.as_ref().iter().count(), serde_json::from_str::<Vec<&RawValue>>(&array).unwrap().len());
    let skipped = args.skip(1);
    assert!(args.as_ref().iter().skip(1).eq(skipped.as_ref().iter()));
    if args.attachments().is_empty()
        && let Some(first) = args.as_ref().iter().next()
    {
        // Without attachments there are no placeholders.
        let plain = serde_json::from_str::<Value>(first);
        match (args.parse::<Value>(), plain) {
            (Ok(read), Ok(plain)) => assert_eq!(read, plain),
            (read, plain) => assert_eq!(read.is_ok(), plain.is_ok(), "{read:?} {plain:?}"),
        }
    }
}

fn read<T: FromArgs>(args: &Args, bound: usize) -> bool {
    heap::within(bound, || args.parse::<T>().is_ok())
}
