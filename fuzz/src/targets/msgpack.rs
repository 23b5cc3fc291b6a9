//! MessagePack to JSON and back: a declared length allocates nothing, and the second round trip changes nothing.

use crate::heap;
use crate::input::Input;
use crate::novelty::{seen, size};
use bytes::Bytes;
use roomcast_protocol::json;
use roomcast_protocol::limits::MAX_DEPTH_OPTION;
use roomcast_protocol::msgpack::{Flavour, Kind, Reader, args_array, from_json, read_args, to_json};
use roomcast_protocol::{Args, ByteStr};

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let depth = input.choice(&[128, 1_024, 3, 1, 0]);
    let payload = Bytes::copy_from_slice(input.rest());
    // Each getter at the front, on whatever is there.
    let mut reader = Reader::new(&payload);
    let kind = reader.peek();
    let asked = [
        reader.array_len().is_ok(),
        Reader::new(&payload).map_len().is_ok(),
        Reader::new(&payload).key().is_ok(),
        Reader::new(&payload).str().is_ok(),
        Reader::new(&payload).bin().is_ok(),
        Reader::new(&payload).uint().is_ok(),
        Reader::new(&payload).int().is_ok(),
        Reader::new(&payload).f64().is_ok(),
        Reader::new(&payload).bool().is_ok(),
        Reader::new(&payload).nil().is_ok(),
    ];
    let skipped = heap::within(0, || Reader::new(&payload).skip_value());
    let (json, attachments, read) = heap::within(4_096 + 128 * payload.len(), || {
        let (mut json, mut attachments) = (Vec::new(), Vec::new());
        let mut reader = Reader::shared(&payload);
        let read = to_json(&mut reader, &mut json, &mut attachments, depth).map(|()| reader.position());
        (json, attachments, read)
    });
    seen((std::mem::discriminant(&kind), asked, skipped.is_ok(), size(payload.len())));
    let end = match read {
        Ok(end) => end,
        Err(error) => {
            seen(std::mem::discriminant(&error));
            return;
        }
    };
    assert!(skipped.is_ok() && end <= payload.len());
    let json = String::from_utf8(json).unwrap();
    json::check(&json, 1_024).unwrap();
    seen((attachments.len(), size(json.len())));
    for flavour in [Flavour::Notepack, Flavour::MsgpackJs] {
        assert_eq!(round_trip(&json, &attachments, flavour), 1);
    }
    if kind == Ok(Kind::Array) {
        let args = read_args(&mut Reader::shared(&payload), depth).unwrap();
        assert_eq!(format!("[{}]", args.items()), json);
    }
}

/// JSON values to MessagePack in one flavour and back. Returns how many there were.
fn round_trip(items: &str, attachments: &[Bytes], flavour: Flavour) -> usize {
    let mut packed = Vec::new();
    let count = from_json(items, attachments, &mut packed, flavour).unwrap_or_else(|error| panic!("{items}: {error}"));
    let (again, theirs) = unpack(packed, count);
    // The first round trip may lose something (lone surrogates, numbers beyond a double). After that nothing changes.
    let mut packed = Vec::new();
    assert_eq!(from_json(&again, &theirs, &mut packed, flavour), Ok(count), "{again}");
    assert_eq!((again, theirs), unpack(packed, count));
    count
}

fn unpack(packed: Vec<u8>, count: usize) -> (String, Vec<Bytes>) {
    let packed = Bytes::from(packed);
    let mut reader = Reader::shared(&packed);
    let (mut json, mut attachments) = (Vec::new(), Vec::new());
    for at in 0..count {
        if at > 0 {
            json.push(b',');
        }
        to_json(&mut reader, &mut json, &mut attachments, MAX_DEPTH_OPTION).unwrap();
    }
    reader.finish().unwrap();
    (String::from_utf8(json).unwrap(), attachments)
}

pub(super) fn run_from_json(data: &[u8]) {
    let mut input = Input::new(data);
    let _ = input.byte();
    let attachments: Vec<Bytes> = (0..input.byte() % 4).map(|_| Bytes::copy_from_slice(input.piece())).collect();
    let Ok(items) = std::str::from_utf8(input.rest()) else { return };
    let array = format!("[{items}]");
    if json::check(&array, 128).is_err() {
        return;
    }
    let args = Args::from_parts(ByteStr::from(items), attachments);
    let largest = args.attachments().iter().map(Bytes::len).max().unwrap_or_default();
    for flavour in [Flavour::Notepack, Flavour::MsgpackJs] {
        let bound = 4_096 + 64 * items.len() + (1 + items.len() / 8) * largest;
        let mut packed = Vec::new();
        heap::within(bound, || args_array(&args, &mut packed, flavour)).unwrap();
        seen((size(items.len()), size(packed.len()), args.attachments().len()));
        round_trip(items, args.attachments(), flavour);
    }
}
