//! Rules about failures. They pass where the hooks that cause the failures are missing.

use crate::Target;
use crate::testkit::broker::stage::{BrokerStage, InboxEvent, NAMESPACE, heard_exactly};
use crate::testkit::stage::{Outcome, eventually, must};

/// Bytes that should not be a message in any dialect.
const GARBAGE: &[&[u8]] = &[
    b"\xc1",
    b"not a message",
    b"{\"type\":",
    b"\x93\xa1a",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"[[[[[[[[",
    b"\xdf\xff\xff\xff\xff",
];

pub(super) async fn malformed(stage: &mut BrokerStage) -> Outcome {
    let inbox = stage.open(1, NAMESPACE).await?;
    for (told, bytes) in (1..).zip(GARBAGE) {
        let Some(inject) = &stage.brokers.inject else { return Ok(()) };
        inject(NAMESPACE.to_owned(), bytes.to_vec()).await;
        let came = eventually(|| inbox.count(&InboxEvent::Malformed) == told).await;
        let counted = inbox.count(&InboxEvent::Malformed);
        must!(
            came,
            "input that is not a message was sent {told} times, last {bytes:?}, and was reported {counted} times"
        );
    }
    let message = BrokerStage::message(0, 1)?;
    stage.publish(0, NAMESPACE, std::slice::from_ref(&message)).await?;
    stage.fence(0, NAMESPACE, Target::everyone()).await?;
    heard_exactly("an inbox that was sent input that is not a message", &inbox, &[message])
}

async fn cut(stage: &BrokerStage, broker: usize, cut: bool) -> bool {
    match &stage.brokers.cut_off {
        Some(hook) => {
            hook(broker, cut).await;
            true
        }
        None => false,
    }
}

pub(super) async fn publish_cut_off(stage: &mut BrokerStage) -> Outcome {
    let inbox = stage.open(1, NAMESPACE).await?;
    if !cut(stage, 0, true).await {
        return Ok(());
    }
    let failed = stage.publish(0, NAMESPACE, &[BrokerStage::message(0, 1)?]).await;
    must!(failed.is_err(), "a broker that is cut off published");
    cut(stage, 0, false).await;
    let message = BrokerStage::message(0, 2)?;
    stage.published_at_last(0, NAMESPACE, &message).await?;
    stage.fence(0, NAMESPACE, Target::everyone()).await?;
    // Retrying may have sent the message more than once, but a message that surely failed must not arrive.
    let heard = inbox.messages();
    must!(heard.contains(&message), "a message that was published after reconnecting did not arrive");
    must!(
        heard.iter().all(|heard| *heard == message),
        "a message that failed to be published arrived all the same: {heard:?}"
    );
    Ok(())
}

pub(super) async fn hear_again(stage: &mut BrokerStage) -> Outcome {
    let inbox = stage.open(1, NAMESPACE).await?;
    let other = stage.open(1, "/other").await?;
    for round in 1..=3 {
        if !cut(stage, 1, true).await {
            return Ok(());
        }
        let lost =
            eventually(|| inbox.count(&InboxEvent::Lost) == round && other.count(&InboxEvent::Lost) == round).await;
        must!(lost, "a broker that was cut off did not call `lost` once on each of its inboxes");
        // These may be lost.
        stage.publish(0, NAMESPACE, &[BrokerStage::message(0, 0)?]).await?;
        cut(stage, 1, false).await;
        let again = round + 1;
        let connected = || inbox.count(&InboxEvent::Connected) == again && other.count(&InboxEvent::Connected) == again;
        must!(
            eventually(connected).await,
            "a broker that was reconnected did not call `connected` once on each of its inboxes"
        );
        let before = other.messages().len();
        let message = BrokerStage::message(0, again as u64)?;
        stage.publish(0, NAMESPACE, std::slice::from_ref(&message)).await?;
        stage.publish(0, "/other", std::slice::from_ref(&message)).await?;
        stage.fence(0, NAMESPACE, Target::everyone()).await?;
        stage.fence(0, "/other", Target::everyone()).await?;
        let heard = inbox.messages();
        let times = heard.iter().filter(|heard| **heard == message).count();
        must!(times == 1, "a message arrived {times} times after reconnecting");
        let heard = other.messages().split_off(before);
        must!(heard == [message], "in another namespace {heard:?} arrived after reconnecting");
    }
    Ok(())
}
