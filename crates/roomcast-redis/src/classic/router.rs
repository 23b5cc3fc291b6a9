//! [`Router`]: finds whose a broadcast is by its channel, where one pattern is for all namespaces.

use super::names::Prefix;
use super::namespace::Namespace;
use crate::bus::{Heard, Listener};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

/// Hears every broadcast of the key prefix, and gives it to the namespaces that it can be for.
pub(super) struct Router {
    /// What all channels begin with.
    prefix: String,
    open: RwLock<Open>,
}

#[derive(Default)]
struct Open {
    /// Those that are closed leave by themselves, as their listeners do.
    namespaces: HashMap<Arc<str>, Weak<Namespace>>,
    /// How many names have a length: only so many beginnings of a channel can be a name, whatever a room is called.
    lengths: BTreeMap<usize, usize>,
}

impl Router {
    pub(super) fn new(prefix: &Prefix) -> Self {
        Self { prefix: prefix.all(), open: RwLock::default() }
    }

    /// A namespace is open. One of the same name that was open before is not given anything any more.
    pub(super) fn add(&self, namespace: &Arc<Namespace>) {
        let mut open = self.open.write();
        let name: Arc<str> = namespace.name().into();
        if open.namespaces.insert(name.clone(), Arc::downgrade(namespace)).is_none() {
            *open.lengths.entry(name.len()).or_default() += 1;
        }
    }

    /// A namespace is closed, unless it was opened again.
    pub(super) fn remove(&self, namespace: &Arc<Namespace>) {
        let mut open = self.open.write();
        let name = namespace.name();
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

    /// Namespaces that a channel can be of: `PREFIX#/a#b#` is room `b` of `/a`, and the namespace `/a#b`.
    fn of(&self, channel: &[u8]) -> Vec<Arc<Namespace>> {
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
    fn heard(&self, messages: Vec<Heard>) {
        let mut run: Option<(Arc<Namespace>, Vec<Heard>)> = None;
        for heard in messages {
            let mut namespaces = self.of(&heard.channel);
            let Some(last) = namespaces.pop() else { continue };
            for namespace in namespaces {
                hear(&mut run, namespace, heard.clone());
            }
            hear(&mut run, last, heard);
        }
        if let Some((namespace, heard)) = run {
            namespace.heard(heard);
        }
    }

    // Each namespace is told for itself, as the pattern is a name of each.
    fn connected(&self) {}

    fn lost(&self) {}
}

/// Messages in a row for one namespace are handed on together.
fn hear(run: &mut Option<(Arc<Namespace>, Vec<Heard>)>, namespace: Arc<Namespace>, heard: Heard) {
    match run {
        Some((before, run)) if Arc::ptr_eq(before, &namespace) => run.push(heard),
        _ => {
            if let Some((namespace, heard)) = run.replace((namespace, vec![heard])) {
                namespace.heard(heard);
            }
        }
    }
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
    fn namespaces_that_a_channel_can_be_of() {
        let prefix = Prefix("p".into());
        let router = Router::new(&prefix);
        let open = |name: &str| {
            let namespace = Arc::new(Namespace::new(&prefix, &name.into(), &"me".into(), Arc::new(Nobody)));
            router.add(&namespace);
            namespace
        };
        let names = |channel: &str| -> Vec<String> {
            router.of(channel.as_bytes()).iter().map(|namespace| namespace.name().to_owned()).collect()
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
        // Opened again before the one before it was closed.
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
