//! [`Broken`]: an adapter that keeps the contract except for one [`Fault`].

use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::limits::{MAX_PENDING_ACKS, MAX_ROOM_BYTES};
use roomcast_adapter::testkit::ReceivedEvent;
use roomcast_adapter::{
    Acked, Action, Adapter, AdapterError, Answer, Details, Emit, Joined, LocalSizes, Missing, Recipient, Room,
    ServerEvent, SocketDetails, Target, Wakes,
};
use roomcast_protocol::{Args, Packet, SocketId};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No fault: the wrapper itself must break nothing.
    None,
    OtherNamespace,
    RoomsMeanEveryone,
    OncePerRoom,
    ExceptOnlyForEveryone,
    NotInOwnRoom,
    LateJoin,
    IgnoreLocal,
    SwapAttachments,
    NeverVolatile,
    SwallowTooLarge,
    RoomsOfTwice,
    CountJoins,
    NoLeave,
    LeaveOwnRoomLeavesAll,
    NoRemove,
    JoinBringsBack,
    LastInsertWins,
    UnknownIdIsAnError,
    CutRoomNames,
    JoinOneByOne,
    JoinIgnoresExcept,
    NoActionLeave,
    NeverClose,
    SwapTwoEvents,
    OwnOrder,
    AlwaysWait,
    WaitForNobody,
    NobodyMissing,
    SecondAnswers,
    AnyoneAnswers,
    LoseEarlyAnswers,
    IdsFromOne,
    AskPastTheLimit,
    TimeoutLeavesRest,
    DropLeavesRest,
    NoDetails,
    CountPerRoom,
    RoomsTwice,
    ServerCountTwo,
    EventToItself,
    SilenceIsComplete,
    DeafAfterClose,
    NoRoomsAtInsert,
    WelcomeAfterwards,
    RoomsAfterInsert,
    OneIsARoom,
    NeverVolatileAcks,
    NoReplace,
    ReplaceLeavesRooms,
    ReplaceBringsBack,
}

#[derive(Debug)]
pub(crate) struct Broken {
    inner: Arc<dyn Adapter>,
    events: mpsc::Sender<ServerEvent>,
    fault: Fault,
    inserted: AtomicUsize,
    emitting: Arc<AtomicBool>,
    asking: AtomicUsize,
    closed: AtomicBool,
    shared: Arc<Mutex<Shared>>,
}

type Asking = Pin<Box<dyn Future<Output = Result<Acked, AdapterError>> + Send>>;

#[derive(Default)]
struct Shared {
    joins: HashMap<(SocketId, Room), usize>,
    recipients: HashMap<SocketId, Arc<dyn Recipient>>,
    asked: HashMap<u64, SocketId>,
    answered: HashMap<(SocketId, u64), Args>,
    extra: Vec<Args>,
    leaked: Vec<Asking>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Broken {
    pub(crate) fn new(inner: Arc<dyn Adapter>, events: mpsc::Sender<ServerEvent>, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            inner,
            events,
            fault,
            inserted: AtomicUsize::new(0),
            emitting: Arc::default(),
            asking: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            shared: Arc::default(),
        })
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

/// A recipient that gets something else than was sent.
#[derive(Debug)]
struct Tampered {
    id: SocketId,
    number: usize,
    inner: Arc<dyn Recipient>,
    fault: Fault,
    held: Mutex<Option<(u32, Arc<Packet>)>>,
    packets: AtomicUsize,
    shared: Arc<Mutex<Shared>>,
}

impl Recipient for Tampered {
    fn deliver(&self, packet: &Arc<Packet>, wakes: &mut Wakes) {
        self.packets.fetch_add(1, Ordering::SeqCst);
        let Some(heard) = ReceivedEvent::of(packet) else {
            return self.inner.deliver(packet, wakes);
        };
        let data = || Args::event(&heard.name, &heard.args).unwrap();
        let number = || heard.args.parse::<u32>().ok().filter(|_| heard.name == "n");
        let other = |namespace: &str, ack: Option<u64>, data: &Args| {
            Arc::new(Packet::event(namespace, ack, data).unwrap().with_volatile(heard.volatile))
        };
        match self.fault {
            Fault::OtherNamespace => self.inner.deliver(&other("/", heard.ack, &data()), wakes),
            Fault::SwapAttachments => {
                let data = data();
                let swapped =
                    data.attachments().iter().rev().map(|bytes| serde_bytes::Bytes::new(bytes)).collect::<Vec<_>>();
                match &swapped[..] {
                    [] => self.inner.deliver(packet, wakes),
                    [a, b, c] => {
                        let data = Args::event(&heard.name, &(a, "between", b, c)).unwrap();
                        self.inner.deliver(&other(&heard.namespace, heard.ack, &data), wakes);
                    }
                    _ => {}
                }
            }
            Fault::IdsFromOne => {
                self.inner.deliver(&other(&heard.namespace, heard.ack.map(|id| id + 1), &data()), wakes);
            }
            Fault::AnyoneAnswers => {
                if let Some(id) = heard.ack {
                    self.shared.lock().asked.insert(id, self.id);
                }
                self.inner.deliver(packet, wakes);
            }
            // One event waits until the next one has overtaken it.
            Fault::SwapTwoEvents if number() == Some(50) => *self.held.lock() = Some((50, packet.clone())),
            // Every second recipient holds an event of one caller back until another caller's event has overtaken it.
            Fault::OwnOrder if self.number % 2 == 1 && number() == Some(100) => {
                *self.held.lock() = Some((100, packet.clone()));
            }
            Fault::SwapTwoEvents | Fault::OwnOrder => {
                self.inner.deliver(packet, wakes);
                let mut held = self.held.lock();
                let passed =
                    |held: u32| self.fault == Fault::SwapTwoEvents || number().is_some_and(|n| n / 250 != held / 250);
                if let Some((_, packet)) = held.take_if(|(held, _)| passed(*held)) {
                    self.inner.deliver(&packet, wakes);
                }
            }
            _ => self.inner.deliver(packet, wakes),
        }
    }

