//! Rules about opening, closing and counting.

use crate::Target;
use crate::cluster::Count;
use crate::testkit::broker::stage::{BrokerStage, InboxEvent, NAMESPACE, RecordingInbox, heard_exactly};
use crate::testkit::stage::{Outcome, eventually_async, must, within_timeout};

pub(super) async fn connected_first(stage: &mut BrokerStage) -> Outcome {
    for number in 0..5 {
        let inbox = stage.open(1, NAMESPACE).await?;
        let message = BrokerStage::message(0, number)?;
        stage.publish(0, NAMESPACE, std::slice::from_ref(&message)).await?;
        stage.fence(0, NAMESPACE, Target::everyone()).await?;
        let first = inbox.heard().into_iter().next();
        must!(first == Some(InboxEvent::Connected), "the first call to an inbox is {first:?}");
        heard_exactly("an inbox that was told that messages arrive", &inbox, &[message])?;
        stage.close(1, NAMESPACE).await?;
    }
    Ok(())
}

pub(super) async fn open_twice(stage: &mut BrokerStage) -> Outcome {
    let (first, second) = (stage.open(1, NAMESPACE).await?, RecordingInbox::new());
    stage.broker(1).open(&NAMESPACE.into(), &BrokerStage::id(1), second.clone());
    let message = BrokerStage::message(0, 1)?;
    stage.publish(0, NAMESPACE, std::slice::from_ref(&message)).await?;
    stage.settle().await?;
    heard_exactly("the first inbox", &first, &[message])?;
    heard_exactly("the second inbox", &second, &[])?;
    let peers = count(stage, 0).await?;
    must!(peers == expected(stage, 1), "after opening twice there are {peers:?} servers");
    Ok(())
}

pub(super) async fn close(stage: &mut BrokerStage) -> Outcome {
    let (here, there) = (stage.open(0, NAMESPACE).await?, stage.open(1, NAMESPACE).await?);
    let other = stage.open(1, "/other").await?;
    let messages = [BrokerStage::message(0, 1)?, BrokerStage::message(0, 2)?];
    stage.publish(0, NAMESPACE, &messages[..1]).await?;
    stage.settle().await?;
    stage.close(1, NAMESPACE).await?;
    let before = there.heard().len();
    stage.publish(0, NAMESPACE, &messages[1..]).await?;
    stage.publish(0, "/other", &messages[1..]).await?;
    // Closing twice, and closing a namespace that never was open.
    stage.close(1, NAMESPACE).await?;
    stage.close(1, "/never").await?;
    stage.settle().await?;
    let after = there.heard().split_off(before);
    must!(after.iter().all(|heard| *heard == InboxEvent::Lost), "after close {after:?} arrived");
    heard_exactly("who closed", &there, &messages[..1])?;
    heard_exactly("another namespace of the server that closed one", &other, &messages[1..])?;
    if stage.dialect().echo {
        heard_exactly("who did not close", &here, &messages)?;
    }
    Ok(())
}

pub(super) async fn open_again(stage: &mut BrokerStage) -> Outcome {
    let mut inboxes = Vec::new();
    for number in 0..3 {
        inboxes.push(stage.open(1, NAMESPACE).await?);
        stage.publish(0, NAMESPACE, &[BrokerStage::message(0, number)?]).await?;
        stage.settle().await?;
        stage.close(1, NAMESPACE).await?;
    }
    for (number, inbox) in (0..).zip(&inboxes) {
        heard_exactly(&format!("inbox {number} of three in turn"), inbox, &[BrokerStage::message(0, number)?])?;
    }
    Ok(())
}

pub(super) async fn counted_first(stage: &mut BrokerStage) -> Outcome {
    for _ in 0..5 {
        stage.open(1, NAMESPACE).await?;
        for broker in 0..2 {
            let peers = count(stage, broker).await?;
            let right = peers == expected(stage, 1);
            must!(right, "an inbox was told that messages arrive, and broker {broker} counts {peers:?} servers");
        }
        stage.close(1, NAMESPACE).await?;
        // It may take a while until its end is known.
        let gone = eventually_async(async || count(stage, 0).await == Ok(expected(stage, 0))).await;
        must!(gone, "a broker that has closed is counted for ever");
    }
    Ok(())
}

/// What a broker should count when there are so many servers: `None` if its dialect states that it does not count.
fn expected(stage: &BrokerStage, servers: usize) -> Result<Option<usize>, String> {
    Ok(stage.dialect().counts.then_some(servers))
}

/// The number of servers that a broker counts; `None` if it does not count. A partial count is an error.
async fn count(stage: &BrokerStage, broker: usize) -> Result<Result<Option<usize>, String>, String> {
    let counted = within_timeout("count", stage.broker(broker).count(NAMESPACE)).await?;
    let all = |count: Option<Count>| match count {
        Some(Count { servers, complete: true }) => Ok(Some(servers)),
        None => Ok(None),
        count => Err(format!("{count:?}")),
    };
    Ok(counted.map_err(|error| error.to_string()).and_then(all))
}

/// Checks that every broker counts so many servers. It may take a while until the end of one is known.
async fn counts(stage: &BrokerStage, servers: usize) -> Outcome {
    for broker in 0..3 {
        let mut counted = Ok(Ok(None));
        let right = eventually_async(async || {
            counted = count(stage, broker).await;
            counted == Ok(expected(stage, servers))
        });
        must!(right.await, "{servers} brokers have the namespace open, and broker {broker} counts {counted:?}");
    }
    Ok(())
}

pub(super) async fn peers(stage: &mut BrokerStage) -> Outcome {
    counts(stage, 0).await?;
    for broker in 0..3 {
        stage.open(broker, NAMESPACE).await?;
        counts(stage, broker + 1).await?;
    }
    stage.open(0, "/other").await?;
    counts(stage, 3).await?;
    stage.close(0, NAMESPACE).await?;
    counts(stage, 2).await?;
    stage.close(1, NAMESPACE).await?;
    stage.close(2, NAMESPACE).await?;
    counts(stage, 0).await
}
