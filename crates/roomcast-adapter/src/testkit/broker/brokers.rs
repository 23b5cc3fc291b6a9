//! [`Brokers`]: the brokers under test, with the [`Dialect`] that they speak.

use crate::cluster::{Broker, Message};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// Brokers that are connected to a network of their own.
pub struct Brokers {
    pub(crate) brokers: Vec<Arc<dyn Broker>>,
    pub(crate) dialect: Dialect,
    pub(crate) cut_off: Option<CutOff>,
    pub(crate) inject: Option<Inject>,
}

type Done = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(crate) type CutOff = Box<dyn Fn(usize, bool) -> Done + Send + Sync>;
pub(crate) type Inject = Box<dyn Fn(String, Vec<u8>) -> Done + Send + Sync>;

impl Brokers {
    /// Brokers whose dialect carries everything, without hooks.
    pub fn new<B: Broker>(brokers: impl IntoIterator<Item = Arc<B>>) -> Self {
        let brokers = brokers.into_iter().map(|broker| broker as Arc<dyn Broker>).collect();
        Self { brokers, dialect: Dialect::default(), cut_off: None, inject: None }
    }

    /// States what the brokers' dialect cannot carry.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// A hook that cuts a broker, by its number, off from its network (`true`) or reconnects it (`false`). With it, the
    /// suite also checks interruptions.
    #[must_use]
    pub fn cut_off<F>(mut self, hook: impl Fn(usize, bool) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.cut_off = Some(Box::new(move |broker, cut| Box::pin(hook(broker, cut))));
        self
    }

    /// A hook that sends bytes to all brokers where a message of this namespace would arrive. With it, the suite also
    /// checks that input that is not a message is reported and does no harm.
    #[must_use]
    pub fn inject<F>(mut self, hook: impl Fn(String, Vec<u8>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.inject = Some(Box::new(move |namespace, bytes| Box::pin(hook(namespace, bytes))));
        self
    }
}

impl fmt::Debug for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brokers")
            .field("brokers", &self.brokers)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

/// What a dialect cannot carry. By default it carries everything.
///
/// A loss that is stated is not skipped: what arrives is still compared with what was said to arrive. Whatever is
/// stated, the kind of a message, its question's id, an event's data and the rooms of a target must arrive. Only the
/// messages between servers older than ours ([`Body::FetchIds`](crate::cluster::Body::FetchIds),
/// [`Ids`](crate::cluster::Body::Ids), [`Done`](crate::cluster::Body::Done)) may be absent from a dialect.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// What arrives of a message: the message, possibly with fields removed; `None` if the dialect has no such message.
    pub arrives: fn(Message) -> Option<Message>,
    /// Whether a server receives its own messages. It ignores them, so a broker may keep them from it.
    pub echo: bool,
    /// Whether [`Broker::count`] counts. If not, it must always return `None`.
    pub counts: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { arrives: Some, echo: true, counts: true }
    }
}
