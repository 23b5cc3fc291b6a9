//! What clients and servers of other software do when something reaches them.

use crate::habits::Client;
use crate::mark::mark;
use crate::network::Sim;
use crate::place::{PlaceId, ProcessId};
use roomcast_adapter::Adapter;
use roomcast_adapter::cluster::{Body, Message, Outgoing};
use roomcast_protocol::Args;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

impl Sim {
    /// A client reacts to a question.
    pub(crate) async fn client(self: Arc<Self>, socket: usize, ack: u64, n: u64, client: Client) {
        let (Client::Answers(after) | Client::Twice(after) | Client::Leaves(after)) = client else { return };
        sleep(Duration::from_millis(after)).await;
        if matches!(client, Client::Leaves(_)) {
            if let Some((adapter, id)) = self.with(|state, now| state.model.remove(socket, now))
                && let Some(adapter) = adapter.upgrade()
            {
                adapter.remove(id);
            }
            return;
        }
        let found = self.with(|state, now| {
            let it = state.model.sockets.get(socket).filter(|it| it.left.is_none())?;
            let found = (it.adapter.upgrade()?, it.id);
            state.model.acks.entry(n).or_default().push((socket, now));
            Some(found)
        });
        let Some((adapter, id)) = found else { return };
        let times = if matches!(client, Client::Twice(_)) { 2 } else { 1 };
        for _ in 0..times {
            if let Ok(args) = Args::event("", &(socket as u64)).map(|args| args.skip(1)) {
                adapter.ack(id, ack, args);
            }
        }
    }

    /// A server of other software answers questions, and takes answers to its own.
    pub(crate) fn foreign_receives(self: &Arc<Self>, at: &PlaceId, from: ProcessId, message: Message) {
        if from == at.0 {
            return;
        }
        let n = mark(&message.body);
        let body = match message.body {
            Body::FetchSockets { request, .. } | Body::Count { request, .. } => {
                Body::Sockets { request, sockets: Vec::new(), parts: 1 }
            }
            Body::FetchRooms { request } => Body::Rooms { request, rooms: Vec::new(), parts: 1 },
            Body::BroadcastWithAck { request, .. } => Body::AskedClients { request, count: 0 },
            Body::ServerSideEmit { request: Some(request), .. } => Body::ServerAnswer { request, args: Args::none() },
            Body::Sockets { request, .. } | Body::Rooms { request, .. } | Body::AskedClients { request, .. } => {
                let n = request.0.strip_prefix(&format!("foreign-{}-", at.0)).and_then(|n| n.parse().ok());
                return self.with(|state, now| {
                    if let Some(n) = n {
                        state.foreign.entry(n).or_default().push((from, now));
                    }
                });
            }
            _ => return,
        };
        let (sim, at) = (self.clone(), at.clone());
        tokio::spawn(async move {
            sim.latency(at.0, &at.1).await;
            if let (Some(n), Some(request)) = (n, body.answers()) {
                sim.with(|state, _| state.requests.insert(request.0.to_string(), n));
            }
            let message = Message { sender: None, to: None, trailer: None, body };
            sim.with(|state, now| sim.send(state, at.0, &Outgoing { namespace: at.1.clone(), message }, now));
        });
    }
}
