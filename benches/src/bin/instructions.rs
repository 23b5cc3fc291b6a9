//! The operations whose instructions `cargo xtask instructions` counts with callgrind: `instructions WORKLOAD TIMES`. Without arguments it
//! prints the names of the workloads.
//!
//! Only the code in [`measured`] is counted (`--toggle-collect`), so start-up and the creation of rooms and sockets are not. That code does
//! not depend on a clock, on another thread or on random ids. The seeds of the rooms' hash tables may differ between runs, but there is only
//! one lookup in a table of two names, and the socket ids are fixed.

use bytes::Bytes;
use roomcast_adapter::testkit::CountingRecipient;
use roomcast_adapter::{Action, Adapter, AdapterContext, Local, RecoveryBounds, RecoverySpace, Room, Target};
use roomcast_protocol::limits::MAX_DEPTH;
use roomcast_protocol::msgpack::{Flavour, Reader, args_array, read_args};
use roomcast_protocol::{Args, Assembled, Decoder, DecoderLimits, Packet, Parser, Received, SocketId, Unpacked};
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

/// Sockets of the namespace.
const SOCKETS: usize = 1_000;

/// Sockets in the small room.
const FEW: usize = 10;

const ATTACHMENT: usize = 1_024;

/// An operation that can be repeated. It fails if its result is wrong, because its count would mean nothing then.
type Operation = Box<dyn FnMut() -> Result<(), Box<dyn Error>>>;

type Workload = fn() -> Result<Operation, Box<dyn Error>>;

const WORKLOADS: &[(&str, Workload)] = &[
    ("encode_event", encode_event),
    ("decode_event", decode_event),
    ("decode_event_with_attachment", decode_event_with_attachment),
    ("read_event_from_msgpack", read_event_from_msgpack),
    ("encode_event_packed", encode_event_packed),
    ("decode_event_packed", decode_event_packed),
    ("broadcast_to_1000", broadcast_to_1000),
    ("room_of_10_in_1000", room_of_10_in_1000),
    ("broadcast_to_1000_with_recovery", broadcast_to_1000_with_recovery),
    ("room_of_10_with_recovery", room_of_10_with_recovery),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = &arguments[..] else {
        WORKLOADS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    };
    let (_, workload) = WORKLOADS.iter().find(|(known, _)| known == name).ok_or("there is no such workload")?;
    let mut operation = workload()?;
    // The first runs allocate thread-local storage and the decoder's buffers, which are not counted.
    operation()?;
    operation()?;
    measured(&mut operation, times.parse()?)
}

/// The function that callgrind counts. It finds it by its name.
#[inline(never)]
fn measured(operation: &mut Operation, times: u32) -> Result<(), Box<dyn Error>> {
    for _ in 0..times {
        operation()?;
    }
    Ok(())
}

fn event() -> Result<Args, Box<dyn Error>> {
    Ok(Args::event("message", &("general", 901_223, "see you at the \"gate\", it opens at 8", [1, 22, 333]))?)
}

/// From values to the WebSocket frame.
fn encode_event() -> Result<Operation, Box<dyn Error>> {
    Ok(Box::new(|| {
        black_box(Packet::event("/", None, &event()?)?);
        Ok(())
    }))
}

fn decode_event() -> Result<Operation, Box<dyn Error>> {
    let text = text_of(&Packet::event("/", None, &event()?)?)?;
    let mut decoder = Decoder::new(DecoderLimits::default());
    Ok(Box::new(move || whole(black_box(decoder.text(black_box(&text))?).as_ref())))
}

fn decode_event_with_attachment() -> Result<Operation, Box<dyn Error>> {
    let packet = Packet::event("/", None, &Args::event("file", &("report.pdf", Bytes::from(vec![7; ATTACHMENT])))?)?;
    let text = text_of(&packet)?;
    let attachment = packet.binaries().next().ok_or("the packet has no attachment")?.to_vec();
    let mut decoder = Decoder::new(DecoderLimits::default());
    Ok(Box::new(move || {
        if decoder.text(black_box(&text))?.is_some() {
            return Err("the decoder does not wait for the attachment".into());
        }
        let assembled = black_box(decoder.binary(black_box(&attachment))?);
        whole(assembled.as_ref().map(Assembled::received).as_ref())
    }))
}

