//! Questions to other servers that await their answers.

use super::message::{Body, Message, RequestId, ServerId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use roomcast_protocol::SocketId;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Most questions that await answers at once; more are answered by this server alone, as partial.
pub(crate) const MAX_REQUESTS: usize = 10_000;

/// Most answers to one question that wait to be looked at. What comes beyond it is dropped, so that the answer is partial.
pub(crate) const MAX_ANSWERS: usize = 100_000;

/// The questions of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<HashMap<RequestId, mpsc::UnboundedSender<Answered>, RandomState>>);

/// An answer, and who gave it where that is told.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) sender: Option<ServerId>,
    pub(crate) body: Body,
}

/// A question that awaits its answers. Dropped, it is forgotten, and what comes late is ignored.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    answers: mpsc::UnboundedReceiver<Answered>,
    requests: Arc<Requests>,
}

impl Requests {
    /// Begins a question; `None` if too many are open.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Request> {
        let id = RequestId(SocketId::random().ok()?.as_str().into());
        let (sender, answers) = mpsc::unbounded_channel();
        let mut open = self.0.lock();
        if open.len() >= MAX_REQUESTS {
            metrics::counter!("roomcast_cluster_requests_refused_total").increment(1);
            return None;
        }
        open.insert(id.clone(), sender);
        Some(Request { id, answers, requests: self.clone() })
    }

    /// An answer has come. Late ones, and those to others' questions, are ignored.
    pub(crate) fn answered(&self, request: &RequestId, message: Message) {
        let open = self.0.lock();
        let Some(sender) = open.get(request) else { return };
        let _ = sender.send(Answered { sender: message.sender, body: message.body });
    }

    /// Number of open questions.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl Request {
    /// The next answer. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Answered> {
        if self.answers.len() > MAX_ANSWERS {
            return None;
        }
        self.answers.recv().await
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.requests.0.lock().remove(&self.id);
    }
}
