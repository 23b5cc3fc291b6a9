//! Rules about order.

use crate::Target;
use crate::cluster::Series;
use crate::cluster::{Body, Message};
use crate::testkit::broker::stage::{BrokerStage, NAMESPACE, RecordingInbox};
use crate::testkit::stage::{Outcome, must, within_timeout};
use std::collections::HashMap;

/// Messages of one publisher.
const IN_A_ROW: u64 = 10_000;

/// Messages that are published in one batch, as the cluster's queue does.
const BATCH: usize = 64;

fn number(message: &Message) -> Option<u64> {
    let Body::Broadcast { data, .. } = &message.body else { return None };
    data.parse::<(String, u64)>().ok().map(|(_, number)| number)
}

pub(super) async fn batch(stage: &mut BrokerStage) -> Outcome {
    let inbox = stage.open(1, NAMESPACE).await?;
    let messages: Vec<Message> =
        (0..BATCH as u64).map(|number| BrokerStage::message(0, number)).collect::<Result<_, _>>()?;
    stage.publish(0, NAMESPACE, &messages).await?;
    stage.fence(0, NAMESPACE, Target::everyone()).await?;
    let heard: Vec<u64> = inbox.messages().iter().filter_map(number).collect();
    must!(heard.iter().copied().eq(0..BATCH as u64), "a batch of 0 to 63 arrived as {heard:?}");
    // An empty batch is allowed.
    stage.publish(0, NAMESPACE, &[]).await
}

/// Every third message is for one room, for which some dialects have a channel.
fn target(number: u64) -> Target {
    if number.is_multiple_of(3) { Target::room("room") } else { Target::everyone() }
}

async fn publish(stage: &BrokerStage, broker: usize) -> Outcome {
    let all: Vec<u64> = (0..IN_A_ROW).collect();
    for numbers in all.chunks(BATCH) {
        let message = |number: &u64| BrokerStage::message_to(broker, *number, target(*number));
        let batch: Vec<Message> = numbers.iter().map(message).collect::<Result<_, _>>()?;
        stage.publish(broker, NAMESPACE, &batch).await?;
    }
    Ok(())
}

pub(super) async fn publishers(stage: &mut BrokerStage) -> Outcome {
    let inboxes = [stage.open(1, NAMESPACE).await?, stage.open(2, NAMESPACE).await?];
    for broker in [1, 2] {
        stage.look(broker, NAMESPACE, "room").await?;
    }
    let (one, two) = {
        let stage = &*stage;
        let both = async { tokio::join!(publish(stage, 0), publish(stage, 1)) };
        within_timeout("publishing 20,000 messages", both).await?
    };
    one.and(two)?;
    for broker in [0, 1] {
        for target in [Target::everyone(), Target::room("room")] {
            stage.fence(broker, NAMESPACE, target).await?;
        }
    }
    for (receiver, inbox) in (1..).zip(&inboxes) {
        for publisher in [0, 1].into_iter().filter(|publisher| stage.hears(*publisher, receiver)) {
            in_order(inbox, publisher).map_err(|seen| format!("broker {receiver} got {seen}"))?;
        }
    }
    Ok(())
}

fn in_order(inbox: &RecordingInbox, publisher: usize) -> Outcome {
    let sender = Some(BrokerStage::id(publisher));
    let mut last: HashMap<Option<Series>, u64> = HashMap::new();
    let mut count = 0;
    for message in inbox.messages().into_iter().filter(|message| message.sender == sender) {
        let Some(number) = number(&message) else { continue };
        count += 1;
        if let Some(before) = last.insert(Series::of(&message.body), number) {
            must!(before < number, "{number} of broker {publisher} after {before}");
        }
    }
    must!(count == IN_A_ROW, "{count} of {IN_A_ROW} messages of broker {publisher}");
    Ok(())
}
