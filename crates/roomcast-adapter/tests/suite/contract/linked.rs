//! [`Linked`]: several [`Local`]s in one process that pass emits to each other, each in a task of its own. It keeps the
//! contract in the simplest possible way, so that the suite's checks across servers have something to run on.

use async_trait::async_trait;
use roomcast_adapter::{
    Acked, Action, Adapter, AdapterContext, AdapterError, Answer, Emit, Joined, Local, LocalSizes, Missing, Recipient,
    Room, ServerEvent, SocketDetails, Target,
};
use roomcast_protocol::{Args, Packet, SocketId};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug, Default)]
pub(crate) struct Network {
    peers: Mutex<Vec<Peer>>,
}

#[derive(Debug, Clone)]
struct Peer {
    number: usize,
    local: Arc<Local>,
    events: mpsc::Sender<ServerEvent>,
    jobs: mpsc::UnboundedSender<Job>,
}

#[derive(Debug)]
pub(crate) struct Linked {
    number: usize,
    local: Arc<Local>,
    network: Arc<Network>,
}

impl Network {
    pub(crate) fn join(self: &Arc<Self>, number: usize, context: AdapterContext) -> Arc<Linked> {
        let local = Local::of(&context);
        let (jobs, mut inbox) = mpsc::unbounded_channel::<Job>();
        tokio::spawn(async move {
            while let Some(job) = inbox.recv().await {
                job();
            }
        });
        let peer = Peer { number, local: local.clone(), events: context.server_events, jobs };
        self.peers.lock().unwrap().push(peer);
        Arc::new(Linked { number, local, network: self.clone() })
    }
}

impl Linked {
    fn peers(&self) -> Vec<Peer> {
        let peers = self.network.peers.lock().unwrap();
        // A server that has left the network sees nobody.
        let member = peers.iter().any(|peer| peer.number == self.number);
        peers.iter().filter(|peer| member && peer.number != self.number).cloned().collect()
    }

    /// The peers that a target selects, and the target as it is for them.
    fn beyond(&self, target: &Target) -> (Vec<Peer>, Target) {
        (if target.local { Vec::new() } else { self.peers() }, target.clone().local())
    }
}

#[async_trait]
impl Adapter for Linked {
    fn insert(
        &self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        self.local.insert(id, recipient, rooms, welcome)
    }

    fn remove(&self, id: SocketId) {
        self.local.remove(id);
    }

    fn replace(&self, id: SocketId, recipient: Arc<dyn Recipient>) {
        self.local.replace(id, recipient);
    }

    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError> {
        self.local.join(id, rooms)
    }

    fn leave(&self, id: SocketId, room: &str) {
        self.local.leave(id, room);
    }

    fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        self.local.rooms_of(id)
    }

    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError> {
        let (peers, there) = self.beyond(target);
        let send = |act: &dyn Fn(Peer, Target) -> Job| {
            for peer in &peers {
                let _ = peer.jobs.send(act(peer.clone(), there.clone()));
            }
        };
        match action {
            Action::Emit(emit) => self.local.emit(target, emit, || {
                send(&|peer, target| {
                    let (data, volatile, compress) = (emit.data.clone(), emit.volatile, emit.compress);
                    Box::new(move || {
                        let emit = Emit { data: &data, volatile, compress };
                        peer.local.emit(&target, emit, || {}).unwrap();
                    })
                });
            }),
            change => {
                self.local.change(target, change);
                send(&|peer, target| match change {
                    Action::Join(rooms) => {
                        let rooms = rooms.to_vec();
                        Box::new(move || peer.local.change(&target, Action::Join(&rooms)))
                    }
                    Action::Leave(rooms) => {
                        let rooms = rooms.to_vec();
                        Box::new(move || peer.local.change(&target, Action::Leave(&rooms)))
                    }
                    Action::Disconnect { close } => {
                        Box::new(move || peer.local.change(&target, Action::Disconnect { close }))
                    }
                    Action::Emit(_) => Box::new(|| {}),
                });
                Ok(())
            }
        }
    }

    fn ack(&self, from: SocketId, id: u64, args: Args) {
        self.local.ack(from, id, args);
    }

    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, timeout: Duration) -> Result<Acked, AdapterError> {
        let (peers, there) = self.beyond(target);
        let asked: Vec<_> = peers
            .into_iter()
            .map(|peer| {
                let (target, data, volatile) = (there.clone(), emit.data.clone(), emit.volatile);
                tokio::spawn(async move {
                    let emit = Emit { volatile, ..Emit::of(&data) };
                    peer.local.emit_with_ack(&target, emit, timeout).await
                })
            })
            .collect();
        let mut acked = self.local.emit_with_ack(&target.clone().local(), emit, timeout).await?;
        for other in asked {
            let other = other.await.unwrap()?;
            acked.answers.extend(other.answers);
            acked.missing_sockets += other.missing_sockets;
        }
        Ok(acked)
    }

    async fn fetch_sockets(&self, target: &Target, _timeout: Duration) -> Answer<Vec<SocketDetails>> {
        let others = self.beyond(target).0.into_iter().flat_map(|peer| peer.local.sockets(target));
        Answer::complete(self.local.sockets(target).into_iter().chain(others).collect())
    }

    async fn count(&self, target: &Target, _timeout: Duration) -> Answer<usize> {
        let others: usize = self.beyond(target).0.iter().map(|peer| peer.local.count_sockets(target)).sum();
        Answer::complete(self.local.count_sockets(target) + others)
    }

    async fn all_rooms(&self, _timeout: Duration) -> Answer<Vec<Room>> {
        let mut rooms: Vec<Room> = self.peers().iter().flat_map(|peer| peer.local.rooms()).collect();
        rooms.extend(self.local.rooms());
        rooms.sort();
        rooms.dedup();
        Answer::complete(rooms)
    }

    async fn server_count(&self) -> Answer<usize> {
        Answer::complete(self.peers().len() + 1)
    }

    fn server_side_emit(&self, data: &Args) -> Result<(), AdapterError> {
        for peer in self.peers() {
            peer.events.try_send(ServerEvent { data: data.clone(), reply: None }).unwrap();
        }
        Ok(())
    }

    async fn server_side_emit_with_ack(
        &self,
        data: &Args,
        timeout: Duration,
    ) -> Result<Answer<Vec<Args>>, AdapterError> {
        let (mut replies, mut missing) = (Vec::new(), Missing::default());
        for peer in self.peers() {
            let (reply, answer) = oneshot::channel();
            peer.events.try_send(ServerEvent { data: data.clone(), reply: Some(reply) }).unwrap();
            replies.push((peer.number, answer));
        }
        let mut answers = Vec::new();
        for (number, reply) in replies {
            match tokio::time::timeout(timeout, reply).await {
                Ok(Ok(answer)) => answers.push(answer),
                _ => missing.names.push(format!("server {number}")),
            }
        }
        Ok(Answer { value: answers, missing })
    }

    fn local_recipients(&self, target: &Target) -> Vec<Arc<dyn Recipient>> {
        self.local.local_recipients(target)
    }

    fn local_sizes(&self) -> LocalSizes {
        self.local.local_sizes()
    }

    async fn close(&self) {
        self.network.peers.lock().unwrap().retain(|peer| peer.number != self.number);
    }
}
