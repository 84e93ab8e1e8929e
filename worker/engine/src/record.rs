//! One message from a source, as the whole engine and every handler sees it.
//!
//! A [`Record`] is one cheap clone: a slice of the buffer that its reader filled for many records, and a few
//! numbers. Key, value and headers are bytes; nothing here decodes them. Adapters build records through an
//! [`Arena`] and keep no vendor type. Up: [`crate::ports::Reader`] gives them, the pump moves them.

use bytes::{BufMut, Bytes, BytesMut};
use keyweir_core::{Offset, ShardIndex};

/// How many bytes an arena asks for at once. One slow record keeps its whole chunk in memory, so the chunk is
/// small beside the budget; a record above a quarter of it gets a buffer of its own.
const CHUNK: usize = 32 * 1024;

/// Marks an absent key or value, which differs from an empty one.
const ABSENT: u32 = u32::MAX;

/// One message from a source: cheap to clone, bytes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `key | value | headers`, in this order.
    bytes: Bytes,
    key_length: u32,
    value_length: u32,
    /// The shard it was read from.
    pub shard: ShardIndex,
    /// Its place in that shard.
    pub offset: Offset,
    /// When it was written, in milliseconds since the epoch; negative = unknown.
    pub timestamp: i64,
}

impl Record {
    /// The key; `None` is a null key.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        (self.key_length != ABSENT).then(|| &self.bytes[..self.key_length as usize])
    }

    /// The value; `None` is a null value (a tombstone in a compacted topic).
    #[inline]
    pub fn value(&self) -> Option<&[u8]> {
        (self.value_length != ABSENT).then(|| &self.bytes[self.value_start()..self.headers_start()])
    }

    /// The value without a copy, for clients that want to keep it.
    pub fn value_bytes(&self) -> Option<Bytes> {
        (self.value_length != ABSENT).then(|| self.bytes.slice(self.value_start()..self.headers_start()))
    }

    /// Name and value of each header, in the order in which they were written; a value may be null.
    pub fn headers(&self) -> Headers<'_> {
        Headers { rest: &self.bytes[self.headers_start()..] }
    }

    /// The last header of that name: Kafka's rule where a name stands twice.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().filter(|(n, _)| *n == name).last().and_then(|(_, value)| value)
    }

    /// What it weighs in the budget: key, value and headers.
    #[inline]
    pub fn weight(&self) -> usize {
        self.bytes.len()
    }

    /// A record whose bytes already lie in a shared buffer as `key | value | headers`, for readers of stores that keep
    /// records so; nothing is copied. `None` = the lengths do not fit the bytes.
    #[inline]
    pub fn from_layout(
        origin: Origin,
        key_length: Option<u32>,
        value_length: Option<u32>,
        bytes: Bytes,
    ) -> Option<Self> {
        let body = u64::from(key_length.unwrap_or(0)) + u64::from(value_length.unwrap_or(0));
        if key_length == Some(ABSENT) || value_length == Some(ABSENT) || body > bytes.len() as u64 {
            return None;
        }
        Some(Self {
            bytes,
            key_length: key_length.unwrap_or(ABSENT),
            value_length: value_length.unwrap_or(ABSENT),
            shard: origin.shard,
            offset: origin.offset,
            timestamp: origin.timestamp,
        })
    }

    /// Lengths of key and value, and the bytes `key | value | headers`, as [`Record::from_layout`] takes them.
    pub fn layout(&self) -> (Option<u32>, Option<u32>, &Bytes) {
        let present = |length: u32| (length != ABSENT).then_some(length);
        (present(self.key_length), present(self.value_length), &self.bytes)
    }

    /// The same record with another value, for what decoding unwraps.
    pub fn with_value(&self, value: Option<&[u8]>) -> Self {
        let mut arena = Arena::new();
        let origin = Origin { shard: self.shard, offset: self.offset, timestamp: self.timestamp };
        arena.record(origin, self.key(), value, self.headers())
    }

    fn value_start(&self) -> usize {
        if self.key_length == ABSENT { 0 } else { self.key_length as usize }
    }

    fn headers_start(&self) -> usize {
        self.value_start() + if self.value_length == ABSENT { 0 } else { self.value_length as usize }
    }
}

/// Where a record stands: what an adapter knows of it besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The shard it was read from.
    pub shard: ShardIndex,
    /// Its place in that shard.
    pub offset: Offset,
    /// When it was written, in milliseconds since the epoch; negative = unknown.
    pub timestamp: i64,
}

/// Turns borrowed vendor messages into records: one allocation for many.
#[derive(Debug, Default)]
pub struct Arena {
    chunk: BytesMut,
}

impl Arena {
    /// An arena that has allocated nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies one message into a record; the borrow of the vendor's message ends here.
    pub fn record<'a>(
        &mut self,
        origin: Origin,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Record {
        let body = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if self.chunk.capacity() < body {
            self.chunk = BytesMut::with_capacity(if body > CHUNK / 4 { body } else { CHUNK });
        }
        self.chunk.extend_from_slice(key.unwrap_or_default());
        self.chunk.extend_from_slice(value.unwrap_or_default());
        for (name, value) in headers {
            put_header(&mut self.chunk, name, value);
        }
        Record {
            bytes: self.chunk.split().freeze(),
            key_length: key.map_or(ABSENT, |key| key.len() as u32),
            value_length: value.map_or(ABSENT, |value| value.len() as u32),
            shard: origin.shard,
            offset: origin.offset,
            timestamp: origin.timestamp,
        }
    }

    /// A copy of a record that shares no memory with it.
    pub fn copy(&mut self, record: &Record) -> Record {
        let origin = Origin { shard: record.shard, offset: record.offset, timestamp: record.timestamp };
        self.record(origin, record.key(), record.value(), record.headers())
    }
}