    fn disconnect(&self, close: bool) {
        self.inner.disconnect(close && self.fault != Fault::NeverClose);
    }

    fn details(&self) -> Details {
        if self.fault == Fault::NoDetails { Details::default() } else { self.inner.details() }
    }
}

/// Counts an emit that awaits acknowledgements.
struct Count<'a>(&'a AtomicUsize);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Keeps waiting after its caller has dropped it.
struct Undying<'a>(Option<Asking>, &'a Mutex<Shared>);

impl Drop for Undying<'_> {
    fn drop(&mut self) {
        self.1.lock().leaked.extend(self.0.take());
    }
}

#[async_trait]
impl Adapter for Broken {
    fn insert(
        &self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        let number = self.inserted.fetch_add(1, Ordering::SeqCst);
        let (fault, shared) = (self.fault, self.shared.clone());
        let recipient = Arc::new(Tampered {
            id,
            number,
            inner: recipient,
            fault,
            held: Mutex::default(),
            packets: AtomicUsize::new(0),
            shared,
        });
        if self.is(Fault::LastInsertWins) {
            self.inner.remove(id);
        }
        self.shared.lock().recipients.insert(id, recipient.clone());
        match self.fault {
            Fault::NoRoomsAtInsert => self.inner.insert(id, recipient, &[], welcome),
            Fault::WelcomeAfterwards if welcome.is_some() => {
                self.inner.insert(id, recipient.clone(), rooms, None)?;
                // As long as a broadcast takes to arrive in between, if there are any.
                let deadline = std::time::Instant::now() + Duration::from_secs(10);
                while recipient.packets.load(Ordering::SeqCst) == 0 && std::time::Instant::now() < deadline {
                    std::thread::yield_now();
                }
                let mut wakes = Wakes::new();
                recipient.deliver(welcome.unwrap(), &mut wakes);
                wakes.wake();
                Ok(())
            }
            Fault::RoomsAfterInsert => {
                self.inner.insert(id, recipient, &[], welcome)?;
                rooms.iter().try_for_each(|room| self.inner.join(id, std::slice::from_ref(room)).map(drop))
            }
            _ => self.inner.insert(id, recipient, rooms, welcome),
        }
    }

    fn remove(&self, id: SocketId) {
        if !self.is(Fault::NoRemove) {
            self.inner.remove(id);
        }
    }

