//! [`Unmet`]: what a client waited for, and what came instead.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;

/// What a test waits for. What is to be sent was sent when this was returned; dropping it gives up the wait.
pub type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a client waited for did not come. Shown as one line: which client, what it waited for, what arrived instead.
#[derive(Clone, PartialEq, Eq)]
pub struct Unmet {
    why: Why,
    text: String,
}

/// The kinds of [`Unmet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It did not come in time.
    Timeout,
    /// The client was disconnected before.
    Disconnected,
    /// It came, and does not fit the type.
    Unfit,
}

impl Unmet {
    pub(crate) fn new(why: Why, text: String) -> Self {
        Self { why, text }
    }

    /// Why it did not come.
    pub fn why(&self) -> Why {
        self.why
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// As its `Display`, since this is what `unwrap` shows.
impl fmt::Debug for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Unmet {}

/// Fails the test, and names the line of the test that asked.
pub(crate) fn fail(caller: &Location<'_>, text: &dyn fmt::Display) -> ! {
    panic!("{text} (asked at {}:{})", caller.file(), caller.line())
}
