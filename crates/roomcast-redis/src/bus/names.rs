//! [`Names`]: the channels and patterns of one subscription.

use std::sync::Arc;

/// All are text, as Node's are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) patterns: Vec<String>,
    /// Channels whose subscribers nobody counts.
    pub(crate) uncounted: Vec<String>,
    /// Channels whose subscribers are counted, or may be: they are subscribed last, because a server that is counted
    /// there must already receive what the other servers publish.
    pub(crate) channels: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) is_pattern: bool,
    /// Every subscription that has this name has the same value here.
    pub(crate) is_counted: bool,
    pub(crate) text: Arc<str>,
}

impl Names {
    pub(crate) fn all(self) -> Vec<Name> {
        let name = |is_pattern, is_counted| move |text: String| Name { is_pattern, is_counted, text: text.into() };
        let uncounted =
            self.patterns.into_iter().map(name(true, false)).chain(self.uncounted.into_iter().map(name(false, false)));
        uncounted.chain(self.channels.into_iter().map(name(false, true))).collect()
    }
}