fn put_header(to: &mut BytesMut, name: &str, value: Option<&[u8]>) {
    to.put_u32_le(name.len() as u32);
    to.put_u32_le(value.map_or(ABSENT, |value| value.len() as u32));
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(value.unwrap_or_default());
}

/// Walks a record's headers. Made by [`Record::headers`].
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name_length, rest) = self.rest.split_first_chunk::<4>()?;
        let (value_length, rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name_length) as usize)?;
        let name = std::str::from_utf8(name).ok()?;
        let value_length = u32::from_le_bytes(*value_length);
        if value_length == ABSENT {
            self.rest = rest;
            return Some((name, None));
        }
        let (value, rest) = rest.split_at_checked(value_length as usize)?;
        self.rest = rest;
        Some((name, Some(value)))
    }
}

/// A record to be written: an output, a dead letter, a parked copy, a line of `keyweir send`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// The key; `None` is a null key.
    pub key: Option<Bytes>,
    /// The value; `None` is a null value.
    pub value: Option<Bytes>,
    /// Name and value of each header, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// The partition it must go to; `None` = by key, as Kafka's murmur2 partitioner would.
    pub partition: Option<u32>,
    /// When it was written, in milliseconds since the epoch; `None` = now.
    pub timestamp: Option<i64>,
}

impl NewRecord {
    /// The same as a record that was read there.
    pub fn as_record(&self, shard: ShardIndex, offset: Offset) -> Record {
        let origin = Origin { shard, offset, timestamp: self.timestamp.unwrap_or(-1) };
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        Arena::new().record(origin, self.key.as_deref(), self.value.as_deref(), headers)
    }

    /// Appends `key | value | headers`, as [`Record::from_layout`] takes them. Stores keep records so: the layout of
    /// headers (both lengths as little-endian `u32`, all ones = null, then name and value) never changes.
    pub fn put_layout(&self, to: &mut BytesMut) {
        to.extend_from_slice(self.key.as_deref().unwrap_or_default());
        to.extend_from_slice(self.value.as_deref().unwrap_or_default());
        for (name, value) in &self.headers {
            put_header(to, name, value.as_deref());
        }
    }

    /// How many bytes [`NewRecord::put_layout`] appends.
    pub fn weight(&self) -> usize {
        let headers = self.headers.iter();
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
                .map(|(name, value)| 8 + name.len() + value.as_ref().map_or(0, Bytes::len))
                .sum::<usize>()
    }
}

impl From<&Record> for NewRecord {
    fn from(record: &Record) -> Self {
        Self {
            key: record.key().map(Bytes::copy_from_slice),
            value: record.value_bytes(),
            headers: record
                .headers()
                .map(|(name, value)| (name.to_owned(), value.map(Bytes::copy_from_slice)))
                .collect(),
            partition: None,
            timestamp: (record.timestamp >= 0).then_some(record.timestamp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(offset: i64) -> Origin {
        Origin { shard: ShardIndex(3), offset: Offset(offset), timestamp: 17 }
    }

    #[test]
    fn key_value_and_headers_come_back_as_they_were() {
        let mut arena = Arena::new();
        let headers = [("a", Some(&b"1"[..])), ("none", None), ("a", Some(&b""[..]))];
        let record = arena.record(origin(5), Some(b"k\xff"), Some(b"value"), headers.into_iter());
        assert_eq!(record.key(), Some(&b"k\xff"[..]));
        assert_eq!(record.value(), Some(&b"value"[..]));
        assert_eq!(record.headers().collect::<Vec<_>>(), headers);
        assert_eq!(record.header("a"), Some(&b""[..]));
        assert_eq!(record.header("b"), None);
    }

    #[test]
    fn a_stored_layout_is_the_record_that_was_written() {
        let headers = vec![("a".to_owned(), Some(Bytes::from_static(b"1"))), ("none".to_owned(), None)];
        let new =
            NewRecord { key: None, value: Some(Bytes::from_static(b"v")), headers, ..Default::default() };
        let mut stored = BytesMut::new();
        new.put_layout(&mut stored);
        assert_eq!(stored.len(), new.weight());
        let stored = stored.freeze();
        let record = Record::from_layout(origin(5), None, Some(1), stored.clone()).unwrap();
        assert_eq!(NewRecord { timestamp: Some(17), ..new }, NewRecord::from(&record));
        assert_eq!(Record::from_layout(origin(5), Some(1), Some(stored.len() as u32), stored), None);
    }

    #[test]
    fn null_and_empty_differ() {
        let mut arena = Arena::new();
        let null = arena.record(origin(1), None, None, std::iter::empty());
        let empty = arena.record(origin(2), Some(b""), Some(b""), std::iter::empty());
        assert_eq!((null.key(), null.value()), (None, None));
        assert_eq!((empty.key(), empty.value()), (Some(&b""[..]), Some(&b""[..])));
    }

    #[test]
    fn records_of_one_chunk_do_not_overlap() {
        let mut arena = Arena::new();
        let values: Vec<Vec<u8>> = (0..5_000u32).map(|i| vec![i as u8; (i % 700) as usize]).collect();
        let records: Vec<_> = (0..)
            .zip(&values)
            .map(|(i, v)| arena.record(origin(i), Some(&i.to_le_bytes()), Some(v), std::iter::empty()))
            .collect();
        for (i, (record, value)) in (0i64..).zip(records.iter().zip(&values)) {
            assert_eq!(record.key(), Some(&i.to_le_bytes()[..]));
            assert_eq!(record.value(), Some(&value[..]));
        }
    }
}
