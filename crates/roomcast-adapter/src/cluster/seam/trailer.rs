//! [`Trailer`]: the end of each message of a roomcast process. It is read without decoding the message.

use roomcast_protocol::SocketId;

/// Ends a message: which process published it, and which of its messages it is. Other software ignores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trailer {
    /// The message may have been published before.
    pub again: bool,
    /// The message is for the one recipient with that id, not for the room of that name.
    pub one: bool,
    /// [`Trailer::hash`] of the namespace, as a channel's name is ambiguous: room `b` of `/a`, or namespace `/a#b`.
    pub namespace: u32,
    /// The process that published the message: random at each start, so a server that comes back is another process.
    pub process: u64,
    /// The message's number among all that the process publishes, from 1. It shows doubles.
    pub serial: u64,
    /// The message's number in its [`Series`](crate::cluster::Series), from 1. It shows gaps. 0 if it is in no series.
    pub number: u64,
}

const VERSION: u8 = 1;
const AGAIN: u8 = 1;
const ONE: u8 = 2;

impl Trailer {
    /// Bytes of a trailer.
    pub const BYTES: usize = 30;

    /// The trailer of a message that is sent for the first time.
    pub fn new(namespace: &str, process: u64, serial: u64, number: u64) -> Self {
        Self { again: false, one: false, namespace: Self::hash(namespace), process, serial, number }
    }

    /// The hash of a namespace: FNV-1a, which is the same in every version and on every platform.
    pub fn hash(namespace: &str) -> u32 {
        namespace.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }

    /// A random number for a process. Without a random source, the process id and the time are hashed.
    pub fn random_process() -> u64 {
        let random = SocketId::random().ok().map(|id| id.as_str().as_bytes().to_vec());
        let bytes = random.unwrap_or_else(|| {
            let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            [std::process::id().to_be_bytes().to_vec(), time.as_nanos().to_be_bytes().to_vec()].concat()
        });
        // FNV-1a again, with 64 bits.
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// The trailer as bytes: version, flags, and the numbers in big endian.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let flags = u8::from(self.again) * AGAIN + u8::from(self.one) * ONE;
        let parts: [&[u8]; 6] = [
            &[VERSION],
            &[flags],
            &self.namespace.to_be_bytes(),
            &self.process.to_be_bytes(),
            &self.serial.to_be_bytes(),
            &self.number.to_be_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// Reads a trailer. `None` if the bytes are not a trailer, or are one of a later version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let ([VERSION, flags], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (namespace, rest) = rest.split_first_chunk::<4>()?;
        let (process, rest) = rest.split_first_chunk::<8>()?;
        let (serial, rest) = rest.split_first_chunk::<8>()?;
        let (number, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            again: flags & AGAIN != 0,
            one: flags & ONE != 0,
            namespace: u32::from_be_bytes(*namespace),
            process: u64::from_be_bytes(*process),
            serial: u64::from_be_bytes(*serial),
            number: u64::from_be_bytes(*number),
        })
    }

    /// The trailer as 60 hexadecimal digits, for dialects that are text.
    pub fn to_hex(self) -> String {
        self.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads a trailer from the digits of [`Trailer::to_hex`]; `None` as in [`Trailer::from_bytes`].
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 2 * Self::BYTES {
            return None;
        }
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let bytes: Vec<u8> = digits?
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + u8::try_from(*digit).unwrap_or_default()))
            .collect();
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_of_a_trailer_stay_what_they_are() {
        let trailer = Trailer { again: true, ..Trailer::new("/a", 0x0102_0304_0506_0708, 9, 258) };
        let hex = concat!("01", "01", "70d2182d", "0102030405060708", "0000000000000009", "0000000000000102");
        assert_eq!(trailer.to_hex(), hex);
        assert_eq!(Trailer::from_hex(&trailer.to_hex()), Some(trailer));
    }

    #[test]
    fn other_input_is_not_read_as_a_trailer() {
        let bytes = Trailer::new("/", 1, 2, 3).to_bytes();
        assert!(Trailer::from_bytes(&bytes).is_some());
        assert!(
            Trailer::from_bytes(&bytes[1..]).is_none() && Trailer::from_bytes(&[&bytes[..], &[0]].concat()).is_none()
        );
        let mut later = bytes;
        later[0] = 2;
        assert!(Trailer::from_bytes(&later).is_none());
        for text in ["", "01", &"g".repeat(60), &"é".repeat(30), &"0".repeat(60)] {
            assert!(Trailer::from_hex(text).is_none(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_trailer_survives(again: bool, one: bool, namespace: u32, process: u64, serial: u64, number: u64) {
            let trailer = Trailer { again, one, namespace, process, serial, number };
            prop_assert_eq!(Trailer::from_bytes(&trailer.to_bytes()), Some(trailer));
            prop_assert_eq!(Trailer::from_hex(&trailer.to_hex()), Some(trailer));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, text: String) {
            let _ = Trailer::from_bytes(&bytes);
            let _ = Trailer::from_hex(&text);
        }
    }
}
