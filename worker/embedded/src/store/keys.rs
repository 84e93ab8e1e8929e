//! Keys of the store: big-endian numbers and escaped texts, so that the order of bytes is the order of what they name.

use keyweir_core::{Offset, ShardId};

/// A block's key in its segment: partition, then the offset of its last record. The first block at or behind
/// `(partition, offset)` is the one that holds the offset.
pub(crate) fn block(partition: u32, last: Offset) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..].copy_from_slice(&(last.0 as u64).to_be_bytes());
    key
}

/// The last offset that a block's key names.
pub(crate) fn last_of_block(key: &[u8]) -> Option<Offset> {
    let (_, last) = key.split_first_chunk::<4>()?;
    Some(Offset(u64::from_be_bytes(last.try_into().ok()?) as i64))
}

/// A topic's row.
pub(crate) fn topic(name: &str) -> Vec<u8> {
    [TOPIC, name.as_bytes()].concat()
}

/// What all topics' rows begin with.
pub(crate) const TOPIC: &[u8] = b"topic/";

/// The row that counts topics, so that no number is used twice.
pub(crate) const NEXT_TOPIC: &[u8] = b"next-topic";

/// The row that counts commits.
pub(crate) const COMMITS: &[u8] = b"commits";

/// A segment's row.
pub(crate) fn segment(topic: u32, segment: u64) -> Vec<u8> {
    [&segments(topic)[..], &segment.to_be_bytes()].concat()
}

/// What the rows of a topic's segments begin with.
pub(crate) fn segments(topic: u32) -> Vec<u8> {
    [b"segment/", &topic.to_be_bytes()[..]].concat()
}

/// The row that tells how much a segment holds; written with each append.
pub(crate) fn fill(topic: u32, segment: u64) -> Vec<u8> {
    [b"fill/", &topic.to_be_bytes()[..], &segment.to_be_bytes()].concat()
}

/// What all keys of one object begin with.
pub(crate) fn object(object: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(object.len() + 2);
    put_text(&mut key, object);
    key
}

/// The object that a key begins with.
pub(crate) fn parse_object(key: &[u8]) -> Option<String> {
    take_text(key).map(|(object, _)| object)
}

/// Behind all keys of one object: no text has a byte between its end and this one.
pub(crate) fn behind_object(object: &str) -> Vec<u8> {
    let mut key = self::object(object);
    if let Some(last) = key.last_mut() {
        *last = 1;
    }
    key
}

/// A shard of an object.
pub(crate) fn shard(object: &str, shard: &ShardId) -> Vec<u8> {
    let mut key = self::object(object);
    put_text(&mut key, &shard.stream);
    key.extend_from_slice(&shard.index.to_be_bytes());
    key
}

/// A record of an object; keys are in the order of shard and offset.
pub(crate) fn record(object: &str, shard: &ShardId, offset: Offset) -> Vec<u8> {
    let mut key = self::shard(object, shard);
    key.extend_from_slice(&(offset.0 as u64 ^ 1 << 63).to_be_bytes());
    key
}

/// The shard and offset that a key of [`record`] names behind its object.
pub(crate) fn parse_record(object: &str, key: &[u8]) -> Option<(ShardId, Offset)> {
    let (stream, rest) = take_text(key.strip_prefix(&self::object(object)[..])?)?;
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let offset = u64::from_be_bytes(rest.try_into().ok()?) ^ 1 << 63;
    Some((ShardId::new(stream, u32::from_be_bytes(*index)), Offset(offset as i64)))
}

/// Zero bytes are escaped and two end the text: a shorter text sorts before those that it begins.
fn put_text(key: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend_from_slice(&[0, 0]);
}

fn take_text(key: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut at = 0;
    loop {
        match (*key.get(at)?, key.get(at + 1)) {
            (0, Some(0)) => return Some((String::from_utf8(text).ok()?, &key[at + 2..])),
            (0, Some(0xff)) => {
                text.push(0);
                at += 2;
            }
            (0, _) => return None,
            (byte, _) => {
                text.push(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_of_records_sort_as_their_names(
            a in ("[a\0/]{0,3}", 0u32..3, any::<i64>()),
            b in ("[a\0/]{0,3}", 0u32..3, any::<i64>()),
        ) {
            let id = |(stream, index, offset): &(String, u32, i64)| (ShardId::new(stream.as_str(), *index), Offset(*offset));
            let ((sa, oa), (sb, ob)) = (id(&a), id(&b));
            let (ka, kb) = (record("shop/orders", &sa, oa), record("shop/orders", &sb, ob));
            prop_assert_eq!(ka.cmp(&kb), (&sa, oa).cmp(&(&sb, ob)));
            prop_assert_eq!(parse_record("shop/orders", &ka), Some((sa, oa)));
        }
    }

    #[test]
    fn an_object_is_no_prefix_of_another() {
        let shard = ShardId::new("t", 0);
        assert!(!self::shard("shop/orders", &shard).starts_with(&object("shop/order")));
        assert_eq!(parse_record("shop/order", &record("shop/orders", &shard, Offset(1))), None);
    }
}
