//! What a client can make the heap hold. `allocation_counter` counts by thread.

use allocation_counter::measure;
use bytes::Bytes;
use roomcast_protocol::limits::{MAX_ATTACHMENT_COPIES, MAX_PAYLOAD, MAX_TYPED_DEPTH};
use roomcast_protocol::{Args, Attachment, DecodeError, Decoder, DecoderLimits, FromArgs, Received, json};
use serde::Deserialize;
use serde_bytes::ByteBuf;
use serde_json::Value;
use std::collections::HashMap;

const ZERO: &str = r#"{"_placeholder":true,"num":0}"#;
const BYTES: usize = 100_000;
const TIMES: usize = 2_000;

/// 160 kB in: one attachment that the text names 2,000 times, in a list.
fn repeated(around: impl Fn(&str) -> String) -> Args {
    let items = format!("[{}]", vec![around(ZERO); TIMES].join(","));
    let bytes = Bytes::from(vec![7; BYTES]);
    // The first clone makes the count of them all, which stays.
    Args::from_parts(items.as_str().into(), vec![bytes.clone()])
}

/// The most memory that a read took, and whether it succeeded.
fn read<T: FromArgs>(args: &Args) -> (usize, bool) {
    let mut read = None;
    let info = measure(|| read = Some(args.parse::<T>().is_ok()));
    assert_eq!(info.bytes_current, 0, "all of it is given back");
    (info.bytes_max as usize, read.unwrap())
}

#[derive(Deserialize)]
#[serde(tag = "kind")]
#[allow(dead_code, reason = "only read")]
enum Tagged {
    Image { data: ByteBuf },
    Shared { data: Attachment },
}

#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "only read")]
enum Untagged {
    Image { data: ByteBuf, name: String },
    Bytes { data: Bytes, name: u8 },
    Raw(Attachment),
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only read")]
struct Flattened {
    #[serde(flatten)]
    rest: HashMap<String, ByteBuf>,
}

#[test]
fn repeated_placeholders_stay_within_the_budget_of_copies() {
    // What serde and the search for placeholders need by the text: some hundred bytes for each placeholder.
    let own = TIMES * 256;
    let plain = repeated(str::to_owned);
    let object = repeated(|one| format!(r#"{{"data":{one},"name":"a"}}"#));
    let tagged = |kind: &str| repeated(|one| format!(r#"{{"kind":"{kind}","data":{one}}}"#));
    let copies = MAX_ATTACHMENT_COPIES * BYTES;
    for (what, (most, ok)) in [
        ("Bytes", read::<Vec<Bytes>>(&plain)),
        ("ByteBuf", read::<Vec<ByteBuf>>(&plain)),
        ("Vec<u8>", read::<Vec<Vec<u8>>>(&plain)),
        ("maps", read::<Vec<Flattened>>(&object)),
        ("tagged", read::<Vec<Tagged>>(&tagged("Image"))),
        ("untagged", read::<Vec<Untagged>>(&object)),
    ] {
        // A vector that grows number by number has room for twice as many.
        assert!(!ok && most <= 2 * copies + own, "{what}: {most}, {ok}");
    }
    let (most, ok) = read::<Vec<Value>>(&plain);
    assert!(!ok && most <= 2 * copies * size_of::<Value>() + own, "{most}, {ok}");
    // Shared, an attachment costs nothing, however often the client names it.
    let (most, ok) = read::<Vec<Attachment>>(&plain);
    assert!(ok && most <= own, "{most}, {ok}");
    // What serde buffers first counts, whether it is shared or not.
    let (most, ok) = read::<Vec<Tagged>>(&tagged("Shared"));
    assert!(!ok && most <= own, "{most}, {ok}");
}

#[test]
fn the_decoder_holds_nothing_between_packets() {
    const EACH: usize = MAX_PAYLOAD - 100_000;
    let bytes = vec![1; EACH];
    let mut decoders: Vec<_> = (0..8).map(|_| Decoder::new(DecoderLimits::default())).collect();
    for packet in ["51-[\"a\",ZERO]", "51-/chat,7[\"\\u0061\",ZERO]", "61-/chat,7[ZERO]", "51-[\"a\"]"] {
        let text = packet.replace("ZERO", ZERO);
        let info = measure(|| {
            for decoder in &mut decoders {
                assert!(matches!(decoder.text(&text), Ok(None)));
                let assembled = decoder.binary(&bytes).unwrap().unwrap();
                let (Received::Event { event: roomcast_protocol::Event { args, .. }, .. } | Received::Ack { args, .. }) =
                    assembled.received()
                else {
                    panic!("{text}")
                };
                assert_eq!(args.attachments[0], bytes);
            }
        });
        // All of it was held at some time, one packet after another.
        assert_eq!((info.bytes_current, info.count_current), (0, 0), "{packet}");
        assert!(info.bytes_max as usize >= EACH && (info.bytes_max as usize) < 2 * EACH);
    }
}

/// By polling, a connection that broke the rules may stay open for a while.
#[test]
fn after_an_error_the_decoder_holds_no_bytes() {
    let bytes = vec![1; MAX_PAYLOAD / 2];
    let two = r#"52-["a",{"_placeholder":true,"num":9}]"#;
    let mut decoder = None;
    for last in ["text", "illegal", "too large"] {
        let mut error = None;
        let info = measure(|| {
            let mut failed = Decoder::new(DecoderLimits::default());
            assert!(matches!(failed.text(two), Ok(None)));
            assert!(matches!(failed.binary(&bytes), Ok(None)));
            error = match last {
                "text" => failed.text("2[\"a\"]").err(),
                "illegal" => failed.binary(&bytes).err(),
                _ => failed.binary(&vec![0; MAX_PAYLOAD]).err(),
            };
            decoder = Some(failed);
        });
        let expected = match last {
            "text" => DecodeError::UnexpectedText,
            "illegal" => DecodeError::IllegalPlaceholder,
            _ => DecodeError::AttachmentsTooLarge,
        };
        assert_eq!(error, Some(expected));
        assert!(info.bytes_current < 1_000, "{last}: {}", info.bytes_current);
        let decoder = decoder.as_mut().unwrap();
        assert!(!decoder.is_awaiting());
        assert_eq!(decoder.text("2[\"a\"]"), Err(DecodeError::UnexpectedText));
        assert_eq!(decoder.binary(b"1").err(), Some(DecodeError::UnexpectedBinary));
    }
}

/// The deepest text that is read, on the stack of one of tokio's threads, in a build without optimisation. Text within
/// text that serde_json would parse by itself, each time with a new count of levels, is refused: it would end the
/// process.
#[test]
fn no_text_overflows_the_stack() {
    fn nested(inner: &str) -> String {
        "[".repeat(MAX_TYPED_DEPTH - 1) + inner + &"]".repeat(MAX_TYPED_DEPTH - 1)
    }
    let mut text = nested("[]");
    loop {
        let quoted = serde_json::to_string(&text).unwrap();
        let outer = nested(&format!(r#"{{"$serde_json::private::RawValue":{quoted}}}"#));
        if outer.len() > MAX_PAYLOAD {
            break;
        }
        text = outer;
    }
    let hidden = Args::from_parts(text.as_str().into(), Vec::new());
    let deepest = Args::from_parts(nested(ZERO).as_str().into(), vec![Bytes::from_static(b"bytes")]);
    let reading = move || {
        assert!(hidden.parse::<Value>().is_err());
        assert!(json::from_str::<Value>(hidden.items()).is_err());
        assert!(deepest.parse::<Value>().is_ok());
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(reading).unwrap().join().unwrap();
}