/// The larger part of the cost of receiving a broadcast from another server in the classic dialect.
fn read_event_from_msgpack() -> Result<Operation, Box<dyn Error>> {
    let mut message = Vec::new();
    args_array(&event()?, &mut message, Flavour::Notepack)?;
    let message = Bytes::from(message);
    Ok(Box::new(move || {
        black_box(read_args(&mut Reader::shared(black_box(&message)), MAX_DEPTH)?);
        Ok(())
    }))
}

/// As [`encode_event`], where the parser is MessagePack.
fn encode_event_packed() -> Result<Operation, Box<dyn Error>> {
    Ok(Box::new(|| {
        black_box(Parser::MessagePack.event("/", None, &event()?)?);
        Ok(())
    }))
}

/// As [`decode_event`], where the parser is MessagePack.
fn decode_event_packed() -> Result<Operation, Box<dyn Error>> {
    let packet = Parser::MessagePack.event("/", None, &event()?)?;
    let message = packet.binaries().next().ok_or("the packet has no bytes")?.to_vec();
    Ok(Box::new(move || {
        let unpacked = black_box(Unpacked::read(black_box(&message), DecoderLimits::default())?);
        whole(Some(&unpacked.received()))
    }))
}

fn broadcast_to_1000() -> Result<Operation, Box<dyn Error>> {
    broadcast(Local::new("/"), "all", SOCKETS)
}

fn room_of_10_in_1000() -> Result<Operation, Box<dyn Error>> {
    broadcast(Local::new("/"), "few", FEW)
}

fn broadcast_to_1000_with_recovery() -> Result<Operation, Box<dyn Error>> {
    broadcast(with_recovery(), "all", SOCKETS)
}

fn room_of_10_with_recovery() -> Result<Operation, Box<dyn Error>> {
    broadcast(with_recovery(), "few", FEW)
}

/// A namespace whose log is so short that each event pushes out another one, as in a server that runs for long.
fn with_recovery() -> Arc<Local> {
    let mut bounds = RecoveryBounds::default();
    bounds.packets = 1;
    let context = AdapterContext::new("/", tokio::sync::mpsc::channel(1).0);
    Local::of(&context.with_recovery(Some(RecoverySpace::new(bounds))))
}

/// A broadcast through `Local`, including its encoding, to recipients that only count.
fn broadcast(adapter: Arc<Local>, room: &str, members: usize) -> Result<Operation, Box<dyn Error>> {
    let mut recipients = Vec::new();
    for number in 0..SOCKETS {
        let id: SocketId = format!("socket{number:014}").parse()?;
        let recipient = CountingRecipient::new();
        adapter.insert(id, recipient.clone(), &[], None)?;
        adapter.join(id, &[Room::from("all")])?;
        if number % (SOCKETS / FEW) == 0 {
            adapter.join(id, &[Room::from("few")])?;
        }
        recipients.push(recipient);
    }
    let (target, data) = (Target::room(room), event()?);
    adapter.apply(&target, Action::emit(&data))?;
    let reached = recipients.iter().filter(|recipient| recipient.count() == 1).count();
    if reached != members {
        return Err(format!("room `{room}` reaches {reached} sockets, not {members}").into());
    }
    Ok(Box::new(move || Ok(adapter.apply(black_box(&target), Action::emit(black_box(&data)))?)))
}

/// The text of a packet without the Engine.IO type, as the decoder takes it.
fn text_of(packet: &Packet) -> Result<String, Box<dyn Error>> {
    Ok(packet.text().and_then(|text| text.strip_prefix('4')).ok_or("the packet has no text")?.to_owned())
}

fn whole(received: Option<&Received<'_>>) -> Result<(), Box<dyn Error>> {
    match received {
        Some(Received::Event { .. }) => Ok(()),
        _ => Err("the decoded packet is not an event".into()),
    }
}
