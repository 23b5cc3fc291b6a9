//! [`ServersInbox`]: takes what roomcast servers tell one another about themselves.

use crate::cluster::membership::directory::Directory;
use crate::cluster::seam::inbox::{Arrival, Inbox, malformed};
use crate::cluster::seam::message::Body;
use crate::cluster::seam::trailer::Trailer;
use crate::cluster::sending::pace::spread;
use crate::cluster::sending::queue::Queue;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::time::Instant;

/// Takes the messages of the namespace [`SERVERS`](crate::cluster::SERVERS).
pub(crate) struct ServersInbox {
    pub(crate) directory: Arc<Mutex<Directory>>,
    pub(crate) queue: Arc<Queue>,
}

impl Inbox for ServersInbox {
    fn wants(&self, _: &str) -> bool {
        false
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        let now = Instant::now();
        let mut hellos = Vec::new();
        let mut directory = self.directory.lock();
        for arrival in arrivals {
            let message = match arrival {
                Arrival::Message(message) => message,
                Arrival::Malformed(error) => {
                    malformed(&error);
                    continue;
                }
                Arrival::PassedOver(_) => continue,
            };
            let (Some(sender), Some(trailer)) = (message.sender, message.trailer) else { continue };
            match message.body {
                _ if trailer.process == self.queue.process() => {}
                _ if message.to.as_ref().is_some_and(|to| to != self.queue.id()) => {}
                Body::Alive(alive) if directory.announcement_arrived(&sender, &trailer, &alive, now) => {
                    hellos.push(Some(sender));
                }
                Body::Hello if directory.asked_for_everything(trailer.process, now) => {
                    let within = spread(directory.approximate_size(now));
                    // A delay that differs for each pair of servers, so that not all answer at once.
                    let part = Trailer::hash(&format!("{}\n{sender}", self.queue.id()));
                    self.queue.tell_everything(sender, within.mul_f64(f64::from(part) / f64::from(u32::MAX)));
                }
                Body::Goodbye => directory.left(trailer.process, now),
                _ => {}
            }
        }
        drop(directory);
        hellos.into_iter().for_each(|to| self.queue.hello(to));
    }

    fn connected(&self) {
        self.directory.lock().servers_connected(Instant::now());
        self.queue.servers_connected();
    }

    fn lost(&self) {
        self.queue.servers_lost();
    }
}
