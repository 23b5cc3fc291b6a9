//! Rules about who gets a message.

use crate::Room;
use crate::Target;
use crate::cluster::RequestId;
use crate::cluster::Trailer;
use crate::cluster::{Body, Message};
use crate::cluster::{Hears, Series};
use crate::testkit::broker::stage::{BrokerStage, InboxEvent, NAMESPACE, RecordingInbox, heard_exactly};
use crate::testkit::stage::{Outcome, data, eventually, must, rooms as rooms_of};

/// Names that a dialect may confuse if it builds channels or patterns from them.
const NAMES: &[&str] = &["/", "/a", "/a#b", "/a#b#", "/a#", "/*", "/a*", "/[a-z]", "/a\\*", "/a?", "/ab", "/a/b", "/ä"];

/// Room names that such a dialect may confuse.
const ROOMS: &[&str] =
    &["x#", "#", "x#y", "x", "*", "[x]", "x\\", "", "5", "ünï", "AAAAAAAAAAAAAAAAAAAA", "00000000beef0001", "a b\nc"];

pub(super) async fn everyone(stage: &mut BrokerStage) -> Outcome {
    let inboxes = stage.open_all().await?;
    let messages: Vec<Message> = (0..3).map(|broker| BrokerStage::message(broker, 7)).collect::<Result<_, _>>()?;
    for (broker, message) in messages.iter().enumerate() {
        stage.publish(broker, NAMESPACE, std::slice::from_ref(message)).await?;
        stage.fence(broker, NAMESPACE, Target::everyone()).await?;
    }
    stage.settle().await?;
    for (receiver, inbox) in inboxes.iter().enumerate() {
        let heard: Vec<Message> =
            (0..3).filter(|broker| stage.hears(*broker, receiver)).map(|it| messages[it].clone()).collect();
        heard_exactly(&format!("broker {receiver}"), inbox, &heard)?;
    }
    Ok(())
}

pub(super) async fn other_namespaces(stage: &mut BrokerStage) -> Outcome {
    let here = stage.open(1, "/here").await?;
    let there = stage.open(1, "/there").await?;
    let message = BrokerStage::message(0, 1)?;
    stage.publish(0, "/here", std::slice::from_ref(&message)).await?;
    // And in a namespace that nobody has open.
    stage.publish(0, "/nowhere", &[BrokerStage::message(0, 2)?]).await?;
    stage.settle().await?;
    heard_exactly("/here", &here, &[message])?;
    heard_exactly("/there", &there, &[])
}

pub(super) async fn names(stage: &mut BrokerStage) -> Outcome {
    let mut inboxes = Vec::new();
    for name in NAMES {
        inboxes.push(stage.open(1, name).await?);
        for room in ["x#", "b"] {
            stage.look(1, name, room).await?;
        }
    }
    let kinds = |number: u64| -> Result<Vec<Message>, String> {
        let request = Body::ServerSideEmit { request: None, data: data("n", &number)? };
        let room = |room: &str| BrokerStage::message_to(0, number, Target::room(room));
        let request = Message { sender: Some(BrokerStage::id(0)), to: None, trailer: None, body: request };
        Ok(vec![BrokerStage::message(0, number)?, request, room("x#")?, room("b")?])
    };
    for (number, name) in (0..).zip(NAMES) {
        for message in kinds(number)? {
            stage.publish(0, name, &[message]).await?;
        }
        for target in [Target::everyone(), Target::room("x#"), Target::room("b")] {
            stage.fence(0, name, target).await?;
        }
    }
    stage.settle().await?;
    for ((number, name), inbox) in (0..).zip(NAMES).zip(&inboxes) {
        // There is no common order of different channels.
        let (heard, expected) = (inbox.messages(), kinds(number)?);
        let right = heard.len() == expected.len() && expected.iter().all(|message| heard.contains(message));
        must!(right, "four messages were published in {name}, and {heard:?} arrived there");
    }
    Ok(())
}

async fn rooms_named(stage: &mut BrokerStage, room: &str) -> Outcome {
    let namespace = "/rooms";
    let inbox = stage.open_with(1, namespace, RecordingInbox::wanting(room)).await?;
    stage.look(1, namespace, room).await?;
    let message = BrokerStage::message_to(0, 1, Target::room(room))?;
    stage.publish(0, namespace, std::slice::from_ref(&message)).await?;
    stage.fence(0, namespace, Target::room(room)).await?;
    heard_exactly(&format!("an inbox with members in the room {room:?}"), &inbox, &[message])?;
    stage.close(1, namespace).await
}

pub(super) async fn rooms(stage: &mut BrokerStage) -> Outcome {
    for room in ROOMS {
        rooms_named(stage, room).await?;
    }
    Ok(())
}

