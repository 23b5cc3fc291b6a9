//! Ids of sessions and sockets: 20 URL-safe characters, 120 random bits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

/// Characters of an id. Node's sharded adapter distinguishes private rooms from public ones by this length (in its
/// dynamic mode), so it is fixed.
pub const ID_LEN: usize = 20;

/// Random bytes in an id: 15 bytes are 20 base64 characters without padding, and 120 bits.
const RANDOM_BYTES: usize = 15;

/// Ids made from one read of the system's random source. With one id per read, each handshake would cost a system call.
const IDS_PER_READ: usize = 32;

/// Why an id could not be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The operating system's random source failed. The handshake can only be refused.
    #[error("the system's random source failed")]
    RandomSource,
    /// The text is not 20 characters of `A-Z a-z 0-9 - _`.
    #[error("not an id: 20 characters of A-Z, a-z, 0-9, - and _ are needed")]
    Malformed,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// A new id from the system's random source.
            ///
            /// # Errors
            /// [`IdError::RandomSource`] when the operating system gives no random bytes.
            pub fn random() -> Result<Self, IdError> {
                random_id().map(Self)
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                // `random_id` and `from_str` only make ASCII, so the default is never taken.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_id(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

id! {
    /// The id of an Engine.IO session. It is a secret between client and server: with it, anyone can send in the
    /// client's name.
    Sid
}

id! {
    /// The id of a socket: a client in one namespace. It is public, names the socket's own room, and is never the
    /// [`Sid`].
    SocketId
}

/// The private id of a socket, by which its client finds its session again after a lost connection. It is a secret between client
/// and server, and drawn for itself: it is neither the [`SocketId`] nor the [`Sid`]. So that no log line, answer or error shows it, it
/// has no `Display` and no serde, and its `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid([u8; ID_LEN]);

impl Pid {
    /// A new id from the system's random source: 120 bits.
    ///
    /// # Errors
    /// [`IdError::RandomSource`] when the operating system gives no random bytes.
    pub fn random() -> Result<Self, IdError> {
        random_id().map(Self)
    }

    /// The id as text, for the answer to its own client's CONNECT and for a store of sessions. Show it to nobody else.
    pub fn reveal(&self) -> &str {
        // `random_id` and `from_str` only make ASCII, so the default is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Pid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_id(text).map(Self)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pid(hidden)")
    }
}

fn random_id() -> Result<[u8; ID_LEN], IdError> {
    thread_local! {
        static POOL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    POOL.with_borrow_mut(|pool| {
        if pool.len() < RANDOM_BYTES {
            pool.resize(RANDOM_BYTES * IDS_PER_READ, 0);
            if getrandom::fill(pool).is_err() {
                pool.clear();
                return Err(IdError::RandomSource);
            }
        }
        let rest = pool.len() - RANDOM_BYTES;
        let mut id = [0; ID_LEN];
        let written = URL_SAFE_NO_PAD.encode_slice(pool.get(rest..).unwrap_or_default(), &mut id);
        // Used bytes are removed from the pool, so no id is made twice.
        pool.truncate(rest);
        match written {
            Ok(ID_LEN) => Ok(id),
            _ => Err(IdError::RandomSource),
        }
    })
}

fn parse_id(text: &str) -> Result<[u8; ID_LEN], IdError> {
    let bytes: [u8; ID_LEN] = text.as_bytes().try_into().map_err(|_| IdError::Malformed)?;
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
    if bytes.iter().all(legal) { Ok(bytes) } else { Err(IdError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_distinct_and_read_back() {
        let ids: HashSet<SocketId> = (0..100_000).map(|_| SocketId::random().unwrap()).collect();
        assert_eq!(ids.len(), 100_000);
        for id in ids.iter().take(100) {
            assert_eq!(id.as_str().len(), ID_LEN);
            assert_eq!(id.as_str().parse::<SocketId>(), Ok(*id));
        }
    }

    /// T01 of the attacks, with fewer ids: a private id and a public one come from the same source, and none comes twice.
    #[test]
    fn private_ids_are_no_socket_ids_and_are_not_shown() {
        let mut all: HashSet<String> = (0..100_000).map(|_| SocketId::random().unwrap().to_string()).collect();
        all.extend((0..100_000).map(|_| Pid::random().unwrap().reveal().to_owned()));
        assert_eq!(all.len(), 200_000);
        let pid = Pid::random().unwrap();
        assert_eq!(format!("{pid:?}"), "Pid(hidden)");
        assert_eq!(pid.reveal().parse(), Ok(pid));
        assert_eq!("short".parse::<Pid>(), Err(IdError::Malformed));
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in
            ["", "a", "aaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaa/", "aaaaaaaaaaaaaaaaaaé"]
        {
            assert_eq!(text.parse::<Sid>(), Err(IdError::Malformed), "{text}");
        }
    }
}
