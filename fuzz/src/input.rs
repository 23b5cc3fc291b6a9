//! [`Input`]: the bytes of one execution, taken from the front.

/// What is left of an input. At its end every number is 0 and every piece is empty, so that a shorter input is simpler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// One of `choices`, which is not empty.
    pub(crate) fn choice<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// Bytes after their length, which is a byte, or 255 and two bytes. If the length is too large, all bytes that are
    /// left.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let length = match self.byte() {
            255 => usize::from(self.byte()) << 8 | usize::from(self.byte()),
            short => usize::from(short),
        };
        let (piece, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        piece
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// The bytes as [`Input::piece`] reads them.
pub(crate) fn piece(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    let mut piece = match u8::try_from(bytes.len()) {
        Ok(short) if short < 255 => vec![short],
        _ => vec![255, (bytes.len() >> 8) as u8, bytes.len() as u8],
    };
    piece.extend_from_slice(bytes);
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_as_they_were_written() {
        for length in [0, 1, 254, 255, 256, 70_000_usize] {
            let bytes = vec![7; length];
            let mut data = piece(&bytes);
            data.push(9);
            let mut input = Input::new(&data);
            assert_eq!(input.piece().len(), length.min(65_535));
            assert_eq!((input.byte(), input.byte(), input.piece()), (9, 0, &[][..]));
        }
    }
}
