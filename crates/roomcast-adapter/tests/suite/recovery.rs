//! Recovery in memory: sessions and the log against a naive model, at their bounds, and between threads.

use parking_lot::Mutex;
use roomcast_adapter::limits::{RECOVERY_ROOM_CHANGES, RECOVERY_TAKEOVER};
use roomcast_adapter::{
    Action, Adapter, AdapterContext, Details, Emit, Found, KeptSession, Local, NotRecovered, Recipient, Recovery,
    RecoveryBounds, RecoverySpace, Room, Target, Wakes,
};
use roomcast_protocol::{Args, Packet, Pid, SocketId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, advance};

/// Records the texts of its packets, without the packets' type.
#[derive(Debug, Default)]
struct Inbox {
    texts: Mutex<Vec<String>>,
    superseded: AtomicUsize,
    on_supersede: Mutex<Option<(Arc<Local>, SocketId)>>,
}

impl Recipient for Inbox {
    fn deliver(&self, packet: &Arc<Packet>, _: &mut Wakes) {
        self.texts.lock().push(packet.text().unwrap_or_default().to_owned());
    }

    fn disconnect(&self, _: bool) {}

    fn supersede(&self) {
        self.superseded.fetch_add(1, SeqCst);
        if let Some((local, id)) = self.on_supersede.lock().take() {
            local.save(id, "{}");
        }
    }

    fn details(&self) -> Details {
        Details::default()
    }
}

impl Inbox {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.texts.lock())
    }
}

/// The number and the offset of an event; `None` for another packet.
fn read(text: &str) -> Option<(u64, Option<String>)> {
    let values: Vec<serde_json::Value> = serde_json::from_str(text.strip_prefix("42")?).unwrap();
    assert_eq!(values[0], "e");
    Some((values[1].as_u64().unwrap(), values.get(2).map(|offset| offset.as_str().unwrap().to_owned())))
}

fn number(text: &str) -> u64 {
    read(text).unwrap().0
}

fn local(change: impl FnOnce(&mut RecoveryBounds)) -> (Arc<Local>, Arc<RecoverySpace>) {
    let mut bounds = RecoveryBounds::default();
    change(&mut bounds);
    let space = RecoverySpace::new(bounds);
    let context = AdapterContext::new("/", mpsc::channel(1).0).with_recovery(Some(space.clone()));
    (Local::of(&context), space)
}

pub(crate) fn event(number: u64) -> Args {
    Args::event("e", &number).unwrap()
}

pub(crate) fn emit(adapter: &dyn Adapter, target: &Target, number: u64) {
    adapter.apply(target, Action::emit(&event(number))).unwrap();
}

/// A client as it sees itself.
pub(crate) struct Client {
    pub(crate) pid: Pid,
    pub(crate) id: SocketId,
    inbox: Arc<Inbox>,
    offset: Option<String>,
}

impl Client {
    pub(crate) fn enter(recovery: &dyn Recovery, rooms: &[Room]) -> Self {
        let (pid, id, inbox) = (Pid::random().unwrap(), SocketId::random().unwrap(), Arc::<Inbox>::default());
        recovery.begin(pid, id, inbox.clone(), rooms, None).unwrap();
        Self { pid, id, inbox, offset: None }
    }

    /// Receives the first so many packets; the rest is lost with the connection.
    pub(crate) fn receive(&mut self, most: usize) -> Vec<u64> {
        let texts = self.inbox.take();
        let events = texts.iter().take(most).filter_map(|text| read(text));
        let (numbers, offsets): (Vec<_>, Vec<_>) = events.unzip();
        if let Some(offset) = offsets.into_iter().flatten().next_back() {
            self.offset = Some(offset);
        }
        numbers
    }

    async fn find(&self, recovery: &dyn Recovery) -> Result<Found, NotRecovered> {
        recovery.find(self.pid, self.offset.as_deref()).await
    }

