//! What a [`Place`] does with the messages of other servers.

use crate::cluster::namespace::place::Place;
use crate::cluster::questions::parts::{MAX_FOREIGN_ANSWER_BYTES, divide};
use crate::cluster::seam::ids::RequestId;
use crate::cluster::seam::inbox::malformed;
use crate::cluster::seam::message::{Body, Message};
use crate::cluster::seam::series::Series;
use crate::cluster::seam::trailer::Trailer;
use crate::cluster::sending::asker::Asker;
use crate::seam::adapter::{Action, Emit, ServerEvent};
use crate::seam::recipient::Wakes;
use crate::seam::target::Target;
use roomcast_protocol::{Args, RESERVED_EVENTS};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// The reason if a question is refused.
const TOO_MANY: &str = "too many questions of other servers are worked on";

/// How long a question of another server is worked on, unless it says how long its asker waits.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(60);

/// The reason if a broadcast is dropped.
const UNACCEPTABLE_NAME: &str =
    "an event whose name clients do not accept: null, true, a list, an object, or a reserved name";

/// Whether clients accept this event. They close their connection at any other, and Node's servers do send such events.
fn clients_accept(data: &Args) -> bool {
    let Some(name) = data.as_ref().iter().next() else { return false };
    match name.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(name).map_or(true, |name| !RESERVED_EVENTS.contains(&&*name)),
        Some(b'-' | b'0'..=b'9') => true,
        _ => false,
    }
}

impl Place {
    /// Takes the trailer of a broadcast to a room that nobody here is in.
    pub(crate) fn passed_over(&self, trailer: &Trailer) {
        if trailer.process != self.process() && self.is_open() {
            self.note_arrival(trailer, Some(Series::Rooms));
        }
    }

    /// Takes a message. `delay` is for the answer to a question whose asker may not have counted this server.
    pub(crate) fn receive(self: &Arc<Self>, message: Message, delay: Duration, wakes: &mut Wakes) {
        let own = match &message.trailer {
            Some(trailer) => trailer.process == self.process(),
            None => message.sender.as_ref() == Some(self.id()),
        };
        if own || message.to.as_ref().is_some_and(|to| to != self.id()) {
            return;
        }
        if message.trailer.is_some_and(|trailer| !self.note_arrival(&trailer, Series::of(&message.body))) {
            return;
        }
        if !self.is_open() {
            // The asker may have counted this server before it left, and then awaits its answer. This does not apply to
            // roomcast servers, which are told that it leaves, and could take this answer for that of a server that was
            // counted. Once closing has finished, nothing is taken any more.
            if !delay.is_zero() && !self.has_closed() {
                self.serve(message, delay, wakes);
            }
            return;
        }
        if let Some(request) = message.body.answers().cloned() {
            self.requests().answered(&request, message);
            return;
        }
        self.serve(message, delay, wakes);
    }

    /// Gives the only answer to a question, in parts if it is large.
    fn reply(self: &Arc<Self>, asker: Asker, body: Body, delay: Duration) {
        let Some(request) = body.answers().cloned() else { return };
        let parts = if asker.is_roomcast {
            divide(body, self.broker().largest())
        } else {
            let size = body.size();
            if size > MAX_FOREIGN_ANSWER_BYTES { Err(size) } else { Ok(vec![body]) }
        };
        let parts = match parts {
            Ok(parts) => parts,
            Err(size) => {
                let why = format!("the answer has {size} bytes, which is too much: ask for less, or for a count");
                return self.refuse(&asker, request, &why);
            }
        };
        if delay.is_zero() {
            return parts.into_iter().for_each(|part| self.answer(&asker, part));
        }
        let Some(permit) = self.permit() else { return self.refuse(&asker, request, TOO_MANY) };
        let place = self.clone();
        tokio::spawn(async move {
            sleep(delay).await;
            parts.into_iter().for_each(|part| place.answer(&asker, part));
            drop(permit);
        });
    }

