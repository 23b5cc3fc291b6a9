//! Rules about acknowledgements.

use crate::Room;
use crate::Target;
use crate::testkit::stage::{LONG, Outcome, SHORT, Stage, data, eventually, must, to, within_timeout};
use crate::{Acked, Action, Emit};
use roomcast_protocol::Args;
use std::time::Duration;

/// Rounds of a race between an acknowledgement and its emit.
const ROUNDS: usize = 50;

impl Stage {
    /// Emits the event `ask` with acknowledgement through the first server.
    async fn ask(&self, target: &Target, timeout: Duration) -> Result<Acked, String> {
        let (adapter, sent) = (self.first(), data("ask", &())?);
        let asked = within_timeout(
            "the end of an emit with acknowledgement",
            adapter.emit_with_ack(target, Emit::of(&sent), timeout),
        );
        asked.await?.map_err(|error| format!("an emit with acknowledgement was refused: {error}"))
    }
}

fn expect(acked: &Acked, answers: usize, answer: &Args, missing: usize) -> Outcome {
    must!(acked.answers.len() == answers, "{} answers arrived, not {answers}", acked.answers.len());
    let right = acked.answers.iter().all(|got| got == answer);
    must!(
        right,
        "the answer {} arrived as {:?}",
        answer.items(),
        acked.answers.iter().map(Args::items).collect::<Vec<_>>()
    );
    let count = acked.missing_sockets;
    must!(count == missing, "{count} sockets are said to be missing, not {missing}");
    must!(acked.missing.is_empty(), "servers are said to be missing: {:?}", acked.missing);
    Ok(())
}

fn answer(text: &str) -> Result<Args, String> {
    Args::of(text).map_err(|error| error.to_string())
}

pub(super) async fn complete(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    a.join(&["x", "y"]).await?;
    let yes = answer("yes")?;
    a.answer(&yes);
    b.answer(&yes);
    expect(&stage.ask(&Target::everyone(), LONG).await?, a.0.len() + b.0.len(), &yes, 0)?;
    expect(&stage.ask(&to(&["x", "y"], &[]), LONG).await?, a.0.len(), &yes, 0)?;
    expect(&stage.ask(&to(&[], &["x"]), LONG).await?, b.0.len(), &yes, 0)?;
    stage.settle().await?;
    a.got(&["ask", "ask"])?;
    b.got(&["ask", "ask"])
}

pub(super) async fn nobody(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    expect(&stage.ask(&Target::room("nobody"), LONG).await?, 0, &Args::none(), 0)?;
    stage.settle().await?;
    a.got(&[])
}

pub(super) async fn silent(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    let yes = answer("yes")?;
    a.answer(&yes);
    expect(&stage.ask(&Target::everyone(), SHORT).await?, a.0.len(), &yes, b.0.len())
}

pub(super) async fn second_answers(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    let (first, second) = (answer("first")?, answer("second")?);
    b.answer(&first);
    let twice = async {
        for actor in &a.0 {
            must!(eventually(|| !actor.events().is_empty()).await, "{actor} was not asked");
            for (number, event) in actor.events().iter().enumerate() {
                must!(number == 0, "{actor} was asked twice");
                let Some(id) = event.ack else {
                    return Err(format!("the event for {actor} has no ack id"));
                };
                actor.adapter.ack(actor.id, id, first.clone());
                actor.adapter.ack(actor.id, id, second.clone());
            }
        }
        Ok(())
    };
    let target = Target::everyone();
    let (acked, answered) = tokio::join!(stage.ask(&target, LONG), twice);
    answered?;
    expect(&acked?, a.0.len() + b.0.len(), &first, 0)
}

pub(super) async fn strangers(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    a.join(&["x"]).await?;
    let (right, wrong) = (answer("right")?, answer("wrong")?);
    let answers = async {
        for (actor, stranger) in a.0.iter().zip(&b.0) {
            must!(eventually(|| !actor.events().is_empty()).await, "{actor} was not asked");
            let Some(id) = actor.events()[0].ack else {
                return Err(format!("the event for {actor} has no ack id"));
            };
            stranger.adapter.ack(stranger.id, id, wrong.clone());
            actor.adapter.ack(actor.id, id + 1, wrong.clone());
            actor.adapter.ack(actor.id, id, right.clone());
        }
        Ok(())
    };
    let target = Target::room("x");
    let (acked, answered) = tokio::join!(stage.ask(&target, LONG), answers);
    answered?;
    expect(&acked?, a.0.len(), &right, 0)?;
    b.got(&[])
}

