//! [`Answer`]: a question's answer, complete or partial, never a partial one that looks complete.

/// An answer put together from several servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// What the servers that answered said.
    pub value: T,
    /// The servers that did not answer in time. Empty: the answer is complete.
    pub missing: Missing,
}

/// Servers that did not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// Those that are known by name (server ids).
    pub names: Vec<String>,
    /// How many more there are, where the cluster's dialect tells no names.
    pub others: usize,
}

impl Missing {
    /// Whether every server answered.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.others == 0
    }
}

impl<T> Answer<T> {
    /// An answer from every server.
    pub fn complete(value: T) -> Self {
        Self { value, missing: Missing::default() }
    }

    /// Whether every server answered.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}
