//! Rules about actions on the sockets of a target, other than emits.

use crate::Action;
use crate::Room;
use crate::Target;
use crate::testkit::stage::{Actor, Outcome, Part, Stage, eventually, must, rooms, to};

impl Stage {
    fn act(&self, target: &Target, action: Action<'_>) -> Outcome {
        self.servers[0].adapter.apply(target, action).map_err(|error| format!("{action:?} was refused: {error}"))
    }
}

impl Part {
    /// Checks that every socket of the part is in exactly these rooms, soon.
    async fn is_in(&self, expected: &[&str]) -> Outcome {
        let expected = rooms(expected);
        for actor in &self.0 {
            let came = eventually(|| actor.joined() == expected).await;
            must!(came, "{actor} is in {:?}, not in {expected:?}", actor.joined());
        }
        Ok(())
    }
}

/// Three parts on each server, of which the target `x` without `y` selects the first. Each server has all three and
/// applies an action in one step, so once the first part has changed, the others would have changed too.
async fn cast(stage: &mut Stage) -> Result<[Part; 3], String> {
    let (a, b, c) = (stage.part().await?, stage.part().await?, stage.part().await?);
    a.join(&["x"]).await?;
    b.join(&["x", "y"]).await?;
    Ok([a, b, c])
}

pub(super) async fn join(stage: &mut Stage) -> Outcome {
    let [a, b, c] = cast(stage).await?;
    stage.act(&to(&["x"], &["y"]), Action::Join(&rooms(&["new", "newer"])))?;
    let here = a.0[0].joined();
    must!(here == rooms(&["new", "newer", "x"]), "right after the call, the caller's own server has it in {here:?}");
    a.is_in(&["new", "newer", "x"]).await?;
    b.is_in(&["x", "y"]).await?;
    c.is_in(&[]).await?;
    stage.emit("new", &Target::room("new").local())?;
    stage.act(&Target::everyone(), Action::Join(&rooms(&["all"])))?;
    a.is_in(&["all", "new", "newer", "x"]).await?;
    b.is_in(&["all", "x", "y"]).await?;
    c.is_in(&["all"]).await?;
    let got = (a.0[0].events().len(), c.0[0].events().len());
    must!(
        got == (1, 0),
        "an emit to the new room arrived {} times at a member, {} times at another socket",
        got.0,
        got.1
    );
    Ok(())
}

pub(super) async fn leave(stage: &mut Stage) -> Outcome {
    let [a, b, c] = cast(stage).await?;
    c.join(&["y"]).await?;
    stage.act(&to(&["x"], &["y"]), Action::Leave(&rooms(&["x", "never joined"])))?;
    must!(a.0[0].joined().is_empty(), "right after the call, the caller's own server has it in {:?}", a.0[0].joined());
    a.is_in(&[]).await?;
    b.is_in(&["x", "y"]).await?;
    c.is_in(&["y"]).await?;
    stage.act(&Target::everyone(), Action::Leave(&rooms(&["y"])))?;
    b.is_in(&["x"]).await?;
    c.is_in(&[]).await
}

pub(super) async fn disconnect(stage: &mut Stage) -> Outcome {
    let [a, b, c] = cast(stage).await?;
    a.join(&["z"]).await?;
    stage.act(&to(&["x", "z"], &["y"]), Action::Disconnect { close: false })?;
    let here = a.0[0].recipient.disconnects();
    must!(here == [false], "right after the call, a recipient of the caller's own server got the disconnects {here:?}");
    told(&a, &[false]).await?;
    told(&b, &[]).await?;
    told(&c, &[]).await?;
    let own: Vec<Room> = b.0.iter().map(|actor| Room::from(actor.id)).collect();
    stage.act(&Target { rooms: own, ..Target::default() }, Action::Disconnect { close: true })?;
    told(&b, &[true]).await?;
    told(&a, &[false]).await?;
    told(&c, &[]).await?;
    stage.act(&Target::everyone(), Action::Disconnect { close: true })?;
    told(&c, &[true]).await?;
    told(&b, &[true, true]).await?;
    told(&a, &[false, true]).await
}

async fn told(part: &Part, expected: &[bool]) -> Outcome {
    for actor in &part.0 {
        let told = |actor: &Actor| actor.recipient.disconnects();
        let came = eventually(|| told(actor) == expected).await;
        must!(came, "{actor} got disconnects with close {:?}, not {expected:?}", told(actor));
    }
    Ok(())
}

pub(super) async fn local_flag(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    stage.act(&Target::everyone().local(), Action::Join(&rooms(&["here"])))?;
    stage.act(&Target::everyone().local(), Action::Disconnect { close: false })?;
    // The next action is for everybody and is applied after these.
    stage.act(&Target::everyone(), Action::Join(&rooms(&["x"])))?;
    for actor in &a.0 {
        let expected = if actor.server == 0 { rooms(&["here", "x"]) } else { rooms(&["x"]) };
        let came = eventually(|| actor.joined() == expected).await;
        must!(came, "{actor} is in {:?}, not in {expected:?}", actor.joined());
        let (told, expected) = (actor.recipient.disconnects().len(), usize::from(actor.server == 0));
        must!(told == expected, "{actor} got {told} disconnects, not {expected}");
    }
    Ok(())
}