    fn replace(&self, id: SocketId, recipient: Arc<dyn Recipient>) {
        match self.fault {
            Fault::NoReplace => {}
            Fault::ReplaceLeavesRooms => {
                self.inner.remove(id);
                let _ = self.inner.insert(id, recipient, &[], None);
            }
            Fault::ReplaceBringsBack if self.inner.rooms_of(id).is_empty() => {
                let _ = self.inner.insert(id, recipient, &[], None);
            }
            _ => self.inner.replace(id, recipient),
        }
    }

    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError> {
        let unknown = self.inner.rooms_of(id).is_empty();
        match self.fault {
            Fault::LateJoin => {
                let (inner, rooms) = (self.inner.clone(), rooms.to_vec());
                Ok(Joined::when(async move {
                    let _ = inner.join(id, &rooms);
                }))
            }
            Fault::CountJoins => {
                for room in rooms {
                    *self.shared.lock().joins.entry((id, room.clone())).or_default() += 1;
                }
                self.inner.join(id, rooms)
            }
            Fault::JoinBringsBack if unknown => {
                let recipient = self.shared.lock().recipients.get(&id).cloned();
                if let Some(recipient) = recipient {
                    self.inner.insert(id, recipient, &[], None)?;
                }
                self.inner.join(id, rooms)
            }
            Fault::UnknownIdIsAnError if unknown => Err(AdapterError::TooManyRooms),
            Fault::CutRoomNames => {
                let cut = |room: &Room| {
                    Room::from(String::from_utf8_lossy(&room.as_bytes()[..room.len().min(MAX_ROOM_BYTES)]).as_ref())
                };
                self.inner.join(id, &rooms.iter().map(cut).collect::<Vec<_>>())
            }
            Fault::JoinOneByOne => {
                for room in rooms {
                    self.inner.join(id, std::slice::from_ref(room))?;
                }
                Ok(Joined::confirmed())
            }
            _ => self.inner.join(id, rooms),
        }
    }

    fn leave(&self, id: SocketId, room: &str) {
        match self.fault {
            Fault::NoLeave => {}
            Fault::LeaveOwnRoomLeavesAll if room == id.as_str() => self.inner.remove(id),
            Fault::CountJoins => {
                let mut shared = self.shared.lock();
                let joins = shared.joins.entry((id, Room::from(room))).or_default();
                *joins = joins.saturating_sub(1);
                if *joins == 0 {
                    self.inner.leave(id, room);
                }
            }
            _ => self.inner.leave(id, room),
        }
    }

    fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        let mut rooms = self.inner.rooms_of(id);
        match self.fault {
            Fault::NotInOwnRoom => rooms.retain(|room| **room != *id.as_str()),
            Fault::RoomsOfTwice => rooms.extend(rooms.last().cloned()),
            _ => {}
        }
        rooms
    }

    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError> {
        let mut target = target.clone();
        target.local &= !self.is(Fault::IgnoreLocal);
        let is_emit = matches!(action, Action::Emit(_));
        match (self.fault, action) {
            (Fault::RoomsMeanEveryone, _) if is_emit => target.rooms.clear(),
            (Fault::ExceptOnlyForEveryone, _) if is_emit && !target.rooms.is_empty() => target.except.clear(),
            (Fault::OncePerRoom, _) if is_emit && target.rooms.len() > 1 => {
                for room in &target.rooms {
                    let one = Target { rooms: vec![room.clone()], ..target.clone() };
                    self.inner.apply(&one, action)?;
                }
                return Ok(());
            }
            (Fault::NeverVolatile, Action::Emit(emit)) => {
                return self.inner.apply(&target, Action::Emit(Emit { volatile: false, ..emit }));
            }
            (Fault::SwallowTooLarge, _) => {
                let _ = self.inner.apply(&target, action);
                return Ok(());
            }
            (Fault::JoinIgnoresExcept, Action::Join(_)) => target.except.clear(),
            (Fault::NoActionLeave, Action::Leave(_)) => return Ok(()),
            (Fault::DeafAfterClose, _) if self.closed.load(Ordering::SeqCst) => return Ok(()),
            _ => {}
        }
        self.inner.apply(&target, action)
    }

    fn ack(&self, from: SocketId, id: u64, args: Args) {
        match self.fault {
            Fault::LoseEarlyAnswers if self.emitting.load(Ordering::SeqCst) => {}
            Fault::IdsFromOne => self.inner.ack(from, id.wrapping_sub(1), args),
            Fault::AnyoneAnswers => {
                let asked = self.shared.lock().asked.get(&id).copied();
                self.inner.ack(asked.unwrap_or(from), id, args);
            }
            Fault::SecondAnswers => {
                let mut shared = self.shared.lock();
                if shared.answered.insert((from, id), args.clone()).is_some() {
                    shared.extra.push(args);
                } else {
                    self.inner.ack(from, id, args);
                }
            }
            _ => self.inner.ack(from, id, args),
        }
    }

    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, timeout: Duration) -> Result<Acked, AdapterError> {
        let before = self.asking.fetch_add(1, Ordering::SeqCst);
        let _count = Count(&self.asking);
        if self.is(Fault::AskPastTheLimit) && before == MAX_PENDING_ACKS as usize {
            self.inner.apply(target, Action::Emit(emit))?;
        }
        let ask = |timeout: Duration| -> Asking {
            let (inner, mut target, data) = (self.inner.clone(), target.clone(), emit.data.clone());
            target.one &= !self.is(Fault::OneIsARoom);
            let volatile = emit.volatile && !self.is(Fault::NeverVolatileAcks);
            Box::pin(async move {
                let emit = Emit { volatile, ..Emit::of(&data) };
                inner.emit_with_ack(&target, emit, timeout).await
            })
        };
        let nobody = self.inner.count(target, timeout).await.value == 0;
        if self.is(Fault::AlwaysWait) || self.is(Fault::WaitForNobody) && nobody {
            tokio::time::sleep(timeout).await;
        }
        let mut asking = ask(timeout);
        self.emitting.store(true, Ordering::SeqCst);
        let first = std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await;
        self.emitting.store(false, Ordering::SeqCst);
        let mut acked = match first {
            Poll::Ready(acked) => acked?,
            Poll::Pending if self.is(Fault::DropLeavesRest) => {
                let mut undying = Undying(Some(asking), &self.shared);
                let acked = undying.0.as_mut().unwrap().await?;
                undying.0 = None;
                acked
            }
            Poll::Pending => asking.await?,
        };
        match self.fault {
            Fault::NobodyMissing => acked.missing_sockets = 0,
            Fault::SecondAnswers => acked.answers.append(&mut self.shared.lock().extra),
            Fault::TimeoutLeavesRest if acked.missing_sockets > 0 => {
                let mut rest = ask(Duration::from_secs(100_000));
                let _ = rest.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                self.shared.lock().leaked.push(rest);
            }
            _ => {}
        }
        Ok(acked)
    }

    async fn fetch_sockets(&self, target: &Target, timeout: Duration) -> Answer<Vec<SocketDetails>> {
        self.inner.fetch_sockets(target, timeout).await
    }

    async fn count(&self, target: &Target, timeout: Duration) -> Answer<usize> {
        if self.is(Fault::CountPerRoom) && target.rooms.len() > 1 {
            let mut sum = 0;
            for room in &target.rooms {
                sum += self.inner.count(&Target::room(room), timeout).await.value;
            }
            return Answer::complete(sum);
        }
        self.inner.count(target, timeout).await
    }

    async fn all_rooms(&self, timeout: Duration) -> Answer<Vec<Room>> {
        let mut rooms = self.inner.all_rooms(timeout).await;
        if self.is(Fault::RoomsTwice) {
            rooms.value.extend(rooms.value.last().cloned());
        }
        rooms
    }

    async fn server_count(&self) -> Answer<usize> {
        if self.is(Fault::ServerCountTwo) { Answer::complete(2) } else { self.inner.server_count().await }
    }

    fn server_side_emit(&self, data: &Args) -> Result<(), AdapterError> {
        if self.is(Fault::EventToItself) {
            self.events.try_send(ServerEvent { data: data.clone(), reply: None }).unwrap();
        }
        self.inner.server_side_emit(data)
    }

    async fn server_side_emit_with_ack(
        &self,
        data: &Args,
        timeout: Duration,
    ) -> Result<Answer<Vec<Args>>, AdapterError> {
        if self.is(Fault::AlwaysWait) {
            tokio::time::sleep(timeout).await;
        }
        let mut answers = self.inner.server_side_emit_with_ack(data, timeout).await?;
        if self.is(Fault::SilenceIsComplete) {
            answers.missing = Missing::default();
        }
        Ok(answers)
    }

    fn local_recipients(&self, target: &Target) -> Vec<Arc<dyn Recipient>> {
        self.inner.local_recipients(target)
    }

    fn local_sizes(&self) -> LocalSizes {
        self.inner.local_sizes()
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.inner.close().await;
    }
}
