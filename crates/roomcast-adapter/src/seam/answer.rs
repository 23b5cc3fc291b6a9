//! [`Answer`]: the answer to a question. A partial answer always says so.

/// An answer that is put together from the answers of several servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// What the servers that answered said, combined.
    pub value: T,
    /// The servers that did not answer in time. If there are none, the answer is complete.
    pub missing: Missing,
}

/// Servers that did not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// The ids of those that are known by name.
    pub names: Vec<String>,
    /// The number of further ones, where the cluster's dialect does not name servers.
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
