//! Sequences of text and binary messages in any order, compared with a model of the decoder that is as simple as
//! possible. What the decoder holds is measured at every step.

use allocation_counter::measure;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use roomcast_protocol::{Assembled, DecodeError, Decoder, DecoderLimits, Received};

const LIMITS: DecoderLimits = DecoderLimits { max_attachments: 4, max_bytes: 1_000, max_depth: 8 };

/// What an awaited packet takes in addition to its text and bytes: the decoder's record, and a `Bytes` for each
/// attachment.
const OWN: usize = 1_024;

/// What is left after an error.
const EMPTY: usize = 512;

#[derive(Debug, Clone)]
enum Message {
    Text(String, Result<Meaning, DecodeError>),
    Binary(usize),
}

/// What a text that is a packet means.
#[derive(Debug, Clone)]
struct Meaning {
    attachments: usize,
    illegal: bool,
    packet: Packet,
}

#[derive(Debug, Clone, PartialEq)]
struct Packet {
    kind: char,
    namespace: String,
    id: Option<u64>,
    name: String,
    items: String,
    sizes: Vec<usize>,
}

/// A packet made from its parts, so that its meaning is known without reading it.
fn packet() -> impl Strategy<Value = Message> {
    let name = select(vec![("\"a\"", "a"), ("\"\\u0062\"", "b"), ("1.50", "1.5"), ("\"é\"", "é")]);
    let numbers = vec(prop_oneof![3 => 0..4usize, 1 => 4..9usize], 0..4);
    let namespace = select(vec!["", "/,", "/chat,", "/é?a=1,"]);
    (select(vec!['2', '3', '5', '6']), 1..=6usize, namespace, option::of(0..100u64), name, numbers).prop_map(
        |(kind, count, namespace, id, (spelled, name), numbers)| {
            let binary = matches!(kind, '5' | '6');
            let (count, header) = if binary { (count, format!("{kind}{count}-")) } else { (0, kind.to_string()) };
            let items: Vec<_> = numbers.iter().map(|num| format!(r#"{{"_placeholder":true,"num":{num}}}"#)).collect();
            let items = items.join(", ");
            let id_text = id.map_or_else(String::new, |id| id.to_string());
            let is_event = matches!(kind, '2' | '5');
            let array = match (is_event, items.is_empty()) {
                (true, true) => format!("[{spelled}]"),
                (true, false) => format!("[{spelled} , {items} ]"),
                (false, _) => format!("[ {items}]"),
            };
            let namespace_name = if namespace.is_empty() { "/" } else { namespace.trim_end_matches(',') };
            let packet = Packet {
                kind: if is_event { 'e' } else { 'a' },
                namespace: namespace_name.to_owned(),
                id,
                name: if is_event { name.to_owned() } else { String::new() },
                items,
                sizes: Vec::new(),
            };
            let meaning = if count > LIMITS.max_attachments {
                Err(DecodeError::TooManyAttachments)
            } else {
                let illegal = numbers.iter().any(|number| *number >= count);
                Ok(Meaning { attachments: count, illegal, packet })
            };
            Message::Text(format!("{header}{namespace}{id_text}{array}"), meaning)
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let malformed = select(vec![
        ("", DecodeError::UnknownType(None)),
        ("9", DecodeError::UnknownType(Some('9'))),
        ("2[\"connect\"]", DecodeError::InvalidPayload),
        ("52-[\"a\",{\"_placeholder\":true,\"num\":0}", DecodeError::InvalidPayload),
        ("5x-[\"a\"]", DecodeError::IllegalAttachments),
        ("51-[\"a\",[[[[[[[[]]]]]]]]]", DecodeError::TooDeep),
    ]);
    prop_oneof![
        4 => packet(),
        1 => malformed.prop_map(|(text, error)| Message::Text(text.to_owned(), Err(error))),
        6 => prop_oneof![4 => 0..200usize, 1 => 300..1_100usize].prop_map(Message::Binary),
    ]
}

#[derive(Debug)]
enum Model {
    Idle,
    Awaiting {
        meaning: Meaning,
        text: usize,
    },
    /// An error has broken off a packet: no message is accepted any more.
    Broken,
}

impl Model {
    fn take(&mut self, message: &Message) -> Result<Option<Packet>, DecodeError> {
        let state = std::mem::replace(self, Self::Broken);
        match (state, message) {
            (Self::Idle, Message::Text(_, Err(error))) => {
                *self = Self::Idle;
                Err(*error)
            }
            (Self::Idle, Message::Text(text, Ok(meaning))) => {
                *self = match meaning.attachments {
                    0 => Self::Idle,
                    _ => Self::Awaiting { meaning: meaning.clone(), text: text.len() },
                };
                Ok((meaning.attachments == 0).then(|| meaning.packet.clone()))
            }
            (Self::Idle, Message::Binary(_)) => {
                *self = Self::Idle;
                Err(DecodeError::UnexpectedBinary)
            }
            (Self::Awaiting { .. } | Self::Broken, Message::Text(..)) => Err(DecodeError::UnexpectedText),
            (Self::Broken, Message::Binary(_)) => Err(DecodeError::UnexpectedBinary),
            (Self::Awaiting { mut meaning, text }, Message::Binary(size)) => {
                let sizes = &mut meaning.packet.sizes;
                sizes.push(*size);
                if sizes.iter().sum::<usize>() > LIMITS.max_bytes {
                    return Err(DecodeError::AttachmentsTooLarge);
                }
                if sizes.len() < meaning.attachments {
                    *self = Self::Awaiting { meaning, text };
                    return Ok(None);
                }
                if meaning.illegal {
                    return Err(DecodeError::IllegalPlaceholder);
                }
                *self = Self::Idle;
                Ok(Some(meaning.packet))
            }
        }
    }

    /// The most that the decoder may hold now.
    fn most(&self) -> usize {
        match self {
            Self::Idle => 0,
            Self::Awaiting { meaning, text } => text + meaning.packet.sizes.iter().sum::<usize>() + OWN,
            Self::Broken => EMPTY,
        }
    }
}

fn seen(received: Received<'_>) -> Packet {
    let (kind, namespace, id, name, args) = match received {
        Received::Event { namespace, id, event } => ('e', namespace, id, event.name.into_owned(), event.args),
        Received::Ack { namespace, id, args } => ('a', namespace, id, String::new(), args),
        other => panic!("{other:?}"),
    };
    let sizes = args.attachments.iter().map(Bytes::len).collect();
    Packet { kind, namespace: namespace.to_owned(), id, name, items: args.items.to_owned(), sizes }
}

proptest! {
    #[test]
    fn any_sequence_is_decoded_as_the_model_says_and_holds_no_more(messages in vec(message(), 0..24)) {
        let mut decoder = Decoder::new(LIMITS);
        let mut model = Model::Idle;
        let mut held = 0;
        for message in &messages {
            let expected = model.take(message);
            let bytes = if let Message::Binary(size) = message { vec![7; *size] } else { Vec::new() };
            let mut outcome = None;
            let info = measure(|| {
                let agrees = match message {
                    Message::Text(text, _) => decoder.text(text).map(|received| received.map(seen)) == expected,
                    Message::Binary(_) => {
                        let assembled = decoder.binary(&bytes);
                        let received = assembled.as_ref().map(|packet| packet.as_ref().map(Assembled::received));
                        received.map(|received| received.map(seen)).map_err(|error| *error) == expected
                    }
                };
                outcome = Some(agrees);
            });
            prop_assert_eq!(outcome, Some(true), "{:?}: {:?}", message, expected);
            held += info.bytes_current;
            prop_assert!((0..=model.most() as i64).contains(&held), "{} bytes are held in {:?}", held, model);
            prop_assert_eq!(decoder.is_awaiting(), matches!(model, Model::Awaiting { .. }));
        }
        let info = measure(|| drop(std::mem::replace(&mut decoder, Decoder::new(LIMITS))));
        prop_assert_eq!(held + info.bytes_current, 0);
    }
}
