//! Rules about servers and one another.

use crate::Target;
use crate::testkit::stage::{LONG, Outcome, SHORT, Stage, data, eventually, eventually_async, must, within_timeout};
use roomcast_protocol::Args;

pub(super) async fn server_count(stage: &mut Stage) -> Outcome {
    for (number, server) in stage.servers.iter().enumerate() {
        let count = within_timeout("server_count", server.adapter.server_count()).await?;
        let right = count.is_complete() && count.value == stage.servers.len();
        must!(right, "server {number} of {} counts {count:?}", stage.servers.len());
    }
    Ok(())
}

pub(super) async fn server_side_emit(stage: &mut Stage) -> Outcome {
    let part = stage.part().await?;
    let senders = stage.servers.len();
    for sender in 0..senders {
        let sent = data("hello", &("from", sender))?;
        let emitted = stage.servers[sender].adapter.server_side_emit(&sent);
        must!(emitted.is_ok(), "a server-side emit ended with {emitted:?}");
        for (number, server) in stage.servers.iter_mut().enumerate().filter(|(number, _)| *number != sender) {
            let event = within_timeout("a server-side event", server.events.recv()).await?;
            let event = event.ok_or_else(|| format!("server {number} closed its channel of events"))?;
            must!(event.data == sent, "{} arrived at server {number} as {}", sent.items(), event.data.items());
            must!(event.reply.is_none(), "an event without acknowledgement arrived with a place for the answer");
        }
    }
    // What arrives twice, or back at the sender, arrives before what is emitted to clients now.
    stage.settle().await?;
    for (number, server) in stage.servers.iter_mut().enumerate() {
        let more = server.events.try_recv();
        must!(more.is_err(), "server {number} got its own event, or one twice: {more:?}");
    }
    part.got(&[])
}

pub(super) async fn server_side_answers(stage: &mut Stage) -> Outcome {
    let sent = data("question", &7)?;
    let adapter = stage.first();
    let others = stage.servers.len() - 1;
    let ask =
        within_timeout("the end of a server-side emit with answers", adapter.server_side_emit_with_ack(&sent, LONG));
    let servers = stage.servers.iter_mut().skip(1);
    let answer = async {
        for (number, server) in servers.enumerate() {
            let event = within_timeout("a server-side event", server.events.recv()).await?;
            let event = event.ok_or_else(|| "a server closed its channel of events".to_owned())?;
            must!(event.data == sent, "{} arrived as {}", sent.items(), event.data.items());
            let reply = event
                .reply
                .ok_or_else(|| "an event with acknowledgement arrived without a place for the answer".to_owned())?;
            let answer = Args::of(&number).map_err(|error| error.to_string())?;
            must!(reply.send(answer).is_ok(), "nobody waits for the answer");
        }
        Ok(())
    };
    let (answers, answered) = tokio::join!(ask, answer);
    answered?;
    let answers = answers?.map_err(|error| error.to_string())?;
    must!(answers.is_complete(), "every server answered, and {:?} are said to be missing", answers.missing);
    let mut numbers: Vec<usize> = answers.value.iter().filter_map(|answer| answer.parse().ok()).collect();
    numbers.sort_unstable();
    must!(numbers == (0..others).collect::<Vec<_>>(), "{others} servers answered, and the answers are {numbers:?}");
    Ok(())
}

pub(super) async fn server_side_silence(stage: &mut Stage) -> Outcome {
    let sent = data("question", &())?;
    let adapter = stage.first();
    let others = stage.servers.len() - 1;
    let asked = within_timeout("the timeout", adapter.server_side_emit_with_ack(&sent, SHORT)).await?;
    let answers = asked.map_err(|error| error.to_string())?;
    must!(answers.value.is_empty(), "nobody answered, and the answers are {:?}", answers.value);
    let missing = answers.missing.names.len() + answers.missing.others;
    must!(missing == others, "{others} servers were silent, and {:?} are said to be missing", answers.missing);
    Ok(())
}

pub(super) async fn close(stage: &mut Stage) -> Outcome {
    let part = stage.part().await?;
    part.join(&["x"]).await?;
    let closed = stage.first();
    within_timeout("close", closed.close()).await?;
    within_timeout("a second close", closed.close()).await?;
    let (sent, target) = (data("after", &())?, Target::room("x"));
    let emitted = closed.apply(&target, crate::Action::emit(&sent));
    must!(emitted.is_ok(), "after close an emit was refused: {emitted:?}");
    let own = part.0[0].events().len();
    must!(own == 1, "after close an emit arrived {own} times at this server's own socket");
    for (number, server) in stage.servers.iter().enumerate().skip(1) {
        let adapter = &server.adapter;
        let expected = stage.servers.len() - 1;
        let gone = eventually_async(async || adapter.server_count().await.value == expected).await;
        must!(gone, "server {number} still counts the server that closed");
        let emitted = adapter.apply(&target, crate::Action::emit(&data("later", &number)?));
        must!(emitted.is_ok(), "after another server's close an emit was refused: {emitted:?}");
    }
    for actor in part.0.iter().skip(1) {
        let later = || actor.events().iter().filter(|event| event.name == "later").count();
        let expected = stage.servers.len() - 1;
        must!(eventually(|| later() == expected).await, "{actor} got {} of {expected} emits of the others", later());
        let stray = actor.events().iter().any(|event| event.name == "after");
        must!(!stray, "{actor} got what the closed server emitted");
    }
    let strays = part.0[0].events().len() - own;
    must!(strays == 0, "the closed server's socket got {strays} events of the others");
    Ok(())
}
