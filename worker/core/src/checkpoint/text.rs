//! Bytes as text that survives any field: letters, digits, `-` and `_`, six bits a character, no padding.
//!
//! Kafka keeps a text beside a group's offset and nothing else; a checkpoint without a store lives there.

/// How the text of a checkpoint begins.
pub(super) const START: &str = "kwcp";

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How long the text of so many bytes is.
pub(super) const fn length(bytes: usize) -> usize {
    bytes / 3 * 4 + (bytes % 3 * 4).div_ceil(3)
}

/// How many bytes fit in a text so long.
pub(super) const fn capacity(text: usize) -> usize {
    text / 4 * 3 + text % 4 * 3 / 4
}

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(length(bytes.len()));
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().zip([16, 8, 0]).fold(0u32, |bits, (&byte, shift)| bits | u32::from(byte) << shift);
        let used = chunk.len() + 1;
        text.extend(
            [18, 12, 6, 0].iter().take(used).map(|shift| char::from(ALPHABET[(bits >> shift & 63) as usize])),
        );
    }
    text
}

/// The bytes, where this is the text of any; each has one text only.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(capacity(text.len()));
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for (&symbol, shift) in chunk.iter().zip([18, 12, 6, 0]) {
            bits |= u32::from(value(symbol)?) << shift;
        }
        let [_, high, middle, low] = bits.to_be_bytes();
        let used = chunk.len() - 1;
        let (kept, lost) = ([high, middle, low], bits << (8 + 8 * used as u32).min(31));
        if used == 0 || (used < 3 && lost != 0) {
            return None;
        }
        bytes.extend_from_slice(&kept[..used]);
    }
    Some(bytes)
}

fn value(symbol: u8) -> Option<u8> {
    match symbol {
        b'A'..=b'Z' => Some(symbol - b'A'),
        b'a'..=b'z' => Some(symbol - b'a' + 26),
        b'0'..=b'9' => Some(symbol - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::wire::MAGIC;

    #[test]
    fn every_byte_reads_as_it_is_written_at_every_length() {
        let all: Vec<u8> = (0..=255).rev().chain(0..=255).collect();
        for end in 0..all.len() {
            let text = encode(&all[..end]);
            assert_eq!(text.len(), length(end));
            assert!(capacity(text.len()) >= end && length(capacity(text.len())) <= text.len());
            assert_eq!(decode(&text).as_deref(), Some(&all[..end]));
        }
    }

    #[test]
    fn the_first_bytes_spell_the_name() {
        assert_eq!(encode(&MAGIC), START);
    }

    #[test]
    fn what_nobody_wrote_is_refused() {
        for text in ["A", "AAAAA", "AB", "AAB", "AA=", "A+==", "Ä", "AA A"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
