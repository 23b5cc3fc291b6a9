//! Messages of other servers that arrive together: their packets are in the outboxes before any writer is woken.

use super::gate::Gate;
use super::stage::NAMESPACE;
use roomcast_adapter::cluster::{Arrival, Body, MemoryNetwork, Message, Trailer};
use roomcast_adapter::limits::WAKE_AFTER_BYTES;
use roomcast_adapter::{Adapter, Details, Recipient, Target, Wakes};
use roomcast_protocol::{Args, Packet, SocketId};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

/// Notes what happens to a socket: `p` for a packet, `w` when its writer is woken.
#[derive(Debug, Default)]
struct Notes(Mutex<String>);

impl Wake for Notes {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().push('w');
    }
}

#[derive(Debug)]
struct Socket(Arc<Notes>);

impl Recipient for Socket {
    fn deliver(&self, _: &Arc<Packet>, wakes: &mut Wakes) {
        self.0.0.lock().unwrap().push('p');
        wakes.push(Waker::from(self.0.clone()));
    }

    fn disconnect(&self, _: bool) {}

    fn details(&self) -> Details {
        Details::default()
    }
}

/// Sends messages for one socket, whose bodies have these sizes.
async fn noted(sizes: &[usize]) -> String {
    let (gate, server) = Gate::new(&MemoryNetwork::new()).server("here");
    let notes = Arc::<Notes>::default();
    server.adapter.insert(SocketId::random().unwrap(), Arc::new(Socket(notes.clone())), &[], None).unwrap();
    let message = |(number, size): (usize, &usize)| {
        let body = |text: usize| {
            let data = Args::event("e", &"x".repeat(text)).unwrap();
            Body::Broadcast { data, target: Target::everyone(), volatile: false, compress: true }
        };
        let body = body(size - body(0).size());
        assert_eq!(body.size(), *size);
        Arrival::Message(Message {
            sender: Some("another".into()),
            to: None,
            trailer: Some(Trailer::new(NAMESPACE, 7, number as u64 + 1, number as u64 + 1)),
            body,
        })
    };
    gate.inbox(NAMESPACE).receive(sizes.iter().enumerate().map(message).collect());
    notes.0.lock().unwrap().clone()
}

#[tokio::test]
async fn writers_are_woken_after_the_last_packet() {
    assert_eq!(noted(&[1_000, 1_000, 1_000]).await, "pppwww");
    assert_eq!(noted(&[1_000]).await, "pw");
    assert_eq!(noted(&[]).await, "");
}

#[tokio::test]
async fn bytes_at_the_limit_and_one_below_it() {
    let half = WAKE_AFTER_BYTES / 2;
    assert_eq!(noted(&[half, half, 1_000]).await, "ppwwpw");
    assert_eq!(noted(&[half, half - 1, 1_000]).await, "pppwww");
}
