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

    /// Who is given what comes by the patterns, if it is another: one that several subscriptions share hears each message once.
    fn for_patterns(&self) -> Option<Arc<dyn Listener>> {
        None
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
    /// Channels whose subscribers nobody counts.
    pub(crate) uncounted: Vec<String>,
    /// Channels whose subscribers are counted, or may be. Who is subscribed to these must hear the others by then.
    pub(crate) channels: Vec<String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) is_pattern: bool,
    /// The same for all that have the name.
    pub(crate) is_counted: bool,
    pub(crate) text: Arc<str>,
}

impl Names {
    /// Those that are counted last.
    pub(crate) fn all(self) -> Vec<Name> {
        let name = |is_pattern, is_counted| move |text: String| Name { is_pattern, is_counted, text: text.into() };
        let uncounted =
            self.patterns.into_iter().map(name(true, false)).chain(self.uncounted.into_iter().map(name(false, false)));
        uncounted.chain(self.channels.into_iter().map(name(false, true))).collect()
    }
}

/// Listeners by name. A name may have several: the namespace `/a#b` and the server `b` in `/a` get answers on one channel.
#[derive(Default)]
pub(crate) struct Routes {
    channels: HashMap<Arc<str>, Ears>,
    patterns: HashMap<Arc<str>, Ears>,
}

/// The listeners of a name, each once, and for how many subscriptions.
#[derive(Default)]
struct Ears {
    listeners: Vec<Arc<dyn Listener>>,
    subscriptions: Vec<usize>,
}

impl Ears {
    fn add(&mut self, listener: &Arc<dyn Listener>) {
        match self.place(listener) {
            Some(subscriptions) => *subscriptions += 1,
            None => {
                self.listeners.push(listener.clone());
                self.subscriptions.push(1);
            }
        }
    }

    fn remove(&mut self, listener: &Arc<dyn Listener>) {
        if let Some(subscriptions) = self.place(listener) {
            *subscriptions -= 1;
            if *subscriptions == 0 {
                self.listeners.retain(|it| !Arc::ptr_eq(it, listener));
                self.subscriptions.retain(|subscriptions| *subscriptions > 0);
            }
        }
    }

    fn place(&mut self, listener: &Arc<dyn Listener>) -> Option<&mut usize> {
        let at = self.listeners.iter().position(|it| Arc::ptr_eq(it, listener))?;
        self.subscriptions.get_mut(at)
    }
}

impl Routes {
    pub(crate) fn add(&mut self, name: &Name, listener: &Arc<dyn Listener>) {
        let ears = self.names(name.is_pattern).entry(name.text.clone()).or_default();
        match listener.for_patterns().filter(|_| name.is_pattern) {
            Some(shared) => ears.add(&shared),
            None => ears.add(listener),
        }
    }

    pub(crate) fn remove(&mut self, name: &Name, listener: &Arc<dyn Listener>) {
        let names = self.names(name.is_pattern);
        let Some(ears) = names.get_mut(&name.text) else { return };
        match listener.for_patterns().filter(|_| name.is_pattern) {
            Some(shared) => ears.remove(&shared),
            None => ears.remove(listener),
        }
        if ears.listeners.is_empty() {
            names.remove(&name.text);
        }
    }

    /// Who listens to a name.
    pub(crate) fn of(&self, is_pattern: bool, name: &str) -> &[Arc<dyn Listener>] {
        let names = if is_pattern { &self.patterns } else { &self.channels };
        names.get(name).map_or(&[], |ears| ears.listeners.as_slice())
    }

    /// Whether anybody listens to a name.
    pub(crate) fn has(&self, name: &Name) -> bool {
        !self.of(name.is_pattern, &name.text).is_empty()
    }

    fn names(&mut self, is_pattern: bool) -> &mut HashMap<Arc<str>, Ears> {
        if is_pattern { &mut self.patterns } else { &mut self.channels }
    }
}

#[cfg(test)]
pub(crate) mod doubles {
    use super::{Heard, Listener};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A listener that remembers whether it is told to hear, and is told nothing twice.
    #[derive(Default)]
    pub(crate) struct Ear(AtomicBool);

    impl Ear {
        pub(crate) fn hears(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        /// It may be told again that it hears.
        pub(crate) fn forget(&self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    impl Listener for Ear {
        fn heard(&self, _: Vec<Heard>) {}

        fn connected(&self) {
            assert!(!self.0.swap(true, Ordering::Relaxed), "it is told once");
        }

        fn lost(&self) {
            assert!(self.0.swap(false, Ordering::Relaxed), "who did not hear loses nothing");
        }
    }
}