pub(super) async fn removed(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    let yes = answer("yes")?;
    a.answer(&yes);
    let gone = &b.0[0];
    let leaves = async {
        must!(eventually(|| !gone.events().is_empty()).await, "{gone} was not asked");
        gone.adapter.remove(gone.id);
        let Some(id) = gone.events()[0].ack else {
            return Err(format!("the event for {gone} has no ack id"));
        };
        gone.adapter.ack(gone.id, id, yes.clone());
        Ok(())
    };
    // Servers need not tell askers on other servers that sockets left, so only this server's sockets are asked.
    let target = Target::everyone().local();
    let (acked, left) = tokio::join!(stage.ask(&target, LONG), leaves);
    left?;
    expect(&acked?, 1, &yes, 1)
}

pub(super) async fn at_once(stage: &mut Stage) -> Outcome {
    let part = stage.part().await?;
    let yes = answer("yes")?;
    part.answer(&yes);
    for round in 0..ROUNDS {
        let acked = stage.ask(&Target::everyone(), LONG).await;
        let checked = acked.and_then(|acked| expect(&acked, part.0.len(), &yes, 0));
        checked.map_err(|seen| format!("in round {round} of {ROUNDS}, {seen}"))?;
    }
    Ok(())
}

pub(super) async fn ids(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    let yes = answer("yes")?;
    a.answer(&yes);
    b.answer(&yes);
    stage.ask(&Target::everyone(), LONG).await?;
    stage.emit("plain", &Target::everyone())?;
    stage.ask(&Target::room(Room::from(a.0[0].id)), LONG).await?;
    stage.ask(&Target::everyone(), LONG).await?;
    // Each server has a counter of its own, so only the ids on the asking server are known.
    let ids = |actor: &crate::testkit::stage::Actor| actor.events().iter().map(|event| event.ack).collect::<Vec<_>>();
    let (one, other) = (ids(&a.0[0]), ids(&b.0[0]));
    must!(one == [Some(0), None, Some(1), Some(2)], "the first socket got the ids {one:?}");
    must!(other == [Some(0), None, Some(2)], "the second socket, which was not asked for 1, got the ids {other:?}");
    Ok(())
}

pub(super) async fn one(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    let (asked, watcher) = (&a.0[0], &b.0[0]);
    b.join(&[asked.id.as_str()]).await?;
    let (answer, other) = (data("asked", &1)?, data("watcher", &2)?);
    a.answer(&answer);
    b.answer(&other);
    let acked = stage.ask(&Target::socket(asked.id).local(), LONG).await?;
    expect(&acked, 1, &answer, 0)?;
    asked.is_told(&["ask"])?;
    watcher.is_told(&[])?;
    // The same for an event without acknowledgement, and with several ids.
    let (target, sent) = (Target::socket(asked.id).local(), data("one", &())?);
    let twice = Target { rooms: vec![asked.id.into(), asked.id.into()], ..target.clone() };
    for target in [target, twice] {
        let applied = asked.adapter.apply(&target, Action::emit(&sent));
        must!(applied.is_ok(), "an emit to one socket was refused");
    }
    asked.is_told(&["ask", "one", "one"])?;
    watcher.is_told(&[])
}

pub(super) async fn volatile(stage: &mut Stage) -> Outcome {
    let part = stage.part().await?;
    let (actor, sent) = (&part.0[0], data("ask", &())?);
    part.answer(&Args::none());
    for volatile in [true, false] {
        let emit = Emit { volatile, ..Emit::of(&sent) };
        let target = Target::room(actor.id).local();
        let acked = within_timeout("the answer", actor.adapter.emit_with_ack(&target, emit, LONG)).await?;
        must!(acked.is_ok(), "an emit with acknowledgement was refused: {acked:?}");
        let got = actor.events().pop().map(|event| event.volatile);
        must!(got == Some(volatile), "an event with volatile = {volatile} arrived with volatile = {got:?}");
    }
    Ok(())
}
