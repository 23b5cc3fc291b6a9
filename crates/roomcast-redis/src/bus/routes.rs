//! [`Routes`]: who listens to what comes, by the name under which Redis was asked for it.

use std::collections::HashMap;
use std::sync::Arc;

/// What a subscription is for.
pub(crate) trait Listener: Send + Sync {
    /// Messages have come, in this order.
    fn heard(&self, messages: Vec<Heard>);

    /// Every name of the subscription is confirmed, and what came before the last confirmation was handed on.
    fn connected(&self);

    /// Nothing comes for now. Only who was told that it is connected is told this.
    fn lost(&self);

    /// Redis forbids a name; it is asked again every now and then. Tells whether an operator must know.
    fn denied(&self) -> bool {
        true
    }
}

/// A message that has come.
#[derive(Clone)]
pub(crate) struct Heard {
    /// By a pattern, not by its channel's name.
    pub(crate) by_pattern: bool,
    pub(crate) channel: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// The names of one subscription. Names are text: Node's are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) patterns: Vec<String>,
    pub(crate) channels: Vec<String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) is_pattern: bool,
    pub(crate) text: Arc<str>,
}

impl Names {
    /// Patterns first: whoever is subscribed to the channels is counted, and must hear the rest by then.
    pub(crate) fn all(self) -> Vec<Name> {
        let name = |is_pattern| move |text: String| Name { is_pattern, text: text.into() };
        self.patterns.into_iter().map(name(true)).chain(self.channels.into_iter().map(name(false))).collect()
    }
}

/// Listeners by name. A name may have several: the namespace `/a#b` and the server `b` in `/a` get answers on one channel.
#[derive(Default)]
pub(crate) struct Routes {
    channels: HashMap<Arc<str>, Vec<Arc<dyn Listener>>>,
    patterns: HashMap<Arc<str>, Vec<Arc<dyn Listener>>>,
}

impl Routes {
    pub(crate) fn add(&mut self, name: &Name, listener: &Arc<dyn Listener>) {
        self.names(name.is_pattern).entry(name.text.clone()).or_default().push(listener.clone());
    }

    pub(crate) fn remove(&mut self, name: &Name, listener: &Arc<dyn Listener>) {
        let names = self.names(name.is_pattern);
        let Some(listeners) = names.get_mut(&name.text) else { return };
        if let Some(at) = listeners.iter().position(|it| Arc::ptr_eq(it, listener)) {
            listeners.remove(at);
        }
        if listeners.is_empty() {
            names.remove(&name.text);
        }
    }

    /// Who listens to a name.
    pub(crate) fn of(&self, is_pattern: bool, name: &str) -> &[Arc<dyn Listener>] {
        let names = if is_pattern { &self.patterns } else { &self.channels };
        names.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether anybody listens to a name.
    pub(crate) fn has(&self, name: &Name) -> bool {
        !self.of(name.is_pattern, &name.text).is_empty()
    }

    fn names(&mut self, is_pattern: bool) -> &mut HashMap<Arc<str>, Vec<Arc<dyn Listener>>> {
        if is_pattern { &mut self.patterns } else { &mut self.channels }
    }
}
