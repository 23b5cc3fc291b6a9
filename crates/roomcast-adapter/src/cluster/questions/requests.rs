//! [`Requests`]: questions to other servers that await answers.

use crate::cluster::seam::ids::{RequestId, ServerId};
use crate::cluster::seam::message::{Body, Message};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use roomcast_protocol::SocketId;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::mpsc;

/// Most questions that may be open at once. Further ones are answered by this server alone, as partial.
pub(crate) const MAX_REQUESTS: usize = 10_000;

/// Most answers to a question that wait to be read. Further ones are dropped, which makes the result partial.
pub(crate) const MAX_ANSWERS: usize = 100_000;

/// The open questions of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<HashMap<RequestId, mpsc::Sender<ReceivedAnswer>, RandomState>>);

/// An answer, and who gave it, as far as is known.
#[derive(Debug)]
pub(crate) struct ReceivedAnswer {
    /// The server that gave it, if it is a roomcast server.
    pub(crate) sender: Option<ServerId>,
    pub(crate) body: Body,
}

/// An open question. Dropping it closes it; answers that arrive later are ignored.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    /// Set if it may have gone out twice: a server without a name may then have answered twice.
    pub(crate) again: Arc<AtomicBool>,
    answers: mpsc::Receiver<ReceivedAnswer>,
    requests: Arc<Requests>,
}

impl Requests {
    /// Opens a question; `None` if too many are open.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Request> {
        let id = RequestId(SocketId::random().ok()?.as_str().into());
        let (sender, answers) = mpsc::channel(MAX_ANSWERS);
        let mut open = self.0.lock();
        if open.len() >= MAX_REQUESTS {
            metrics::counter!("roomcast_cluster_requests_refused_total").increment(1);
            return None;
        }
        open.insert(id.clone(), sender);
        Some(Request { id, again: Arc::default(), answers, requests: self.clone() })
    }

    /// Whether a question is open.
    pub(crate) fn awaits(&self, request: &str) -> bool {
        self.0.lock().contains_key(request)
    }

    /// Takes an answer. Late answers, and answers to other servers' questions, are ignored.
    pub(crate) fn answered(&self, request: &RequestId, message: Message) {
        let open = self.0.lock();
        let Some(sender) = open.get(request) else { return };
        let from = message.sender.filter(|_| message.trailer.is_some());
        let answered = ReceivedAnswer { sender: from, body: message.body };
        if sender.try_send(answered).is_err() {
            metrics::counter!("roomcast_cluster_answers_dropped_total").increment(1);
        }
    }

    /// The number of open questions.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl Request {
    /// The next answer. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<ReceivedAnswer> {
        self.answers.recv().await
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.requests.0.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::seam::trailer::Trailer;

    fn answer(request: &RequestId, sender: &str) -> Message {
        let body = Body::Done { request: request.clone() };
        Message { sender: Some(sender.into()), to: None, trailer: Some(Trailer::new("/", 1, 1, 0)), body }
    }

    #[tokio::test]
    async fn answers_reach_their_question_and_late_ones_are_ignored() {
        let requests = Arc::new(Requests::default());
        let (mut one, two) = (requests.begin().unwrap(), requests.begin().unwrap());
        assert_eq!(requests.len(), 2);
        requests.answered(&one.id, answer(&one.id, "a"));
        assert_eq!(one.next().await.unwrap().sender, Some("a".into()));
        let id = two.id.clone();
        drop(two);
        requests.answered(&id, answer(&id, "a"));
        drop(one);
        assert_eq!(requests.len(), 0);
    }

    #[test]
    fn questions_are_bounded() {
        let requests = Arc::new(Requests::default());
        let mut open: Vec<Request> = (0..MAX_REQUESTS).map(|_| requests.begin().unwrap()).collect();
        assert!(requests.begin().is_none());
        open.pop();
        assert!(requests.begin().is_some());
    }

    #[tokio::test]
    async fn answers_are_bounded() {
        let requests = Arc::new(Requests::default());
        let mut request = requests.begin().unwrap();
        for _ in 0..=MAX_ANSWERS {
            requests.answered(&request.id, answer(&request.id, "a"));
        }
        for _ in 0..MAX_ANSWERS {
            assert!(request.next().await.is_some());
        }
        assert!(request.answers.try_recv().is_err(), "one past the bound was kept");
    }
}
