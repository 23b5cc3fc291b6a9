//! The channels of the classic dialect: `PREFIX#NSP#…`, `PREFIX-request#NSP#`, `PREFIX-response#NSP#…`.

use crate::wire::servers;
use std::sync::Arc;

/// The names of one key prefix.
#[derive(Debug, Clone)]
pub(crate) struct Prefix(pub(crate) Arc<str>);

impl Prefix {
    /// Broadcasts of a namespace; a room's broadcasts have its name and `#` after it.
    pub(crate) fn broadcast(&self, namespace: &str) -> String {
        format!("{}#{namespace}#", self.0)
    }

    /// Broadcasts to one room.
    pub(crate) fn room(&self, namespace: &str, room: &str) -> String {
        format!("{}#{namespace}#{room}#", self.0)
    }

    /// What every broadcast of a namespace matches, and as little else as a pattern can: what is special is escaped. (Node
    /// does not escape; what it hears too much of it sorts out later, as we do with namespaces that are a prefix of others.)
    pub(crate) fn pattern(&self, namespace: &str) -> String {
        format!("{}*", escaped(&self.broadcast(namespace)))
    }

    /// What all broadcasts of all namespaces begin with.
    pub(crate) fn all(&self) -> String {
        format!("{}#", self.0)
    }

    /// What they match, whatever their namespace.
    pub(crate) fn pattern_of_all(&self) -> String {
        format!("{}*", escaped(&self.all()))
    }

    /// What the questions of a namespace match, and nothing else. Who hears them so is not counted as a server.
    pub(crate) fn request_pattern(&self, namespace: &str) -> String {
        escaped(&self.request(namespace))
    }

    /// Questions.
    pub(crate) fn request(&self, namespace: &str) -> String {
        format!("{}-request#{namespace}#", self.0)
    }

    /// Answers that every server hears.
    pub(crate) fn response(&self, namespace: &str) -> String {
        format!("{}-response#{namespace}#", self.0)
    }

    /// Answers for one server.
    pub(crate) fn response_to(&self, namespace: &str, server: &str) -> String {
        format!("{}-response#{namespace}#{server}#", self.0)
    }

    /// What roomcast servers tell one another of themselves. Node neither hears nor counts it.
    pub(crate) fn servers(&self) -> String {
        servers::channel(&self.0)
    }

    /// What they tell one server alone.
    pub(crate) fn server(&self, server: &str) -> String {
        servers::channel_of(&self.0, server)
    }
}

/// The pattern that matches this text alone.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        let prefix = Prefix("socket.io".into());
        assert_eq!(prefix.room("/", "a#b"), "socket.io#/#a#b#");
        assert_eq!(prefix.room("/", ""), "socket.io#/##");
        assert_eq!(prefix.request("/chat"), "socket.io-request#/chat#");
        assert_eq!(prefix.response_to("/", "uid123"), "socket.io-response#/#uid123#");
        assert_eq!(prefix.pattern("/[a-z]*\\"), "socket.io#/\\[a-z\\]\\*\\\\#*");
        assert_eq!(Prefix("a*".into()).pattern_of_all(), "a\\*#*");
        assert_eq!(prefix.request_pattern("/a?"), "socket.io-request#/a\\?#");
    }
}