    /// Does what a message asks for.
    fn serve(self: &Arc<Self>, message: Message, delay: Duration, wakes: &mut Wakes) {
        let asker = Asker { id: message.sender, is_roomcast: message.trailer.is_some() };
        match message.body {
            Body::Broadcast { data, .. } if !clients_accept(&data) => malformed(UNACCEPTABLE_NAME),
            Body::Broadcast { data, target, volatile, compress } => {
                let emit = Emit { data: &data, volatile, compress };
                if let Err(error) = self.local().emit_into(&target, emit, wakes, || {}) {
                    malformed(&error.to_string());
                }
            }
            Body::Join { target, rooms, request } => {
                self.change_for(&target, Action::Join(&rooms), &asker, request);
            }
            Body::Leave { target, rooms, request } => {
                self.change_for(&target, Action::Leave(&rooms), &asker, request);
            }
            Body::Disconnect { target, close, request } => {
                self.change_for(&target, Action::Disconnect { close }, &asker, request);
            }
            Body::FetchSockets { request, target } => {
                let sockets = self.local().sockets(&target);
                self.reply(asker, Body::Sockets { request, sockets, parts: 1 }, delay);
            }
            Body::Count { request, target } => {
                let count = self.local().count_sockets(&target) as u64;
                self.reply(asker, Body::Counted { request, count }, delay);
            }
            Body::FetchIds { request, target } => {
                let ids = self.local().sockets(&target).into_iter().map(|socket| socket.id).collect();
                self.reply(asker, Body::Ids { request, ids }, delay);
            }
            Body::FetchRooms { request } => {
                let rooms = self.local().rooms();
                self.reply(asker, Body::Rooms { request, rooms, parts: 1 }, delay);
            }
            Body::BroadcastWithAck { request, data, .. } if !clients_accept(&data) => {
                malformed(UNACCEPTABLE_NAME);
                self.reply(asker, Body::AskedClients { request, count: 0 }, delay);
            }
            Body::BroadcastWithAck { request, data, target, timeout } => {
                let permit = self.permit();
                let mut acks = match self.local().emit_for_acks(&target, Emit::of(&data), || {}) {
                    Ok(acks) => acks,
                    Err(error) => return malformed(&error.to_string()),
                };
                let Some(permit) = permit else { return self.refuse(&asker, request, TOO_MANY) };
                let count = acks.asked() as u64;
                let asked = Body::AskedClients { request: request.clone(), count };
                let delayed = if delay.is_zero() {
                    self.answer(&asker, asked);
                    None
                } else {
                    Some(asked)
                };
                let place = self.clone();
                let until = Instant::now() + timeout.unwrap_or(QUESTION_TIMEOUT).min(QUESTION_TIMEOUT);
                tokio::spawn(async move {
                    if let Some(asked) = delayed {
                        sleep(delay).await;
                        place.answer(&asker, asked);
                    }
                    while let Ok(Some((_, args))) = timeout_at(until, acks.next()).await {
                        let first = args.as_ref().iter().next().unwrap_or_default().into();
                        let args = Args::from_parts(first, args.attachments().to_vec());
                        place.answer(&asker, Body::ClientAck { request: request.clone(), args });
                    }
                    drop(permit);
                });
            }
            Body::ServerSideEmit { request, data } => self.serve_event(asker, request, data, delay),
            // Answers were handled above, and `Alive` and `Goodbye` belong to no namespace.
            _ => {}
        }
    }

    /// Changes sockets of this server. An old server that asks for it is told whether there were any.
    fn change_for(&self, target: &Target, action: Action<'_>, asker: &Asker, request: Option<RequestId>) {
        let here = request.is_some() && self.local().count_sockets(target) > 0;
        self.change(target, action);
        if let Some(request) = request.filter(|_| here) {
            self.answer(asker, Body::Done { request });
        }
    }

    fn serve_event(self: &Arc<Self>, asker: Asker, request: Option<RequestId>, data: Args, delay: Duration) {
        let Some(request) = request else {
            self.hand_over(ServerEvent { data, reply: None });
            return;
        };
        let (reply, answer) = oneshot::channel();
        self.hand_over(ServerEvent { data, reply: Some(reply) });
        let Some(permit) = self.permit() else { return self.refuse(&asker, request, TOO_MANY) };
        let place = self.clone();
        let earliest = Instant::now() + delay;
        tokio::spawn(async move {
            match tokio::time::timeout(QUESTION_TIMEOUT, answer).await {
                Ok(Ok(args)) => {
                    sleep_until(earliest).await;
                    place.answer(&asker, Body::ServerAnswer { request, args });
                }
                // No handler answers.
                Ok(Err(_)) => place.tell_refusal(&asker, request),
                Err(_) => {}
            }
            drop(permit);
        });
    }
}