pub(super) async fn not_only_that_room(stage: &mut BrokerStage) -> Outcome {
    let inbox = stage.open_with(1, NAMESPACE, RecordingInbox::wanting("nobody is in this room")).await?;
    let several = Target { rooms: rooms_of(&["x", "y"]), ..Target::default() };
    let join = Body::Join { target: Target::room("x"), rooms: vec![Room::from("z")], request: None };
    let join = Message { sender: Some(BrokerStage::id(0)), to: None, trailer: None, body: join };
    let messages = [
        BrokerStage::message(0, 1)?,
        BrokerStage::message_to(0, 2, several)?,
        BrokerStage::message_to(0, 3, Target::everyone().except("x"))?,
        join,
    ];
    for message in &messages {
        stage.publish(0, NAMESPACE, std::slice::from_ref(message)).await?;
    }
    let came = eventually(|| messages.iter().all(|message| inbox.messages().contains(message))).await;
    must!(came, "of {messages:?}, {:?} arrived", inbox.messages());
    Ok(())
}

/// The serials of what arrived, in order.
fn serials(inbox: &RecordingInbox) -> Vec<u64> {
    let serial = |heard: InboxEvent| match heard {
        InboxEvent::Message(message) => message.trailer.map(|trailer| trailer.serial),
        InboxEvent::PassedOver(trailer) => Some(trailer.serial),
        _ => None,
    };
    inbox.heard().into_iter().filter_map(serial).collect()
}

pub(super) async fn passed_over(stage: &mut BrokerStage) -> Outcome {
    const MESSAGES: u64 = 60;
    let inbox = stage.open_with(1, NAMESPACE, RecordingInbox::wanting("here")).await?;
    stage.look(1, NAMESPACE, "here").await?;
    // A broker that does not receive all rooms need not deliver what nobody wants: there, gaps are not losses.
    let all = stage.broker(1).hears(Series::Rooms) == Hears::All;
    let message = |serial: u64| -> Result<Message, String> {
        // Some dialects have a channel for each room: order holds within a room, and among messages for everybody.
        let target = match serial % 3 {
            0 => Target::everyone(),
            1 => Target::room("here"),
            _ => Target::room("nobody is in this room"),
        };
        let trailer = Some(Trailer::new(NAMESPACE, 7, serial, serial));
        Ok(Message { trailer, ..BrokerStage::message_to(0, serial, target)? })
    };
    let messages: Vec<Message> = (1..=MESSAGES).map(message).collect::<Result<_, _>>()?;
    stage.publish(0, NAMESPACE, &messages).await?;
    for target in [Target::everyone(), Target::room("here")] {
        stage.fence(0, NAMESPACE, target).await?;
    }
    let least = if all { MESSAGES } else { MESSAGES / 3 * 2 };
    must!(
        eventually(|| serials(&inbox).len() as u64 >= least).await,
        "of 60 messages, a third of which nobody here wanted, {:?} arrived",
        serials(&inbox)
    );
    for rest in 0..3 {
        let came: Vec<u64> = serials(&inbox).into_iter().filter(|serial| serial % 3 == rest).collect();
        let needed = all || rest != 2;
        let expected = (1..=MESSAGES).filter(|serial| serial % 3 == rest && (needed || came.contains(serial)));
        let expected: Vec<u64> = expected.collect();
        must!(came == expected, "of {expected:?}, {came:?} arrived");
    }
    Ok(())
}

pub(super) async fn one_server(stage: &mut BrokerStage) -> Outcome {
    let inboxes = stage.open_all().await?;
    let body = Body::Rooms { request: RequestId("question".into()), rooms: rooms_of(&["x"]), parts: 1 };
    let answer = Message { sender: Some(BrokerStage::id(0)), to: Some(BrokerStage::id(2)), trailer: None, body };
    stage.publish(0, NAMESPACE, std::slice::from_ref(&answer)).await?;
    let came = eventually(|| !inboxes[2].messages().is_empty()).await;
    must!(came, "the server that an answer was for did not get it");
    stage.settle().await?;
    let Some(expected) = (stage.dialect().arrives)(answer.clone()) else {
        return Err("the dialect has no answer to FetchRooms".to_owned());
    };
    // The channel may tell whom a message is for.
    let heard: Vec<Message> = inboxes[2].messages();
    let same = |heard: &Message| Message { to: expected.to.clone(), ..heard.clone() } == expected;
    must!(heard.len() == 1 && heard.iter().all(same), "of {answer:?}, {heard:?} arrived");
    Ok(())
}

pub(super) async fn unopened(stage: &mut BrokerStage) -> Outcome {
    let inbox = stage.open(1, NAMESPACE).await?;
    let message = BrokerStage::message(0, 1)?;
    stage.publish(0, NAMESPACE, std::slice::from_ref(&message)).await?;
    stage.fence(0, NAMESPACE, Target::everyone()).await?;
    heard_exactly("broker 1", &inbox, &[message])
}
