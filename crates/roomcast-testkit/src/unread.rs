//! [`Unread`]: an event that a client has received and the test has not taken, and how failures show it.

use crate::limits::{SHOWN_CHARS, SHOWN_EVENTS};
use roomcast_protocol::Args;
use std::collections::VecDeque;
use std::fmt;

/// An event that the test has not taken yet.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    pub(crate) event: String,
    pub(crate) args: Args,
    /// Set if the server asks for an answer.
    pub(crate) id: Option<u64>,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.event, shown(&self.args))
    }
}

/// The beginning of the arguments, as JSON.
pub(crate) fn shown(args: &Args) -> String {
    let text = args.items();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What has arrived and was not taken.
pub(crate) fn list(unread: &VecDeque<Unread>) -> String {
    if unread.is_empty() {
        return "nothing is unread".to_owned();
    }
    let events: Vec<String> = unread.iter().take(SHOWN_EVENTS).map(ToString::to_string).collect();
    let more = unread.len().saturating_sub(SHOWN_EVENTS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("unread: {}{more}", events.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: usize) -> VecDeque<Unread> {
        (0..count).map(|n| Unread { event: format!("e{n}"), args: Args::of(&n).unwrap(), id: None }).collect()
    }

    #[test]
    fn events_at_the_limit_and_one_past_it() {
        assert_eq!(list(&events(0)), "nothing is unread");
        let at = list(&events(SHOWN_EVENTS));
        assert!(at.starts_with("unread: e0(0), e1(1)") && at.ends_with("e9(9)"), "{at}");
        assert!(list(&events(SHOWN_EVENTS + 1)).ends_with("e9(9) and 1 more"));
    }

    #[test]
    fn arguments_at_the_limit_and_one_past_it() {
        let args = |chars: usize| shown(&Args::of(&"é".repeat(chars - 2)).unwrap());
        assert_eq!(args(SHOWN_CHARS).chars().count(), SHOWN_CHARS);
        assert!(!args(SHOWN_CHARS).contains('…'));
        let past = args(SHOWN_CHARS + 1);
        assert_eq!((past.chars().count(), past.ends_with('…')), (SHOWN_CHARS + 1, true));
    }
}
