//! [`recovery_contract`]: what holds for every adapter that offers [`Recovery`].

use crate::testkit::recipient::{FakeRecipient, ReceivedEvent};
use crate::testkit::stage::{Outcome, data, must, rooms, to};
use crate::{Action, Adapter, Emit, Found, NotRecovered, Recovery, Target};
use roomcast_protocol::{Packet, Pid, SocketId};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// One sentence of the contract of [`Recovery`].
#[derive(Debug, Clone, Copy)]
pub struct RecoveryRule {
    /// Its short name.
    pub name: &'static str,
    /// What must hold.
    pub says: &'static str,
    check: Check,
}

type Check = for<'a> fn(&'a dyn Adapter) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

macro_rules! rule {
    ($name:ident, $says:literal) => {
        RecoveryRule { name: stringify!($name), says: $says, check: |adapter| Box::pin($name(adapter)) }
    };
}

const RULES: &[RecoveryRule] = &[
    rule!(
        offset,
        "An event ends in one more argument, a string; a volatile one, or one that wants an answer, gets none, and no volatile one ends in a string."
    ),
    rule!(missed, "A client gets what it missed once, in order, before the welcome, and live events after it."),
    rule!(
        whole,
        "Only what was for the socket is missed: its rooms and its own id count, and what left it out does not."
    ),
    rule!(own, "emit_to reaches a live socket at once and a kept one later, and says so if there is none."),
    rule!(state, "Id, rooms and data are those of before, and a kept session is in no room for anybody else."),
    rule!(
        given_back,
        "A session that was found and not continued can be found again, with everything that was missed since."
    ),
    rule!(left, "A removed socket has no session, and a private id that was never given finds none."),
    rule!(foreign, "An offset that was never given finds nothing, and does no harm."),
];

/// The rules of the contract.
pub fn recovery_rules() -> &'static [RecoveryRule] {
    RULES
}

impl RecoveryRule {
    /// Checks this rule on a new adapter.
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn check(&self, adapter: &dyn Adapter) -> Result<(), String> {
        (self.check)(adapter).await
    }
}

impl fmt::Display for RecoveryRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "- recovery::{}: {}", self.name, self.says)
    }
}

/// Checks every rule, each on an adapter of its own, which must offer recovery and need not have other servers.
///
/// # Panics
/// If a rule is broken. The message names each broken rule, says what must hold, and what was seen instead.
#[allow(clippy::panic)] // A test library reports by panicking, as `assert!` does.
pub async fn recovery_contract(make: impl AsyncFn() -> Arc<dyn Adapter>) {
    let mut broken = String::new();
    for rule in RULES {
        if let Err(seen) = rule.check(&*make().await).await {
            broken.push_str(&format!("\n{rule} But: {seen}."));
        }
    }
    assert!(broken.is_empty(), "the adapter breaks rules of recovery:{broken}");
}

/// A client, and what it has received.
struct Client {
    pid: Pid,
    id: SocketId,
    recipient: Arc<FakeRecipient>,
    offset: Option<String>,
}

fn recovery(adapter: &dyn Adapter) -> Result<&dyn Recovery, String> {
    adapter.recovery().ok_or_else(|| "it offers no recovery".to_owned())
}

fn welcome() -> Result<Arc<Packet>, String> {
    Ok(Arc::new(Packet::connect(crate::testkit::NAMESPACE, "{}").map_err(|error| error.to_string())?))
}

impl Client {
    fn enter(adapter: &dyn Adapter, names: &[&str]) -> Result<Self, String> {
        let pid = Pid::random().map_err(|error| error.to_string())?;
        let id = SocketId::random().map_err(|error| error.to_string())?;
        let recipient = FakeRecipient::new();
        let begun = recovery(adapter)?.begin(pid, id, recipient.clone(), &rooms(names), Some(&welcome()?));
        must!(begun == Ok(()), "a session did not begin: {begun:?}");
        Ok(Self { pid, id, recipient, offset: None })
    }

    /// Takes what has arrived as received.
    fn receive(&mut self) {
        let last = self.recipient.events().iter().rev().find_map(offset_of);
        self.offset = last.or(self.offset.take());
    }

