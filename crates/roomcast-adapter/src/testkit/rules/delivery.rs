//! Rules about who gets an emit, and what arrives.

use crate::AdapterError;
use crate::Room;
use crate::Target;
use crate::testkit::NAMESPACE;
use crate::testkit::stage::{Outcome, Stage, data, must, to};
use crate::{Action, Emit};
use roomcast_protocol::Args;
use roomcast_protocol::limits::MAX_PACKET_BYTES;
use serde::{Serialize, Serializer};

pub(super) async fn everyone(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    b.join(&["x"]).await?;
    let sent = data("hello", &("wörld \u{1F980}", 42, [true, false]))?;
    stage.send(0, &Target::everyone(), Emit { data: &sent, volatile: false, compress: true })?;
    stage.settle().await?;
    for actor in a.0.iter().chain(&b.0) {
        let events = actor.events();
        must!(events.len() == 1, "{actor} got {} events, not 1", events.len());
        let event = &events[0];
        must!(event.namespace == NAMESPACE, "the packet names the namespace {:?}, not {NAMESPACE:?}", event.namespace);
        must!(event.name == "hello" && event.ack.is_none(), "the packet reads {event:?}");
        let args: Result<(String, u8, [bool; 2]), _> = event.args.parse();
        let same = args.as_ref().is_ok_and(|args| *args == ("wörld \u{1F980}".to_owned(), 42, [true, false]));
        must!(same, "the arguments {} arrived as {}", sent.items(), event.args.items());
    }
    Ok(())
}

pub(super) async fn room(stage: &mut Stage) -> Outcome {
    let (a, b, c) = (stage.part().await?, stage.part().await?, stage.part().await?);
    a.join(&["x"]).await?;
    b.join(&["y", "x and more"]).await?;
    stage.emit("x", &Target::room("x"))?;
    stage.emit("y", &Target::room("y"))?;
    stage.emit("nobody", &Target::room("nobody"))?;
    stage.settle().await?;
    a.got(&["x"])?;
    b.got(&["y"])?;
    c.got(&[])
}

pub(super) async fn once(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    a.join(&["x", "y", "z"]).await?;
    b.join(&["y"]).await?;
    stage.emit("rooms", &to(&["x", "y", "z", "x"], &[]))?;
    let own = a.0.iter().map(|actor| Room::from(actor.id));
    let with_own = Target { rooms: own.chain([Room::from("x")]).collect(), ..Target::default() };
    stage.emit("own", &with_own)?;
    stage.emit("apart", &to(&["x", "y"], &["nobody"]))?;
    stage.settle().await?;
    a.got(&["rooms", "own", "apart"])?;
    b.got(&["rooms", "apart"])
}

pub(super) async fn except_wins(stage: &mut Stage) -> Outcome {
    let (a, b, c) = (stage.part().await?, stage.part().await?, stage.part().await?);
    a.join(&["x", "y"]).await?;
    b.join(&["x", "z"]).await?;
    stage.emit("x", &to(&["x"], &["y"]))?;
    stage.emit("all", &to(&[], &["y", "z"]))?;
    stage.emit("same", &to(&["x"], &["x"]))?;
    stage.emit("two", &to(&["x", "y", "z"], &["nobody", "z"]))?;
    stage.settle().await?;
    a.got(&["two"])?;
    b.got(&["x"])?;
    c.got(&["all"])
}

pub(super) async fn own_room(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    for actor in &a.0 {
        let rooms = actor.adapter.rooms_of(actor.id);
        must!(rooms == [Room::from(actor.id)], "a new socket's rooms are {rooms:?}");
        stage.emit("one", &Target::room(actor.id))?;
    }
    stage.settle().await?;
    a.got(&["one"])?;
    b.got(&[])?;
    let except = a.0.iter().map(|actor| Room::from(actor.id)).collect();
    stage.emit("others", &Target { except, ..Target::default() })?;
    stage.settle().await?;
    a.got(&["one"])?;
    b.got(&["others"])
}

pub(super) async fn join_then_emit(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    for actor in &a.0 {
        // The confirmation is not awaited: on this server the join has taken effect.
        let joined = actor.adapter.join(actor.id, &[Room::from("x")]);
        must!(joined.is_ok(), "the join was refused: {joined:?}");
        stage.emit_from(actor.server, "now", &Target::room("x").local())?;
        let got = actor.events().len();
        must!(got == 1, "{actor} joined, and the emit after it was delivered {got} times");
    }
    Ok(())
}

pub(super) async fn local_flag(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    a.join(&["x"]).await?;
    stage.emit("all", &Target::everyone().local())?;
    stage.emit("room", &Target::room("x").local())?;
    stage.settle().await?;
    for actor in &a.0 {
        let (got, expected) = (actor.events().len(), if actor.server == 0 { 2 } else { 0 });
        must!(got == expected, "{actor} got {got} of 2 local emits of server 0, not {expected}");
    }
    Ok(())
}

/// Serializes as bytes.
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

pub(super) async fn attachments(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    let every_byte = Blob((0..=255).collect());
    let sent = data("files", &(Blob(Vec::new()), "between", every_byte, Blob(vec![0xFF; 70_000])))?;
    stage.send(0, &Target::everyone(), Emit { data: &sent, volatile: false, compress: true })?;
    stage.settle().await?;
    for actor in &a.0 {
        let events = actor.events();
        must!(events.len() == 1, "{actor} got {} events, not 1", events.len());
        let got = &events[0].args;
        let sizes: Vec<usize> = got.attachments().iter().map(|bytes| bytes[..].len()).collect();
        must!(got.attachments() == sent.attachments(), "{actor} got attachments of {sizes:?} bytes, or changed ones");
        let expected =
            r#"{"_placeholder":true,"num":0},"between",{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}"#;
        must!(got.items() == expected, "the arguments arrived as {}", got.items());
    }
    Ok(())
}

pub(super) async fn volatile(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    for volatile in [true, false] {
        let sent = data("v", &())?;
        stage.send(0, &Target::everyone(), Emit { data: &sent, volatile, compress: true })?;
    }
    stage.settle().await?;
    for actor in &a.0 {
        let flags: Vec<bool> = actor.events().iter().map(|event| event.volatile).collect();
        must!(flags == [true, false], "a volatile emit and another one arrived at {actor} as {flags:?}");
    }
    Ok(())
}

fn is_too_large<T>(result: &Result<T, AdapterError>) -> bool {
    matches!(result, Err(AdapterError::TooLarge(_) | AdapterError::TooLargeForServers { .. }))
}

pub(super) async fn too_large(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    // The data alone is as large as a packet may be, so the packet with it is too large.
    let spare = data("big", &Blob(Vec::new()))?.items().len();
    let sent = data("big", &Blob(vec![0; MAX_PACKET_BYTES - spare]))?;
    for (whom, target) in [("everyone", Target::everyone()), ("an empty room", Target::room("nobody"))] {
        let refused = stage.first().apply(&target, Action::emit(&sent));
        must!(is_too_large(&refused), "the emit to {whom} ended with {refused:?}");
    }
    let asked =
        stage.first().emit_with_ack(&Target::everyone(), Emit::of(&sent), crate::testkit::CONDITION_TIMEOUT).await;
    must!(is_too_large(&asked), "the emit with acknowledgement ended with {asked:?}");
    let small = Args::event("small", &()).map_err(|error| error.to_string())?;
    stage.send(0, &Target::everyone(), Emit { data: &small, volatile: false, compress: true })?;
    stage.settle().await?;
    a.got(&["small"])
}