    pub(crate) async fn come_back(&mut self, recovery: &dyn Recovery) -> Result<(), NotRecovered> {
        let found = self.find(recovery).await?;
        assert_eq!((found.id(), found.pid()), (self.id, self.pid));
        self.inbox = Arc::default();
        let welcome = Arc::new(Packet::connect("/", "{}").unwrap());
        recovery.enter(found, self.inbox.clone(), Some(&welcome)).await
    }
}

/// What was missed, before the welcome.
pub(crate) fn missed(client: &mut Client) -> Vec<u64> {
    let texts = client.inbox.texts.lock().clone();
    let welcome = texts.iter().position(|text| text.starts_with("40")).unwrap();
    texts[..welcome].iter().map(|text| number(text)).collect()
}

#[tokio::test]
async fn what_was_missed_comes_in_order_before_the_welcome_and_live_events_after_it() {
    let (local, space) = local(|_| {});
    let mut client = Client::enter(&*local, &["room".into()]);
    let other = Client::enter(&*local, &[]);
    emit(&*local, &Target::everyone(), 0);
    assert_eq!(client.receive(9), [0]);
    assert!(local.save(client.id, r#"{"user":"ann"}"#));
    assert_eq!((space.sessions(), local.sizes().0), (1, 1));
    let targets = [
        (Target::everyone(), true),
        (Target::room("room"), true),
        (Target::room("other"), false),
        (Target::everyone().except("room"), false),
        (Target::socket(client.id), true),
        (Target::room(client.id), true),
        (Target::everyone().except(other.id), true),
        (Target { rooms: vec!["other".into(), "room".into(), "room".into()], ..Target::default() }, true),
    ];
    for (at, (target, _)) in (1..).zip(&targets) {
        emit(&*local, target, at);
    }
    // Neither volatile events nor those that want an answer are kept.
    let volatile = event(100);
    local.apply(&Target::everyone(), Action::Emit(Emit { volatile: true, ..Emit::of(&volatile) })).unwrap();
    drop(local.emit_for_acks(&Target::everyone(), Emit::of(&event(101)), || {}).unwrap());
    assert!(local.emit_to(client.id, Emit::of(&event(9))).unwrap());
    let found = client.find(&*local).await.unwrap();
    assert_eq!(found.data(), r#"{"user":"ann"}"#);
    drop(found);
    client.come_back(&*local).await.unwrap();
    let expected: Vec<u64> = (1..).zip(&targets).filter(|(_, (_, gets))| *gets).map(|(at, _)| at).chain([9]).collect();
    assert_eq!(missed(&mut client), expected);
    let rooms: BTreeSet<Room> = local.rooms_of(client.id).into_iter().collect();
    assert_eq!(rooms, BTreeSet::from(["room".into(), client.id.into()]));
    assert_eq!(space.sessions(), 0);
    emit(&*local, &Target::room("room"), 10);
    assert_eq!(number(client.inbox.texts.lock().last().unwrap()), 10);
    // It can be recovered again (Node's issue 4880).
    client.receive(usize::MAX);
    for at in 11..15 {
        assert!(local.save(client.id, "{}"));
        emit(&*local, &Target::everyone(), at);
        client.come_back(&*local).await.unwrap();
        assert_eq!(missed(&mut client), [at]);
        client.receive(usize::MAX);
    }
    assert_eq!(local.sizes().0, 2);
}

/// Node's issues 4888 and 5541: a client that has received nothing yet is recovered too.
#[tokio::test]
async fn without_an_offset_a_client_gets_all_since_it_entered() {
    let (local, _) = local(|_| {});
    let before = Client::enter(&*local, &[]);
    emit(&*local, &Target::everyone(), 1);
    let mut client = Client::enter(&*local, &["room".into()]);
    emit(&*local, &Target::room("room"), 2);
    // It loses what was on its way.
    client.receive(0);
    assert!(local.save(client.id, "{}"));
    emit(&*local, &Target::everyone(), 3);
    client.come_back(&*local).await.unwrap();
    assert_eq!(missed(&mut client), [2, 3]);
    // A client keeps the last offset of any server. One of another log, or from before this session, says the same.
    for offset in ["zzzz.1", &before_offset(&before)] {
        client.receive(0);
        client.offset = Some(offset.to_owned());
        assert!(local.save(client.id, "{}"));
        client.come_back(&*local).await.unwrap();
        assert_eq!(missed(&mut client), [2, 3], "{offset}");
    }
    client.receive(0);
    assert!(local.save(client.id, "{}"));
    for offset in ["", "abc", "hello", "5"] {
        client.offset = Some(offset.to_owned());
        assert_eq!(client.find(&*local).await.unwrap_err(), NotRecovered::Offset, "{offset}");
    }
    // An offset that this log has not given yet.
    let (epoch, _) = before_offset(&before).split_once('.').map(|(epoch, _)| (epoch.to_owned(), ())).unwrap();
    client.offset = Some(format!("{epoch}.zz"));
    assert_eq!(client.find(&*local).await.unwrap_err(), NotRecovered::Offset);
}

fn before_offset(client: &Client) -> String {
    let text = client.inbox.texts.lock()[0].clone();
    read(&text).unwrap().1.unwrap()
}

/// Node's issue 5539: a volatile event that ends in a string is taken for an offset.
#[tokio::test]
async fn an_event_without_an_offset_does_not_end_in_a_string() {
    let (local, _) = local(|_| {});
    let client = Client::enter(&*local, &[]);
    let volatile = |data: &Args| {
        local.apply(&Target::everyone(), Action::Emit(Emit { volatile: true, ..Emit::of(data) })).unwrap();
        client.inbox.take()
    };
    assert_eq!(volatile(&Args::event("e", &(1, "text")).unwrap()), [r#"42["e",1,"text",null]"#]);
    assert_eq!(volatile(&Args::event("e", &()).unwrap()), [r#"42["e",null]"#]);
    assert_eq!(volatile(&Args::event("e", &2).unwrap()), [r#"42["e",2]"#]);
    let plain = Local::new("/");
    let (id, inbox) = (SocketId::random().unwrap(), Arc::<Inbox>::default());
    plain.insert(id, inbox.clone(), &[], None).unwrap();
    plain.apply(&Target::everyone(), Action::emit(&Args::event("e", &"text").unwrap())).unwrap();
    assert_eq!(inbox.take(), [r#"42["e","text"]"#], "without recovery nothing is added");
    assert!(plain.recovery().is_none());
}

/// Node's issue 5282: a client that was idle for long, while others were not.
#[tokio::test(start_paused = true)]
async fn an_idle_client_is_recovered_although_its_offset_has_left_the_log() {
    let (local, _) = local(|bounds| bounds.packets = 10);
    let mut client = Client::enter(&*local, &["quiet".into()]);
    let _other = Client::enter(&*local, &["busy".into()]);
    emit(&*local, &Target::room("quiet"), 0);
    client.receive(1);
    for at in 1..1_000 {
        emit(&*local, &Target::room("busy"), at);
    }
    advance(Duration::from_secs(3_600)).await;
    assert!(local.save(client.id, "{}"));
    emit(&*local, &Target::room("quiet"), 1_000);
    client.come_back(&*local).await.unwrap();
    assert_eq!(missed(&mut client), [1_000]);
    // Once something of its own has left the log, it is not recovered: all or nothing.
    client.receive(0);
    assert!(local.save(client.id, "{}"));
    for at in 0..10 {
        emit(&*local, &Target::room("busy"), at);
    }
    assert_eq!(client.find(&*local).await.unwrap_err(), NotRecovered::Gone);
}

/// What counts is in which rooms a client was when an event was emitted, and not when its session was kept.
#[tokio::test]
async fn joins_and_leaves_before_the_loss_count() {
    let (local, _) = local(|_| {});
    let mut client = Client::enter(&*local, &["left".into()]);
    emit(&*local, &Target::everyone(), 0);
    client.receive(1);
    let rooms = ["left", "joined", "both"];
    let to_all = |first: u64| (first..).zip(rooms).for_each(|(at, room)| emit(&*local, &Target::room(room), at));
    to_all(1);
    emit(&*local, &Target::everyone().except("joined"), 4);
    local.join(client.id, &["joined".into(), "both".into()]).unwrap();
    local.leave(client.id, "left");
    // These change nothing.
    local.join(client.id, &["joined".into(), Room::from(client.id)]).unwrap();
    local.leave(client.id, "never");
    local.leave(client.id, client.id.as_str());
    to_all(5);
    emit(&*local, &Target::everyone().except("joined"), 8);
    local.change(&Target::everyone(), Action::Leave(&["both".into()]));
    local.change(&Target::everyone(), Action::Join(&["left".into()]));
    to_all(9);
    client.receive(0);
    assert!(local.save(client.id, "{}"));
    client.come_back(&*local).await.unwrap();
    assert_eq!(missed(&mut client), [1, 4, 6, 7, 9, 10]);
}

#[tokio::test]
async fn changes_of_rooms_at_the_bound_and_one_past_it() {
    let (local, _) = local(|_| {});
    let mut client = Client::enter(&*local, &[]);
    emit(&*local, &Target::everyone(), 0);
    client.receive(1);
    emit(&*local, &Target::everyone(), 1);
    let room = |at: usize| Room::from(format!("{at}"));
    for at in 0..RECOVERY_ROOM_CHANGES {
        local.join(client.id, &[room(at)]).unwrap();
    }
    let (offset, one) = (client.offset.clone(), client.receive(0));
    assert!(one.is_empty() && local.save(client.id, "{}"));
    client.come_back(&*local).await.unwrap();
    local.join(client.id, &[room(RECOVERY_ROOM_CHANGES)]).unwrap();
    assert!(local.save(client.id, "{}"));
    client.offset = offset;
    assert_eq!(client.find(&*local).await.unwrap_err(), NotRecovered::RoomChanges);
    // With what it received later, it is.
    client.receive(usize::MAX);
    client.come_back(&*local).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_is_kept_for_its_time_and_then_told() {
    let (local, space) = local(|bounds| bounds.max_disconnection = Duration::from_secs(10));
    let (mut first, second) = (Client::enter(&*local, &["room".into()]), Client::enter(&*local, &[]));
    assert!(local.save(first.id, "{}"));
    assert!(local.has_room("room"), "what is for it has to arrive");
    advance(Duration::from_secs(10) - Duration::from_millis(1)).await;
    assert!(local.sweep(Instant::now()).ended.is_empty());
    first.come_back(&*local).await.unwrap();
    assert!(local.save(first.id, "[1]") && local.save(second.id, "{}"));
    let ends = Instant::now() + Duration::from_secs(10);
    assert_eq!(local.sweep(Instant::now()).next, Some(ends));
    advance(Duration::from_secs(10)).await;
    // A client that asks first finds the same as a sweep.
    assert_eq!(first.find(&*local).await.unwrap_err(), NotRecovered::Expired);
    let swept = local.sweep(Instant::now());
    let kept = KeptSession::new(first.id, swept.ended[0].0.rooms.clone(), "[1]");
    assert_eq!(swept.ended[0], (kept, NotRecovered::Expired));
    assert_eq!((swept.ended.len(), swept.ended[1].0.id, swept.next), (2, second.id, None));
    assert_eq!(second.find(&*local).await.unwrap_err(), NotRecovered::Expired);
    assert_eq!((space.sessions(), space.session_bytes()), (0, 0));
    assert!(!local.has_room("room"));
}

#[tokio::test]
async fn who_left_on_purpose_is_not_recovered() {
    let (local, space) = local(|_| {});
    let client = Client::enter(&*local, &[]);
    local.remove(client.id);
    assert!(!local.save(client.id, "{}"), "it is gone");
    assert_eq!(client.find(&*local).await.unwrap_err(), NotRecovered::Left);
    let stranger = Client { pid: Pid::random().unwrap(), ..client };
    assert_eq!(stranger.find(&*local).await.unwrap_err(), NotRecovered::Unknown);
    assert!(!local.emit_to(stranger.id, Emit::of(&event(1))).unwrap());
    // When nobody is left, nothing is kept.
    let last = Client::enter(&*local, &[]);
    emit(&*local, &Target::everyone(), 2);
    assert!(space.log_bytes() > 0);
    local.remove(last.id);
    assert_eq!(space.log_bytes(), 0);
}

/// "Fast reconnect": the server has not noticed yet that it lost the former connection.
#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_before_its_loss_is_noticed_takes_over() {
    let (local, _) = local(|_| {});
    let mut client = Client::enter(&*local, &["room".into()]);
    emit(&*local, &Target::room("room"), 1);
    client.receive(0);
    let former = client.inbox.clone();
    *former.on_supersede.lock() = Some((local.clone(), client.id));
    client.come_back(&*local).await.unwrap();
    assert_eq!(missed(&mut client), [1]);
    assert_eq!(former.superseded.load(SeqCst), 1);
    // A garbled offset ends nothing.
    let found = local.find(client.pid, Some("abc")).await;
    assert_eq!((found.unwrap_err(), client.inbox.superseded.load(SeqCst)), (NotRecovered::Offset, 0));
    // One that does not end is given up on.
    let began = Instant::now();
    assert_eq!(client.find(&*local).await.unwrap_err(), NotRecovered::Held);
    assert_eq!(began.elapsed(), RECOVERY_TAKEOVER);
    assert!(client.inbox.superseded.load(SeqCst) > 1);
}

/// Of two that continue the same session, the second waits for the first.
#[tokio::test(start_paused = true)]
async fn a_session_is_held_by_one_at_a_time() {
    let (local, _) = local(|_| {});
    let client = Client::enter(&*local, &[]);
    assert!(local.save(client.id, "{}"));
    let found = client.find(&*local).await.unwrap();
    let second = client.find(&*local);
    let first = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(found);
    };
    let (second, ()) = tokio::join!(second, first);
    let found = second.unwrap();
    assert_eq!(client.find(&*local).await.unwrap_err(), NotRecovered::Held);
    // While it is held it does not end, whatever the time.
    advance(Duration::from_secs(3_600)).await;
    assert!(local.sweep(Instant::now()).ended.is_empty());
    drop(found);
    assert_eq!(local.sweep(Instant::now()).ended.len(), 1);
}

/// A session is held while middlewares decide, and meanwhile the log is cut.
#[tokio::test]
async fn if_the_log_is_cut_while_a_session_is_held_it_ends() {
    let (local, space) = local(|bounds| bounds.packets = 3);
    let client = Client::enter(&*local, &[]);
    assert!(local.save(client.id, "{}"));
    let found = client.find(&*local).await.unwrap();
    (0..4).for_each(|at| emit(&*local, &Target::everyone(), at));
    let inbox = Arc::<Inbox>::default();
    assert_eq!(local.enter(found, inbox.clone(), None).await.unwrap_err(), NotRecovered::Gone);
    assert!(inbox.take().is_empty());
    assert_eq!((local.sizes().0, space.sessions(), local.sweep(Instant::now()).ended.len()), (0, 0, 1));
}

#[tokio::test]
async fn the_log_at_its_bounds_and_one_past_them() {
    // By count.
    for (packets, recovers) in [(5, true), (4, false)] {
        let (local, _) = local(|bounds| bounds.packets = packets);
        let mut client = Client::enter(&*local, &[]);
        assert!(local.save(client.id, "{}"));
        (0..5).for_each(|at| emit(&*local, &Target::everyone(), at));
        let back = client.come_back(&*local).await;
        assert_eq!(back, if recovers { Ok(()) } else { Err(NotRecovered::Gone) }, "{packets}");
    }
    // By bytes of all namespaces: each cuts its own log.
    let cost = {
        let (local, space) = local(|_| {});
        let _client = Client::enter(&*local, &[]);
        emit(&*local, &Target::everyone(), 0);
        space.log_bytes()
    };
    for (spare, recovers) in [(0, true), (1, false)] {
        let (first, space) = local(|bounds| bounds.bytes = 3 * cost - spare);
        let second = Local::of(&AdapterContext::new("/", mpsc::channel(1).0).with_recovery(Some(space.clone())));
        let (mut here, _there) = (Client::enter(&*first, &[]), Client::enter(&*second, &[]));
        assert!(first.save(here.id, "{}"));
        emit(&*second, &Target::everyone(), 1);
        emit(&*first, &Target::everyone(), 0);
        emit(&*first, &Target::everyone(), 2);
        assert_eq!(space.log_bytes(), if recovers { 3 * cost } else { 2 * cost });
        let back = here.come_back(&*first).await;
        assert_eq!(back, if recovers { Ok(()) } else { Err(NotRecovered::Gone) }, "{spare}");
        drop((first, second));
        assert_eq!(space.log_bytes(), 0, "a namespace that goes gives back what it took");
    }
    // By what one client may have missed.
    for (replay_bytes, recovers) in [(64, true), (63, false)] {
        let (local, _) = local(|bounds| bounds.replay_bytes = replay_bytes);
        let mut client = Client::enter(&*local, &[]);
        assert!(local.save(client.id, "{}"));
        let text = "x".repeat(20);
        let data = Args::event("e", &text).unwrap();
        local.apply(&Target::everyone(), Action::emit(&data)).unwrap();
        let size = { Packet::event("/", None, &data.with_item(r#""aaaa.1""#)).unwrap().size() };
        let rest = Args::event("e", &"x".repeat(20 + 64 - 2 * size)).unwrap();
        local.apply(&Target::everyone(), Action::emit(&rest)).unwrap();
        let back = client.come_back(&*local).await;
        assert_eq!(back, if recovers { Ok(()) } else { Err(NotRecovered::TooMuch) }, "{replay_bytes}, {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_is_cut_by_age() {
    let (local, space) = local(|bounds| {
        (bounds.age, bounds.max_disconnection) = (Duration::from_secs(10), Duration::from_secs(100));
    });
    let mut client = Client::enter(&*local, &[]);
    assert!(local.save(client.id, "{}"));
    emit(&*local, &Target::everyone(), 0);
    advance(Duration::from_secs(10)).await;
    client.come_back(&*local).await.unwrap();
    client.receive(0);
    assert!(local.save(client.id, "{}"));
    advance(Duration::from_millis(1)).await;
    local.sweep(Instant::now());
    assert_eq!(space.log_bytes(), 0);
    assert_eq!(client.find(&*local).await.unwrap_err(), NotRecovered::Gone);
}

#[tokio::test]
async fn kept_sessions_at_their_bounds_and_one_past_them() {
    let (local, space) = local(|bounds| bounds.sessions = 2);
    let clients: Vec<Client> = (0..3).map(|_| Client::enter(&*local, &["room".into()])).collect();
    assert!(clients.iter().all(|client| local.save(client.id, "{}")));
    assert_eq!(space.sessions(), 2);
    assert_eq!(clients[0].find(&*local).await.unwrap_err(), NotRecovered::Evicted);
    drop(clients[1].find(&*local).await.unwrap());
    let ended = local.sweep(Instant::now()).ended;
    assert_eq!((ended.len(), ended[0].0.id, ended[0].1), (1, clients[0].id, NotRecovered::Evicted));
    let bytes = space.session_bytes() / 2;

    let (local, space) = self::local(|bounds| bounds.session_bytes = 2 * bytes);
    let clients: Vec<Client> = (0..2).map(|_| Client::enter(&*local, &["room".into()])).collect();
    assert!(clients.iter().all(|client| local.save(client.id, "{}")));
    assert_eq!((space.sessions(), space.session_bytes()), (2, 2 * bytes));
    let third = Client::enter(&*local, &["room".into()]);
    assert!(local.save(third.id, "[]"));
    assert_eq!(space.sessions(), 2);
    // One that is too large by itself pushes out all others, and is not kept either. All ends are told.
    let large = Client::enter(&*local, &[]);
    assert!(local.save(large.id, &"1".repeat(2 * bytes)));
    assert_eq!((space.sessions(), space.session_bytes()), (0, 0));
    assert_eq!(large.find(&*local).await.unwrap_err(), NotRecovered::Evicted);
    assert_eq!(local.sweep(Instant::now()).ended.len(), 4);
}

/// Random histories: whoever is recovered has received what the model says, each event once and in order.
#[tokio::test]
async fn random_histories_agree_with_a_naive_model() {
    let recovered = AtomicUsize::new(0);
    for seed in 0..300 {
        // With large bounds everybody is recovered who did not leave; with small ones it is all or nothing.
        let small = seed % 3 == 0;
        history(seed, small, &recovered).await;
    }
    assert!(recovered.load(SeqCst) > 2_000, "{recovered:?}");
}

struct Modelled {
    client: Client,
    rooms: BTreeSet<Room>,
    /// All that was for it since its session began.
    expected: Vec<u64>,
    received: Vec<u64>,
    live: bool,
    over: bool,
}

async fn history(seed: u64, small: bool, recovered: &AtomicUsize) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (local, space) = local(|bounds| {
        if small {
            bounds.packets = 12;
        }
    });
    let names = ["a", "b", "c", "d"].map(Room::from);
    let mut clients: Vec<Modelled> = Vec::new();
    for step in 0..400_u64 {
        let at = random(clients.len().max(1));
        match random(12) {
            0 if clients.len() < 5 => {
                let rooms: BTreeSet<Room> = names.iter().filter(|_| random(2) == 0).cloned().collect();
                let client = Client::enter(&*local, &rooms.iter().cloned().collect::<Vec<_>>());
                let rooms = rooms.into_iter().chain([Room::from(client.id)]).collect();
                let (expected, received) = (Vec::new(), Vec::new());
                clients.push(Modelled { client, rooms, expected, received, live: true, over: false });
            }
            _ if clients.is_empty() => {}
            1 | 2 if clients[at].live => {
                let (room, client) = (names[random(4)].clone(), &mut clients[at]);
                local.join(client.client.id, std::slice::from_ref(&room)).unwrap();
                client.rooms.insert(room);
            }
            3 if clients[at].live => {
                let (room, client) = (&names[random(4)], &mut clients[at]);
                local.leave(client.client.id, room);
                client.rooms.remove(room);
            }
            // The connection is lost, with some of what was on its way.
            4 | 5 if clients[at].live && !clients[at].over => {
                let client = &mut clients[at];
                let most = client.client.inbox.texts.lock().len();
                client.received.extend(client.client.receive(random(most + 1)));
                client.live = false;
                assert!(local.save(client.client.id, "{}"));
            }
            6 | 7 if !clients[at].live && !clients[at].over => {
                let client = &mut clients[at];
                match client.client.come_back(&*local).await {
                    Ok(()) => {
                        recovered.fetch_add(1, SeqCst);
                        client.live = true;
                    }
                    Err(why) => {
                        assert!(small && why == NotRecovered::Gone, "seed {seed}, step {step}: {why}");
                        client.over = true;
                    }
                }
            }
            8 if random(6) == 0 && clients[at].live => {
                local.remove(clients[at].client.id);
                clients.remove(at);
            }
            _ => {
                let pick = |count: usize, random: &mut dyn FnMut(usize) -> usize| -> Vec<Room> {
                    (0..count)
                        .map(|_| match random(5) {
                            4 => Room::from(clients[random(clients.len())].client.id),
                            at => names[at].clone(),
                        })
                        .collect()
                };
                let count = random(3);
                let rooms = pick(count, &mut random);
                let except = if random(3) == 0 { pick(1, &mut random) } else { Vec::new() };
                let target = match random(5) {
                    0 => Target::socket(clients[at].client.id),
                    _ => Target { rooms, except, ..Target::default() },
                };
                emit(&*local, &target, step);
                for client in &mut clients {
                    let has = |room: &Room| client.rooms.contains(room);
                    let for_it = target.rooms.is_empty() || target.rooms.iter().any(has);
                    let for_it = if target.one { *target.rooms[0] == *client.client.id.as_str() } else { for_it };
                    if for_it && !target.except.iter().any(has) && !client.over {
                        client.expected.push(step);
                    }
                }
            }
        }
        for client in &mut clients {
            if client.live && random(4) == 0 {
                client.received.extend(client.client.receive(usize::MAX));
            }
            assert_eq!(client.received, client.expected[..client.received.len()], "seed {seed}, step {step}");
        }
    }
    for client in &mut clients {
        if client.live {
            client.received.extend(client.client.receive(usize::MAX));
            assert_eq!(client.received, client.expected, "seed {seed}");
        }
    }
    drop(local);
    assert_eq!((space.log_bytes(), space.sessions(), space.session_bytes()), (0, 0, 0), "seed {seed}");
}

/// Two threads emit while a session is kept and continued again and again: no hole, no double, no change of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_event_is_lost_or_doubled_while_a_session_enters() {
    const EVENTS: u64 = 20_000;
    let (local, _) = local(|bounds| bounds.replay_bytes = usize::MAX);
    let mut client = Client::enter(&*local, &[]);
    let over = Arc::new(AtomicBool::new(false));
    let emitters: Vec<_> = (0..2)
        .map(|emitter| {
            let local = local.clone();
            std::thread::spawn(move || {
                for at in 0..EVENTS {
                    // Some are so large that they are not encoded again under the lock.
                    let padding = if at % 500 == 0 { "x".repeat(20_000) } else { String::new() };
                    let data = Args::event("e", &(at * 2 + emitter, padding)).unwrap();
                    local.apply(&Target::everyone(), Action::emit(&data)).unwrap();
                }
            })
        })
        .collect();
    let done = over.clone();
    let waiting = std::thread::spawn(move || {
        emitters.into_iter().for_each(|emitter| emitter.join().unwrap());
        done.store(true, SeqCst);
    });
    let mut received = [Vec::new(), Vec::new()];
    let (mut rounds, mut lost) = (0, 0);
    loop {
        let is_last = over.load(SeqCst);
        rounds += 1;
        assert!(local.save(client.id, "{}"));
        let texts = client.inbox.take();
        // Half of what was on its way is lost.
        let taken = if is_last { texts.len() } else { texts.len() / 2 };
        lost += texts.len() - taken;
        for text in texts.iter().take(taken).filter(|text| text.starts_with("42")) {
            let values: (String, u64, String, String) = serde_json::from_str(&text[2..]).unwrap();
            received[(values.1 % 2) as usize].push(values.1 / 2);
            client.offset = Some(values.3);
        }
        client.come_back(&*local).await.unwrap();
        if is_last {
            break;
        }
    }
    waiting.join().unwrap();
    for text in client.inbox.take().iter().filter(|text| text.starts_with("42")) {
        let values: (String, u64, String, String) = serde_json::from_str(&text[2..]).unwrap();
        received[(values.1 % 2) as usize].push(values.1 / 2);
    }
    println!("{rounds} rounds, {lost} packets lost on their way");
    for of_emitter in received {
        assert!(of_emitter.into_iter().eq(0..EVENTS), "a hole, a double, or another order");
    }
}
