//! [`Router`]: distributes broadcasts to namespaces by their channel, where one pattern is subscribed for all
//! namespaces.

use super::listener::NamespaceListener;
use super::names::Prefix;
use crate::delivery::rooms::RoomListener;
use crate::delivery::run::Run;
use crate::delivery::{Delivery, Listener};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

/// Receives every broadcast of the key prefix, and passes it to the namespaces that it can be for.
pub(super) struct Router {
    /// The beginning of every channel.
    prefix: String,
    open: RwLock<Open>,
}

#[derive(Default)]
struct Open {
    /// Weak, as each listener holds the router.
    namespaces: HashMap<Arc<str>, Weak<NamespaceListener>>,
    /// How many namespaces have a name of each length. Only beginnings of a channel with one of these lengths can be a
    /// name, whatever a room is called.
    lengths: BTreeMap<usize, usize>,
}

impl Router {
    pub(super) fn new(prefix: &Prefix) -> Self {
        Self { prefix: prefix.all(), open: RwLock::default() }
    }

    /// A namespace is open. It replaces an earlier one of the same name.
    pub(super) fn add(&self, namespace: &Arc<NamespaceListener>) {
        let mut open = self.open.write();
        let name = namespace.namespace();
        if open.namespaces.insert(name.clone(), Arc::downgrade(namespace)).is_none() {
            *open.lengths.entry(name.len()).or_default() += 1;
        }
    }

    /// A namespace is closed, unless it was opened again.
    pub(super) fn remove(&self, namespace: &Arc<NamespaceListener>) {
        let mut open = self.open.write();
        let name = namespace.namespace();
        if !open.namespaces.get(name).is_some_and(|it| std::ptr::eq(it.as_ptr(), Arc::as_ptr(namespace))) {
            return;
        }
        open.namespaces.remove(name);
        if let Some(names) = open.lengths.get_mut(&name.len()) {
            *names -= 1;
            if *names == 0 {
                open.lengths.remove(&name.len());
            }
        }
    }

    /// The namespaces that a channel may belong to: `PREFIX#/a#b#` is room `b` of `/a`, and also the namespace `/a#b`.
    fn of(&self, channel: &[u8]) -> Vec<Arc<NamespaceListener>> {
        let Some(rest) = channel.strip_prefix(self.prefix.as_bytes()) else { return Vec::new() };
        let open = self.open.read();
        let name = |length: &usize| {
            let (name, after) = rest.split_at_checked(*length)?;
            after.first().filter(|byte| **byte == b'#')?;
            open.namespaces.get(std::str::from_utf8(name).ok()?)?.upgrade()
        };
        open.lengths.keys().filter_map(name).collect()
    }
}

impl Listener for Router {
    fn receive(&self, messages: Vec<Delivery>) {
        let mut run = Run::<NamespaceListener>::default();
        for message in messages {
            let mut namespaces = self.of(&message.channel);
            let Some(last) = namespaces.pop() else { continue };
            for namespace in namespaces {
                run.add(namespace, message.clone());
            }
            run.add(last, message);
        }
        run.flush();
    }

    // Each namespace is told by its own subscription, which has the pattern too.
    fn connected(&self) {}

    fn lost(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_adapter::cluster::{Arrival, Inbox};

    struct Nobody;

    impl Inbox for Nobody {
        fn wants(&self, _: &str) -> bool {
            false
        }

        fn receive(&self, _: Vec<Arrival>) {}
        fn connected(&self) {}
        fn lost(&self) {}
    }

    #[test]
    fn the_namespaces_that_a_channel_may_belong_to() {
        let prefix = Prefix("p".into());
        let router = Router::new(&prefix);
        let open = |name: &str| {
            let namespace = Arc::new(NamespaceListener::new(&prefix, &name.into(), &"me".into(), Arc::new(Nobody)));
            router.add(&namespace);
            namespace
        };
        let names = |channel: &str| -> Vec<String> {
            router.of(channel.as_bytes()).iter().map(|namespace| namespace.namespace().to_string()).collect()
        };
        let (_main, a, ab, _long) = (open("/"), open("/a"), open("/a#b"), open("/ä"));
        assert_eq!(names("p#/#"), ["/"]);
        assert_eq!(names("p#/#room#"), ["/"]);
        assert_eq!(names("p#/a#b#"), ["/a", "/a#b"]);
        assert_eq!(names("p#/a#b##"), ["/a", "/a#b"]);
        assert_eq!(names("p#/ä#"), ["/ä"]);
        for nobody in ["p#/a", "p#/b#", "p#", "p", "", "q#/#", "p-request#/#"] {
            assert!(names(nobody).is_empty(), "{nobody}");
        }
        assert!(router.of(b"p#/\xff#").is_empty());
        // Opened again before the earlier one is closed.
        let again = open("/a");
        router.remove(&a);
        assert_eq!(names("p#/a#"), ["/a"]);
        router.remove(&again);
        router.remove(&ab);
        assert!(names("p#/a#b#").is_empty());
        assert_eq!(
            router.open.read().lengths.iter().map(|(length, names)| (*length, *names)).collect::<Vec<_>>(),
            [(1, 1), (3, 1)]
        );
        drop(again);
    }
}
