//! [`Batch`]: messages to publish as bytes, and the outcome of each.

use super::read::MAX_MESSAGE;
use super::write::EncodeError;
use roomcast_adapter::cluster::{Outcome, Outgoing};

pub(crate) struct Batch {
    pub(crate) messages: Vec<(String, Vec<u8>)>,
    /// Of every message in the batch; `None` for those in `messages`.
    outcomes: Vec<Option<Outcome>>,
}

impl Batch {
    /// Encodes messages. Those that are larger than any receiver accepts are not published.
    pub(crate) fn of(batch: &[Outgoing], encode: impl Fn(&Outgoing) -> Result<(String, Vec<u8>), EncodeError>) -> Self {
        let mut written = Self { messages: Vec::with_capacity(batch.len()), outcomes: Vec::with_capacity(batch.len()) };
        for outgoing in batch {
            let outcome = match encode(outgoing) {
                Ok((_, payload)) if payload.len() > MAX_MESSAGE => {
                    let size = payload.len();
                    Some(Outcome::Never(format!(
                        "a message of {size} bytes is too large; servers accept {MAX_MESSAGE}"
                    )))
                }
                Ok(message) => {
                    written.messages.push(message);
                    None
                }
                Err(error) => Some(Outcome::Never(error.to_string())),
            };
            written.outcomes.push(outcome);
        }
        written
    }

    /// The outcomes of the whole batch. `sent`: those of `messages`, in order; `why`: the reason if some are missing
    /// there.
    pub(crate) fn outcomes(self, sent: Vec<Outcome>, why: Option<String>) -> Vec<Outcome> {
        let why = why.unwrap_or_else(|| "Redis did not answer to the message".to_owned());
        let mut sent = sent.into_iter();
        let outcome =
            |known: Option<Outcome>| known.or_else(|| sent.next()).unwrap_or_else(|| Outcome::Again(why.clone()));
        self.outcomes.into_iter().map(outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_adapter::cluster::{Body, Message, SERVERS};

    #[test]
    fn outcomes_keep_their_places_with_messages_at_the_limit_and_one_byte_past_it() {
        let sizes = [MAX_MESSAGE, MAX_MESSAGE + 1, 1, 0, 1];
        let message = Message { sender: None, to: None, trailer: None, body: Body::Goodbye };
        let batch = vec![Outgoing { namespace: SERVERS.into(), message }; sizes.len()];
        let next = std::cell::Cell::new(0);
        let encode = |_: &Outgoing| match sizes[next.replace(next.get() + 1)] {
            0 => Err(EncodeError("no".to_owned())),
            size => Ok(("channel".to_owned(), vec![0; size])),
        };
        let batch = Batch::of(&batch, encode);
        assert_eq!(batch.messages.len(), 3);
        let outcomes = batch.outcomes(vec![Outcome::Sent], Some("broken".to_owned()));
        let again = || Outcome::Again("broken".to_owned());
        assert!(matches!(&outcomes[1], Outcome::Never(why) if why.contains("bytes")), "{outcomes:?}");
        assert!(matches!(&outcomes[3], Outcome::Never(why) if why.contains("no")), "{outcomes:?}");
        assert_eq!([&outcomes[0], &outcomes[2], &outcomes[4]], [&Outcome::Sent, &again(), &again()]);
    }
}
