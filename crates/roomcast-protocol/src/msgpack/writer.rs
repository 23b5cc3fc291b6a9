//! [`Writer`]: values in their shortest form.

/// Writes MessagePack values in their shortest form, which is how Node's libraries write them.
///
/// Counts are not checked: an array of `len` must be followed by `len` values, a map by twice as many.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// The header of an array of `len` elements. The elements are to be written next.
    pub fn array(&mut self, len: usize) -> &mut Self {
        match len {
            0..=15 => self.out.push(0x90 | len as u8),
            16..=0xffff => self.head(0xdc, &(len as u16).to_be_bytes()),
            _ => self.head(0xdd, &wide(len).to_be_bytes()),
        }
        self
    }

    /// The header of a map of `len` members. A key and a value for each are to be written next.
    pub fn map(&mut self, len: usize) -> &mut Self {
        match len {
            0..=15 => self.out.push(0x80 | len as u8),
            16..=0xffff => self.head(0xde, &(len as u16).to_be_bytes()),
            _ => self.head(0xdf, &wide(len).to_be_bytes()),
        }
        self
    }

    /// Text. Text that is too long for MessagePack (4 GiB) is written as nil.
    pub fn str(&mut self, text: &str) -> &mut Self {
        if self.str_head(text.len()) {
            self.out.extend_from_slice(text.as_bytes());
        }
        self
    }

    /// Bytes. More than MessagePack can hold (4 GiB) are written as nil.
    pub fn bin(&mut self, bytes: &[u8]) -> &mut Self {
        let len = bytes.len();
        match len {
            0..=0xff => self.head(0xc4, &[len as u8]),
            0x100..=0xffff => self.head(0xc5, &(len as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.head(0xc6, &wide(len).to_be_bytes()),
            _ => return self.nil(),
        }
        self.out.extend_from_slice(bytes);
        self
    }

    /// An integer of at least 0.
    pub fn uint(&mut self, number: u64) -> &mut Self {
        match number {
            0..=0x7f => self.out.push(number as u8),
            0x80..=0xff => self.head(0xcc, &[number as u8]),
            0x100..=0xffff => self.head(0xcd, &(number as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.head(0xce, &(number as u32).to_be_bytes()),
            _ => self.head(0xcf, &number.to_be_bytes()),
        }
        self
    }

    /// An integer.
    pub fn int(&mut self, number: i64) -> &mut Self {
        match number {
            0.. => return self.uint(number as u64),
            -0x20..0 => self.out.push(number as u8),
            -0x80..-0x20 => self.head(0xd0, &[number as u8]),
            -0x8000..-0x80 => self.head(0xd1, &(number as i16).to_be_bytes()),
            -0x8000_0000..-0x8000 => self.head(0xd2, &(number as i32).to_be_bytes()),
            _ => self.head(0xd3, &number.to_be_bytes()),
        }
        self
    }

    /// A float, always of 64 bits, as Node's libraries write it.
    pub fn f64(&mut self, number: f64) -> &mut Self {
        self.head(0xcb, &number.to_be_bytes());
        self
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.out.push(if value { 0xc3 } else { 0xc2 });
        self
    }

    /// nil.
    pub fn nil(&mut self) -> &mut Self {
        self.out.push(0xc0);
        self
    }

    /// notepack's `undefined`: what socket.io-msgpack-parser writes for "absent", and the only thing that it reads as
    /// such.
    pub fn undefined(&mut self) -> &mut Self {
        self.head(0xd4, &[0, 0]);
        self
    }

    /// A value that is MessagePack already. That is not checked.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.out.extend_from_slice(value);
        self
    }

    /// Writes the header of a text of `len` bytes; or nil, returning `false`, if it is too long.
    pub(super) fn str_head(&mut self, len: usize) -> bool {
        match len {
            0..=31 => self.out.push(0xa0 | len as u8),
            32..=0xff => self.head(0xd9, &[len as u8]),
            0x100..=0xffff => self.head(0xda, &(len as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.head(0xdb, &wide(len).to_be_bytes()),
            _ => {
                self.nil();
                return false;
            }
        }
        true
    }

    fn head(&mut self, first: u8, rest: &[u8]) {
        self.out.push(first);
        self.out.extend_from_slice(rest);
    }
}

/// A count over 2^32 - 1 would need as many values after it, which no memory holds. So it cannot occur.
fn wide(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn integers_take_the_shortest_form() {
        for (number, length) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (255, 2),
            (256, 3),
            (65_535, 3),
            (65_536, 5),
            (4_294_967_295, 5),
            (4_294_967_296, 9),
            (i64::MAX, 9),
            (-1, 1),
            (-32, 1),
            (-33, 2),
            (-128, 2),
            (-129, 3),
            (-32_768, 3),
            (-32_769, 5),
            (-2_147_483_648, 5),
            (-2_147_483_649, 9),
            (i64::MIN, 9),
        ] {
            let out = written(|writer| _ = writer.int(number));
            assert_eq!((out.len(), Reader::new(&out).int()), (length, Ok(number)));
        }
        let out = written(|writer| _ = writer.uint(u64::MAX));
        assert_eq!((out.len(), Reader::new(&out).uint()), (9, Ok(u64::MAX)));
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (len, head) in [(0, 1), (31, 1), (32, 2), (255, 2), (256, 3), (65_535, 3), (65_536, 5)] {
            let text = "a".repeat(len);
            let out = written(|writer| _ = writer.str(&text));
            assert_eq!((out.len() - len, Reader::new(&out).str()), (head, Ok(&*text)));
            let out = written(|writer| _ = writer.bin(text.as_bytes()));
            assert_eq!((out.len() - len, Reader::new(&out).bin()), (head.max(2), Ok(text.as_bytes())));
        }
        for (len, head) in [(0, 1), (15, 1), (16, 3), (65_535, 3), (65_536, 5)] {
            let mut out = written(|writer| _ = writer.array(len));
            assert_eq!(out.len(), head);
            out.resize(head + len, 0xc0);
            assert_eq!(Reader::new(&out).array_len(), Ok(len));
            let mut out = written(|writer| _ = writer.map(len));
            assert_eq!(out.len(), head);
            out.resize(head + 2 * len, 0xc0);
            assert_eq!(Reader::new(&out).map_len(), Ok(len));
        }
    }

    #[test]
    fn the_rest() {
        let out = written(|writer| _ = writer.nil().bool(true).bool(false).f64(1.5).undefined().raw(b"\xa1x"));
        assert_eq!(out, b"\xc0\xc3\xc2\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xd4\x00\x00\xa1x");
    }
}
