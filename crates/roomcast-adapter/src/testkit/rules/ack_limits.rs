//! Rules about how many acknowledgements may be pending, and about those that never arrive.

use crate::AdapterError;
use crate::Target;
use crate::limits::MAX_PENDING_ACKS;
use crate::testkit::stage::{Actor, LONG, Outcome, Stage, data, eventually, must, within_timeout};
use crate::{Acked, Adapter, Emit};
use roomcast_protocol::Args;
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Acked, AdapterError>> + Send + 'a>>;

/// Emits that were sent and wait for one socket's acknowledgements.
async fn ask_many<'a>(
    adapter: &'a dyn Adapter,
    target: &'a Target,
    sent: &'a Args,
    timeout: Duration,
) -> Result<Vec<Asking<'a>>, String> {
    let mut asking: Vec<Asking<'a>> = Vec::new();
    for number in 0..MAX_PENDING_ACKS {
        let since = Instant::now();
        let mut future = adapter.emit_with_ack(target, Emit::of(sent), timeout);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => asking.push(future),
            // On a busy machine this thread may have been kept waiting for as long as the timeout.
            Poll::Ready(acked) if since.elapsed() >= timeout => asking.push(Box::pin(ready(acked))),
            Poll::Ready(acked) => {
                return Err(format!("emit {number} was over at once with {acked:?}, though nobody had answered"));
            }
        }
    }
    Ok(asking)
}

/// Checks that the socket is asked once more, and that its answer counts.
async fn is_asked(actor: &Actor, target: &Target, sent: &Args) -> Outcome {
    let before = actor.recipient.packets().len();
    let answer = async {
        must!(eventually(|| actor.recipient.packets().len() > before).await, "the socket is not asked any more");
        let Some(id) = actor.recipient.events()[before].ack else {
            return Err("the event has no ack id".to_owned());
        };
        actor.adapter.ack(actor.id, id, Args::none());
        Ok(())
    };
    let asked = within_timeout("the answer", actor.adapter.emit_with_ack(target, Emit::of(sent), LONG));
    let (acked, answered) = tokio::join!(asked, answer);
    answered?;
    let acked = acked?.map_err(|error| error.to_string())?;
    must!(acked.answers.len() == 1 && acked.missing_sockets == 0, "one socket was asked and answered: {acked:?}");
    Ok(())
}

pub(super) async fn pending(stage: &mut Stage) -> Outcome {
    let part = stage.part().await?;
    let (actor, sent) = (&part.0[0], data("ask", &())?);
    let target = Target::room(actor.id).local();
    let adapter = stage.first();
    let asking = ask_many(&*adapter, &target, &sent, LONG).await?;
    let all_asked = eventually(|| actor.recipient.packets().len() >= MAX_PENDING_ACKS as usize).await;
    let asked = actor.events().len();
    must!(all_asked, "the socket was asked {asked} times of {MAX_PENDING_ACKS}");
    let over =
        within_timeout("the end of an emit that asks nobody", adapter.emit_with_ack(&target, Emit::of(&sent), LONG))
            .await?;
    let expected = Acked { missing_sockets: 1, ..Acked::default() };
    must!(over.as_ref() == Ok(&expected), "one more ended with {over:?}");
    must!(actor.events().len() == asked, "a socket that owes {asked} answers was asked for another");
    let Some(id) = actor.events()[0].ack else {
        return Err("the event has no ack id".to_owned());
    };
    actor.adapter.ack(actor.id, id, Args::none());
    is_asked(actor, &target, &sent).await?;
    drop(asking);
    Ok(())
}

pub(super) async fn timed_out(stage: &mut Stage) -> Outcome {
    let part = stage.part().await?;
    let (actor, sent) = (&part.0[0], data("ask", &())?);
    let target = Target::room(actor.id).local();
    let adapter = stage.first();
    let silent = Acked { missing_sockets: 1, ..Acked::default() };
    // A short timeout ends before most of these are awaited; each must end by itself.
    for asking in ask_many(&*adapter, &target, &sent, Duration::from_millis(50)).await? {
        let acked = within_timeout("a timeout of 50 ms", asking).await?;
        must!(acked.as_ref() == Ok(&silent), "a socket that was silent makes {acked:?}");
    }
    let ids: Vec<Option<u64>> = actor.events().iter().map(|event| event.ack).collect();
    let late = async {
        for id in ids.into_iter().flatten() {
            actor.adapter.ack(actor.id, id, sent.clone());
        }
    };
    let before = actor.recipient.packets().len();
    let answered = async {
        must!(eventually(|| actor.recipient.packets().len() > before).await, "the socket is not asked any more");
        late.await;
        let Some(id) = actor.recipient.events()[before].ack else {
            return Err("the event has no ack id".to_owned());
        };
        actor.adapter.ack(actor.id, id, Args::none());
        Ok(())
    };
    let asked = within_timeout("the answer", adapter.emit_with_ack(&target, Emit::of(&sent), LONG));
    let (acked, answered) = tokio::join!(asked, answered);
    answered?;
    let right = Acked { answers: vec![Args::none()], ..Acked::default() };
    must!(acked? == Ok(right), "late answers to other ids were taken for this one");
    Ok(())
}

pub(super) async fn dropped(stage: &mut Stage) -> Outcome {
    let part = stage.part().await?;
    let (actor, sent) = (&part.0[0], data("ask", &())?);
    let target = Target::room(actor.id).local();
    let adapter = stage.first();
    drop(ask_many(&*adapter, &target, &sent, LONG).await?);
    is_asked(actor, &target, &sent).await
}
