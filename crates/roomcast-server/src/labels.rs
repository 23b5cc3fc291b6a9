//! [`Labels`]: under which names namespaces appear in metrics, and what is counted for each name.

use crate::durations::Label;
use crate::limits::NAMED_NAMESPACES;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name for all namespaces that have none of their own.
const OTHER: &str = "other";

/// The names in use. A name stays when its namespace is removed, as counters must not go down.
#[derive(Default)]
pub(crate) struct Labels {
    named: Vec<Arc<Counted>>,
    other: Arc<Counted>,
}

/// What is counted under one name.
#[derive(Default)]
pub(crate) struct Counted {
    /// `None`: it counts for all namespaces without a name of their own.
    name: Option<Arc<str>>,
    events: AtomicU64,
}

impl Counted {
    pub(crate) fn label(&self) -> Label {
        match &self.name {
            Some(name) => Label::from_shared(name.clone()),
            None => Label::const_str(OTHER),
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(OTHER)
    }

    /// A client has sent an event.
    pub(crate) fn event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

impl Labels {
    /// What a new namespace counts for. `by_client`: a client chose its name, so it gets no name of its own.
    pub(crate) fn of(&mut self, name: &Arc<str>, by_client: bool) -> Arc<Counted> {
        if let Some(known) = self.named.iter().find(|counted| counted.name() == &**name) {
            return known.clone();
        }
        if by_client || self.named.len() >= NAMED_NAMESPACES {
            return self.other.clone();
        }
        let counted = Arc::new(Counted { name: Some(name.clone()), events: AtomicU64::new(0) });
        self.named.push(counted.clone());
        counted
    }

    /// All names that have been in use; the one for all others only if it was.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Counted>> {
        let other = Some(&self.other).filter(|other| Arc::strong_count(other) > 1 || other.events() > 0);
        self.named.iter().chain(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_namespaces_have_a_name_and_one_past_them_has_not() {
        let mut labels = Labels::default();
        let client = labels.of(&"/client".into(), true);
        assert_eq!(client.name(), OTHER);
        let mut of = |number: usize| labels.of(&format!("/{number}").into(), false).name().to_owned();
        for number in 0..NAMED_NAMESPACES {
            assert_eq!(of(number), format!("/{number}"));
        }
        assert_eq!(of(NAMED_NAMESPACES), OTHER);
        assert_eq!(of(0), "/0", "a namespace that was removed and made again keeps its name");
        assert_eq!(labels.all().count(), NAMED_NAMESPACES + 1);
    }
}
