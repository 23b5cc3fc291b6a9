//! [`Prefix`]: the channels of the classic dialect, `PREFIX#NSP#…`, `PREFIX-request#NSP#` and `PREFIX-response#NSP#…`.

use crate::wire::servers;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(crate) struct Prefix(pub(crate) Arc<str>);

impl Prefix {
    /// Broadcasts of a namespace. The channel of a room is this, the room's name, and `#`.
    pub(crate) fn broadcast(&self, namespace: &str) -> String {
        format!("{}#{namespace}#", self.0)
    }

    pub(crate) fn room(&self, namespace: &str, room: &str) -> String {
        format!("{}#{namespace}#{room}#", self.0)
    }

    /// The pattern that every broadcast of a namespace matches, and as little else as possible: special characters are
    /// escaped. (Node does not escape. It drops the surplus later, as we do for namespaces whose name is the beginning
    /// of another one's.)
    pub(crate) fn pattern(&self, namespace: &str) -> String {
        format!("{}*", escaped(&self.broadcast(namespace)))
    }

    /// The beginning of every broadcast channel, of all namespaces.
    pub(crate) fn all(&self) -> String {
        format!("{}#", self.0)
    }

    /// The pattern that the broadcasts of all namespaces match.
    pub(crate) fn pattern_of_all(&self) -> String {
        format!("{}*", escaped(&self.all()))
    }

    /// The pattern that only the request channel matches. Its subscribers are not counted as servers.
    pub(crate) fn request_pattern(&self, namespace: &str) -> String {
        escaped(&self.request(namespace))
    }

    /// Requests: questions, and orders such as joining rooms.
    pub(crate) fn request(&self, namespace: &str) -> String {
        format!("{}-request#{namespace}#", self.0)
    }

    pub(crate) fn response(&self, namespace: &str) -> String {
        format!("{}-response#{namespace}#", self.0)
    }

    pub(crate) fn response_to(&self, namespace: &str, server: &str) -> String {
        format!("{}-response#{namespace}#{server}#", self.0)
    }

    /// Announcements among roomcast servers. Node neither subscribes nor counts this channel.
    pub(crate) fn servers(&self) -> String {
        servers::channel(&self.0)
    }

    pub(crate) fn server(&self, server: &str) -> String {
        servers::channel_of(&self.0, server)
    }
}

/// The pattern that matches only this text.
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