    fn lose(&mut self, adapter: &dyn Adapter) -> Outcome {
        must!(recovery(adapter)?.save(self.id, r#"{"user":1}"#), "a live session was not kept");
        Ok(())
    }

    async fn find(&self, adapter: &dyn Adapter) -> Result<Found, String> {
        let found = recovery(adapter)?.find(self.pid, self.offset.as_deref()).await;
        found.map_err(|why| format!("a kept session was not found: {why}"))
    }

    async fn enter_with(&mut self, adapter: &dyn Adapter, found: Found) -> Outcome {
        self.recipient = FakeRecipient::new();
        let entered = recovery(adapter)?.enter(found, self.recipient.clone(), Some(&welcome()?)).await;
        entered.map_err(|why| format!("a session that was found was not continued: {why}"))
    }

    async fn come_back(&mut self, adapter: &dyn Adapter) -> Outcome {
        let found = self.find(adapter).await?;
        self.enter_with(adapter, found).await
    }

    /// The names of what it got: events, and `welcome`.
    fn got(&self) -> Vec<String> {
        let name = |packet: &Arc<Packet>| ReceivedEvent::of(packet).map_or("welcome".to_owned(), |event| event.name);
        self.recipient.packets().iter().map(name).collect()
    }
}

fn offset_of(event: &ReceivedEvent) -> Option<String> {
    serde_json::from_str(event.args.as_ref().iter().last()?).ok()
}

fn emit(adapter: &dyn Adapter, target: &Target, name: &str) -> Outcome {
    let emitted = adapter.apply(target, Action::emit(&data(name, &())?));
    must!(emitted == Ok(()), "an emit was refused: {emitted:?}");
    Ok(())
}

async fn offset(adapter: &dyn Adapter) -> Outcome {
    let client = Client::enter(adapter, &[])?;
    for _ in 0..2 {
        emit(adapter, &Target::everyone(), "event")?;
    }
    let text = data("volatile", &"text")?;
    let emit = Emit { volatile: true, ..Emit::of(&text) };
    must!(adapter.apply(&Target::everyone(), Action::Emit(emit)) == Ok(()), "a volatile emit was refused");
    let asked = data("asks", &"text")?;
    let asked = adapter.emit_with_ack(&Target::everyone(), Emit::of(&asked), Duration::from_millis(1)).await;
    must!(asked.is_ok(), "an emit with acknowledgement was refused");
    let events = client.recipient.events();
    let [first, second, volatile, asks] = &events[..] else {
        return Err(format!("4 events were emitted, and {} arrived", events.len()));
    };
    let offsets = [first, second].map(|event| (event.args.as_ref().iter().count(), offset_of(event)));
    must!(offsets.iter().all(|(count, offset)| *count == 1 && offset.is_some()), "events end in {offsets:?}");
    must!(offsets[0] != offsets[1], "two events have the same offset");
    must!(offset_of(volatile).is_none(), "a volatile event ends in a string: {:?}", volatile.args);
    must!(asks.args.items() == r#""text""#, "an event that wants an answer was changed: {:?}", asks.args);
    Ok(())
}

async fn missed(adapter: &dyn Adapter) -> Outcome {
    let mut client = Client::enter(adapter, &[])?;
    emit(adapter, &Target::everyone(), "received")?;
    client.receive();
    emit(adapter, &Target::everyone(), "under way")?;
    client.lose(adapter)?;
    for name in ["1", "2", "3"] {
        emit(adapter, &Target::everyone(), name)?;
    }
    client.come_back(adapter).await?;
    emit(adapter, &Target::everyone(), "live")?;
    let got = client.got();
    must!(got == ["under way", "1", "2", "3", "welcome", "live"], "it got {got:?}");
    Ok(())
}

async fn whole(adapter: &dyn Adapter) -> Outcome {
    let mut client = Client::enter(adapter, &["a", "b"])?;
    let own = client.id.to_string();
    client.lose(adapter)?;
    let targets = [
        ("room", to(&["a"], &[])),
        ("other", to(&["c"], &[])),
        ("both", to(&["a", "b", "c"], &[])),
        ("except", to(&[], &["b"])),
        ("except own", to(&["a"], &[&own])),
        ("own room", to(&[&own], &[])),
        ("one", Target::socket(client.id)),
        ("another one", Target::socket("a")),
    ];
    for (name, target) in &targets {
        emit(adapter, target, name)?;
    }
    client.come_back(adapter).await?;
    let got = client.got();
    must!(got == ["room", "both", "own room", "one", "welcome"], "it got {got:?}");
    Ok(())
}

async fn own(adapter: &dyn Adapter) -> Outcome {
    let mut client = Client::enter(adapter, &[])?;
    let event = |name| data(name, &());
    let live = recovery(adapter)?.emit_to(client.id, Emit::of(&event("live")?));
    must!(live == Ok(true) && client.got() == ["welcome", "live"], "{live:?}, and it got {:?}", client.got());
    client.receive();
    client.lose(adapter)?;
    let kept = recovery(adapter)?.emit_to(client.id, Emit::of(&event("kept")?));
    client.come_back(adapter).await?;
    must!(kept == Ok(true) && client.got() == ["kept", "welcome"], "{kept:?}, and it got {:?}", client.got());
    adapter.remove(client.id);
    let none = recovery(adapter)?.emit_to(client.id, Emit::of(&event("none")?));
    must!(none == Ok(false), "for a socket that is gone, emit_to says {none:?}");
    Ok(())
}

async fn state(adapter: &dyn Adapter) -> Outcome {
    let mut client = Client::enter(adapter, &["a"])?;
    let joined = adapter.join(client.id, &rooms(&["b"])).map(drop);
    must!(joined == Ok(()), "a join was refused");
    let sorted = |mut rooms: Vec<crate::Room>| {
        rooms.sort();
        rooms
    };
    let before = sorted(adapter.rooms_of(client.id));
    client.lose(adapter)?;
    let (count, left) = (adapter.count(&Target::everyone(), Duration::from_secs(1)).await.value, adapter.local_sizes());
    must!(count == 0 && left.rooms == 0, "{count} sockets and {} rooms are there while it is away", left.rooms);
    let found = client.find(adapter).await?;
    must!(found.id() == client.id && found.data() == r#"{"user":1}"#, "the session that was found is {found:?}");
    client.enter_with(adapter, found).await?;
    let after = sorted(adapter.rooms_of(client.id));
    must!(before == after, "it was in {before:?}, and is in {after:?}");
    Ok(())
}

async fn given_back(adapter: &dyn Adapter) -> Outcome {
    let mut client = Client::enter(adapter, &[])?;
    client.lose(adapter)?;
    drop(client.find(adapter).await?);
    emit(adapter, &Target::everyone(), "1")?;
    let found = client.find(adapter).await?;
    emit(adapter, &Target::everyone(), "2")?;
    drop(found);
    client.come_back(adapter).await?;
    must!(client.got() == ["1", "2", "welcome"], "it got {:?}", client.got());
    Ok(())
}

async fn left(adapter: &dyn Adapter) -> Outcome {
    let client = Client::enter(adapter, &[])?;
    adapter.remove(client.id);
    let found = recovery(adapter)?.find(client.pid, None).await.map(|found| found.id());
    must!(found.is_err(), "the session of a removed socket was found");
    let stranger = Pid::random().map_err(|error| error.to_string())?;
    let found = recovery(adapter)?.find(stranger, None).await.map(|found| found.id());
    must!(found == Err(NotRecovered::Unknown), "for a private id that was never given: {found:?}");
    Ok(())
}

async fn foreign(adapter: &dyn Adapter) -> Outcome {
    let mut client = Client::enter(adapter, &[])?;
    emit(adapter, &Target::everyone(), "received")?;
    client.receive();
    client.lose(adapter)?;
    let found = recovery(adapter)?.find(client.pid, Some("some text")).await.map(|found| found.id());
    must!(found == Err(NotRecovered::Offset), "with another text as its offset: {found:?}");
    client.come_back(adapter).await?;
    must!(client.got() == ["welcome"], "it got {:?}", client.got());
    Ok(())
}
