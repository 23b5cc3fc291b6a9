//! Rules about rooms that are subscribed one by one ([`Broker::look`](crate::cluster::Broker::look)). A broker that
//! receives all rooms keeps them without doing anything.

use crate::Target;
use crate::testkit::broker::stage::{BrokerStage, InboxEvent, NAMESPACE, RecordingInbox};
use crate::testkit::stage::{Outcome, eventually, must};

/// Publishes a number to a room, and waits until it has arrived at broker 1, once.
async fn comes(stage: &BrokerStage, inbox: &RecordingInbox, room: &str, number: u64) -> Outcome {
    let message = BrokerStage::message_to(0, number, Target::room(room))?;
    stage.publish(0, NAMESPACE, std::slice::from_ref(&message)).await?;
    let came = || inbox.messages().iter().filter(|heard| **heard == message).count();
    must!(eventually(|| came() > 0).await, "number {number} of all, published to the room {room:?}, did not arrive");
    must!(came() == 1, "number {number} of all, published to the room {room:?}, arrived {} times", came());
    Ok(())
}

pub(super) async fn looked(stage: &mut BrokerStage) -> Outcome {
    let inbox = stage.open_with(1, NAMESPACE, RecordingInbox::wanting("first")).await?;
    for number in 0..20 {
        let room = format!("room {number}");
        inbox.enter(&room);
        stage.look(1, NAMESPACE, &room).await?;
        comes(stage, &inbox, &room, number).await?;
        // A second member changes nothing.
        stage.look(1, NAMESPACE, &room).await?;
        comes(stage, &inbox, &room, 100 + number).await?;
    }
    Ok(())
}

pub(super) async fn others_left(stage: &mut BrokerStage) -> Outcome {
    let inbox = stage.open_with(1, NAMESPACE, RecordingInbox::wanting("stays")).await?;
    stage.look(1, NAMESPACE, "stays").await?;
    for number in 0..5 {
        inbox.enter("goes");
        stage.look(1, NAMESPACE, "goes").await?;
        comes(stage, &inbox, "goes", number).await?;
        inbox.leave("goes");
        stage.look(1, NAMESPACE, "goes").await?;
        // It may arrive or not.
        stage.publish(0, NAMESPACE, &[BrokerStage::message_to(0, 100 + number, Target::room("goes"))?]).await?;
        comes(stage, &inbox, "stays", 200 + number).await?;
    }
    // A look in a namespace that is not open does nothing, and no harm.
    stage.look(1, "/never", "stays").await?;
    comes(stage, &inbox, "stays", 300).await
}

pub(super) async fn opened_again(stage: &mut BrokerStage) -> Outcome {
    for number in 0..3 {
        let inbox = stage.open_with(1, NAMESPACE, RecordingInbox::wanting("room")).await?;
        stage.look(1, NAMESPACE, "room").await?;
        comes(stage, &inbox, "room", number).await?;
        stage.close(1, NAMESPACE).await?;
        stage.publish(0, NAMESPACE, &[BrokerStage::message_to(0, 100 + number, Target::room("room"))?]).await?;
        stage.open_with(1, NAMESPACE, RecordingInbox::wanting("another room")).await?;
        stage.fence(0, NAMESPACE, Target::everyone()).await?;
        stage.close(1, NAMESPACE).await?;
        must!(inbox.messages().len() == 1, "after close {:?} arrived", inbox.messages());
    }
    Ok(())
}

pub(super) async fn interrupted(stage: &mut BrokerStage) -> Outcome {
    let inbox = stage.open_with(1, NAMESPACE, RecordingInbox::wanting("before")).await?;
    stage.look(1, NAMESPACE, "before").await?;
    let Some(hook) = &stage.brokers.cut_off else { return Ok(()) };
    hook(1, true).await;
    // Whether or not it knows already.
    inbox.enter("meanwhile");
    // The room cannot be subscribed now. The broker decides whether this waits or fails.
    drop(stage.hint(1, NAMESPACE, "meanwhile"));
    hook(1, false).await;
    must!(
        eventually(|| inbox.count(&InboxEvent::Connected) == 2).await,
        "a broker that was reconnected did not call `connected`"
    );
    comes(stage, &inbox, "before", 1).await?;
    comes(stage, &inbox, "meanwhile", 2).await
}
