//! [`Routes`]: the listeners of each channel and pattern.

use super::names::Name;
use crate::delivery::Listener;
use std::collections::HashMap;
use std::sync::Arc;

/// A name may have several listeners: the namespace `/a#b`, and the server `b` in `/a`, get answers on the same
/// channel.
#[derive(Default)]
pub(crate) struct Routes {
    channels: HashMap<Arc<str>, Listeners>,
    patterns: HashMap<Arc<str>, Listeners>,
}

/// The listeners of one name: each once, with the number of subscriptions that it stands for.
#[derive(Default)]
struct Listeners {
    listeners: Vec<Arc<dyn Listener>>,
    subscriptions: Vec<usize>,
}

impl Listeners {
    fn add(&mut self, listener: &Arc<dyn Listener>) {
        match self.subscriptions_of(listener) {
            Some(subscriptions) => *subscriptions += 1,
            None => {
                self.listeners.push(listener.clone());
                self.subscriptions.push(1);
            }
        }
    }

    fn remove(&mut self, listener: &Arc<dyn Listener>) {
        if let Some(subscriptions) = self.subscriptions_of(listener) {
            *subscriptions -= 1;
            if *subscriptions == 0 {
                self.listeners.retain(|it| !Arc::ptr_eq(it, listener));
                self.subscriptions.retain(|subscriptions| *subscriptions > 0);
            }
        }
    }

    fn subscriptions_of(&mut self, listener: &Arc<dyn Listener>) -> Option<&mut usize> {
        let at = self.listeners.iter().position(|it| Arc::ptr_eq(it, listener))?;
        self.subscriptions.get_mut(at)
    }
}

impl Routes {
    pub(crate) fn add(&mut self, name: &Name, listener: &Arc<dyn Listener>) {
        let listeners = self.names(name.is_pattern).entry(name.text.clone()).or_default();
        match listener.pattern_listener().filter(|_| name.is_pattern) {
            Some(shared) => listeners.add(&shared),
            None => listeners.add(listener),
        }
    }

    pub(crate) fn remove(&mut self, name: &Name, listener: &Arc<dyn Listener>) {
        let names = self.names(name.is_pattern);
        let Some(listeners) = names.get_mut(&name.text) else { return };
        match listener.pattern_listener().filter(|_| name.is_pattern) {
            Some(shared) => listeners.remove(&shared),
            None => listeners.remove(listener),
        }
        if listeners.listeners.is_empty() {
            names.remove(&name.text);
        }
    }

    pub(crate) fn of(&self, is_pattern: bool, name: &str) -> &[Arc<dyn Listener>] {
        let names = if is_pattern { &self.patterns } else { &self.channels };
        names.get(name).map_or(&[], |listeners| listeners.listeners.as_slice())
    }

    pub(crate) fn has(&self, name: &Name) -> bool {
        !self.of(name.is_pattern, &name.text).is_empty()
    }

    fn names(&mut self, is_pattern: bool) -> &mut HashMap<Arc<str>, Listeners> {
        if is_pattern { &mut self.patterns } else { &mut self.channels }
    }
}
