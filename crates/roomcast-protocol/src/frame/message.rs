//! [`Message`]: what a decoder returns.

/// A complete message or control frame, unmasked, lent from the input or from the decoder.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered by a pong with the same payload; at most 125 bytes.
    Ping(&'a [u8]),
    /// A pong, solicited or not; at most 125 bytes.
    Pong(&'a [u8]),
    /// The last message, with its code and reason if the client gave any. Everything after it is ignored.
    Close(Option<(u16, &'a str)>),
}
