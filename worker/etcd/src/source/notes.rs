//! What a slot notes with its checkpoint, as bytes. Up: [the source](super).
//!
//! ```text
//! version 1 │ read to │ listing + 1, or 0 │ flags │ ahead: count, (key, revision + 1 or 0)… │ known: (shared, rest, revision)…
//! ```
//! Numbers are varints, keys have their length before them. Known keys are ascending; each writes only what it does not
//! share with the one before, so that a key costs about a dozen bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

const VERSION: u8 = 1;
const WHOLE: u8 = 1;

/// The longest notes. What does not fit is left out: what is known then has to be asked for again.
const LONGEST: usize = 256 * 1024;

/// What a slot notes with its checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Notes {
    /// Nothing was given at or behind this offset.
    pub(super) read_to: i64,
    /// The checkpoint's frontier lies in a listing at that revision.
    pub(super) listing: Option<u64>,
    /// Keys and the revision of their last change, as far as all is complete. `None` = they did not fit.
    pub(super) known: Option<BTreeMap<Bytes, u64>>,
    /// What is complete above the frontier: the revision of a key's last change, `None` = it is gone.
    pub(super) ahead: BTreeMap<Bytes, Option<u64>>,
}

impl Notes {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut head = vec![VERSION];
        put(&mut head, self.read_to.max(0).unsigned_abs());
        put(&mut head, self.listing.map_or(0, |revision| revision + 1));
        let ahead = Some(self.ahead()).filter(|ahead| ahead.len() < LONGEST / 2).unwrap_or_else(|| vec![0]);
        let mut known = Vec::new();
        let is_whole = self.known.as_ref().is_some_and(|all| {
            let mut last: &[u8] = &[];
            for (key, revision) in all {
                let shared = last.iter().zip(key).take_while(|(one, other)| one == other).count();
                put(&mut known, shared as u64);
                put_bytes(&mut known, &key[shared..]);
                put(&mut known, *revision);
                last = key;
            }
            head.len() + ahead.len() + known.len() < LONGEST
        });
        head.push(if is_whole { WHOLE } else { 0 });
        head.extend(ahead);
        if is_whole {
            head.extend(known);
        }
        head
    }

    fn ahead(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, self.ahead.len() as u64);
        for (key, revision) in &self.ahead {
            put_bytes(&mut bytes, key);
            put(&mut bytes, revision.map_or(0, |revision| revision + 1));
        }
        bytes
    }

    /// `None` = they are of another version, or make no sense: then the slot is listed anew.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let rest = &mut rest;
        let read_to = i64::try_from(take(rest)?).ok()?;
        let listing = take(rest)?.checked_sub(1);
        let is_whole = take_flags(rest)? & WHOLE != 0;
        let mut ahead = BTreeMap::new();
        for _ in 0..take(rest)? {
            ahead.insert(Bytes::copy_from_slice(take_bytes(rest)?), take(rest)?.checked_sub(1));
        }
        let mut known = BTreeMap::new();
        let mut last: Vec<u8> = Vec::new();
        while !rest.is_empty() {
            let shared = usize::try_from(take(rest)?).ok().filter(|shared| *shared <= last.len())?;
            last.truncate(shared);
            last.extend_from_slice(take_bytes(rest)?);
            known.insert(Bytes::copy_from_slice(&last), take(rest)?);
        }
        Some(Self { read_to, listing, known: is_whole.then_some(known), ahead })
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    put(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

fn take_flags(rest: &mut &[u8]) -> Option<u8> {
    let (first, more) = rest.split_first()?;
    *rest = more;
    Some(*first)
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..63).step_by(7) {
        let byte = take_flags(rest)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take(rest)?).ok()?;
    let (content, more) = rest.split_at_checked(length)?;
    *rest = more;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn notes(keys: usize) -> Notes {
        let known = (0..keys).map(|number| (key(&format!("/shop/orders/{number:06}")), number as u64 * 7));
        Notes {
            read_to: 77 << 20,
            listing: Some(76),
            known: Some(known.collect()),
            ahead: [(key("/shop/a"), Some(0)), (key("/shop/b"), None)].into(),
        }
    }

    #[test]
    fn notes_read_as_they_are_written() {
        for notes in [Notes::default(), Notes { known: None, ..notes(3) }, notes(0), notes(1_000)] {
            assert_eq!(Notes::decode(&notes.encode()), Some(notes));
        }
        let bytes = notes(1_000).encode();
        assert!(bytes.len() < 8_000, "keys that begin alike cost little: {}", bytes.len());
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said_so() {
        let bytes = notes(100_000).encode();
        assert!(bytes.len() <= LONGEST);
        assert_eq!(Notes::decode(&bytes), Some(Notes { known: None, ..notes(0) }));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let bytes = notes(3).encode();
        for end in 0..bytes.len() - 1 {
            if let Some(read) = Notes::decode(&bytes[..end]) {
                assert!(read.known.is_none_or(|known| known.len() < 3), "cut at {end}");
            }
        }
        assert_eq!(Notes::decode(&[9, 0, 0, 0, 0]), None);
        assert_eq!(Notes::decode(&[VERSION, 0, 0, WHOLE, 0, 5]), None, "shares more than there is");
    }
}
