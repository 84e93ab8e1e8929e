//! The marks of a checkpoint's bytes, and the numbers in them.
//!
//! ```text
//! magic 3 │ format 1 │ epoch, revision, sequence, frontier, crash takeovers │ sections │ crc32 of all before, 4
//!                       varints                                               tag 1, length varint, content
//! ```
//! A section that has nothing to say is left out; each stands at most once, in any order. What a later format adds
//! is a section, which this one skips.

/// The first bytes. They are chosen so that the text form begins with `kwcp`.
pub(super) const MAGIC: [u8; 3] = [0x93, 0x07, 0x29];

/// How many bytes the checksum takes.
pub(super) const CHECKSUM: usize = 4;

/// What the sections hold.
pub(super) mod tag {
    pub(in super::super) const COMPLETED: u8 = 1;
    pub(in super::super) const FAILED: u8 = 2;
    pub(in super::super) const STOPPED: u8 = 3;
    pub(in super::super) const CLUSTER: u8 = 4;
    pub(in super::super) const STREAM: u8 = 5;
    /// Since format 2.
    pub(in super::super) const NOTES: u8 = 6;
}

/// Appends a number, seven bits a byte, the low ones first.
pub(super) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// How many bytes a number takes.
pub(super) const fn varint_len(number: u64) -> usize {
    ((64 - (number | 1).leading_zeros()) as usize).div_ceil(7)
}

/// Appends a section; an empty one is left out.
pub(super) fn put_section(bytes: &mut Vec<u8>, tag: u8, content: &[u8]) {
    if !content.is_empty() {
        bytes.push(tag);
        put_varint(bytes, content.len() as u64);
        bytes.extend_from_slice(content);
    }
}

/// Reads what was put; `None` wherever the bytes end too early or a number is none.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A length, then that many bytes.
    pub(super) fn block(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (block, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_they_are_written() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(bytes.len(), varint_len(number), "{number}");
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(cursor.varint(), Some(number));
            assert!(cursor.is_at_end());
        }
    }

    #[test]
    fn a_number_without_an_end_or_above_64_bits_is_none() {
        for bytes in
            [&[0x80][..], &[0xff; 9], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert_eq!(Cursor::new(bytes).varint(), None);
        }
        assert_eq!(Cursor::new(&[5, 1, 2]).block(), None);
    }
}
