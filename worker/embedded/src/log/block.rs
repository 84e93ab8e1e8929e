//! A block: some records of one partition as one value of the store.
//!
//! ```text
//! version u8 | 0 0 0 | count u32 | base offset i64 | newest timestamp i64 | crc32 u32     28 bytes, the crc of all behind it
//! count × ( timestamp i64 | key length u32 | value length u32 | length u32 )              absent key or value = all ones
//! count × ( key | value | headers )                                                       as the engine keeps a record
//! ```
//!
//! Integers are little-endian. Offsets are contiguous: entry `i` stands at `base + i`. The bodies lie as the engine's
//! [`Record`] keeps them, so reading is one check of the block and one slice for each record. Nothing here knows the
//! store. Up: [`super`].

use bytes::{BufMut, Bytes, BytesMut};
use keyweir_core::{Offset, ShardIndex};
use keyweir_engine::{NewRecord, Origin, Record};

const VERSION: u8 = 1;
const HEADER: usize = 28;
const ENTRY: usize = 20;
const ABSENT: u32 = u32::MAX;

/// Why a stored value is not a block.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum BlockError {
    /// It was written by a newer program.
    #[error("failed to read a block: version {0} is not known here")]
    Version(u8),
    /// It is shorter or longer than it says.
    #[error("failed to read a block: its length is wrong")]
    Length,
    /// Its bytes are not what was written.
    #[error("failed to read a block: its checksum is wrong")]
    Checksum,
    /// It stands in the place of another one.
    #[error("failed to read a block: it belongs to another offset")]
    Place,
}

/// Gathers records of one partition until they fill a block.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    base: Offset,
    count: u32,
    newest: i64,
    entries: BytesMut,
    bodies: BytesMut,
}

impl BlockBuilder {
    /// An empty block whose first record will stand at `base`.
    pub(crate) fn new(base: Offset) -> Self {
        Self { base, count: 0, newest: i64::MIN, entries: BytesMut::new(), bodies: BytesMut::new() }
    }

    /// Adds a record and gives its place.
    pub(crate) fn push(&mut self, record: &NewRecord, timestamp: i64) -> Offset {
        let offset = self.end();
        let start = self.bodies.len();
        record.put_layout(&mut self.bodies);
        self.entries.put_i64_le(timestamp);
        self.entries.put_u32_le(length(record.key.as_ref()));
        self.entries.put_u32_le(length(record.value.as_ref()));
        self.entries.put_u32_le((self.bodies.len() - start) as u32);
        self.count += 1;
        self.newest = self.newest.max(timestamp);
        offset
    }

    /// One behind the last record.
    pub(crate) fn end(&self) -> Offset {
        Offset(self.base.0 + i64::from(self.count))
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How large the block will be.
    pub(crate) fn weight(&self) -> usize {
        HEADER + self.entries.len() + self.bodies.len()
    }

    /// The block's bytes.
    pub(crate) fn finish(self) -> Bytes {
        let mut block = BytesMut::with_capacity(self.weight());
        block.put_slice(&[VERSION, 0, 0, 0]);
        block.put_u32_le(self.count);
        block.put_i64_le(self.base.0);
        block.put_i64_le(self.newest);
        block.put_u32_le(0);
        block.put_slice(&self.entries);
        block.put_slice(&self.bodies);
        let crc = checksum(&block);
        block[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
        block.freeze()
    }
}

fn length(bytes: Option<&Bytes>) -> u32 {
    bytes.map_or(ABSENT, |bytes| bytes.len() as u32)
}

/// Covers everything but the checksum itself.
fn checksum(block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block[..HEADER - 4]);
    hasher.update(&block[HEADER..]);
    hasher.finalize()
}

/// A block that was read back and checked.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    bytes: Bytes,
    count: u32,
    base: Offset,
    newest: i64,
}

impl Block {
    /// Checks a stored value: version, checksum and all lengths.
    pub(crate) fn parse(bytes: Bytes) -> Result<Self, BlockError> {
        let header = bytes.get(..HEADER).ok_or(BlockError::Length)?;
        if header[0] != VERSION {
            return Err(BlockError::Version(header[0]));
        }
        if u32_at(header, HEADER - 4) != checksum(&bytes) {
            return Err(BlockError::Checksum);
        }
        let (count, base, newest) = (u32_at(header, 4), i64_at(header, 8), i64_at(header, 16));
        let block = Self { count, base: Offset(base), newest, bytes };
        let table = block.bytes.get(HEADER..block.bodies()).ok_or(BlockError::Length)?;
        let bodies: u64 = table.chunks_exact(ENTRY).map(|entry| u64::from(u32_at(entry, 16))).sum();
        if block.bodies() as u64 + bodies != block.bytes.len() as u64 || count == 0 {
            return Err(BlockError::Length);
        }
        Ok(block)
    }

    /// The place of its first record.
    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    /// One behind its last record.
    pub(crate) fn end(&self) -> Offset {
        Offset(self.base.0 + i64::from(self.count))
    }

    /// The newest timestamp in it.
    pub(crate) fn newest(&self) -> i64 {
        self.newest
    }

    /// Hands out its records at and above `from`; slices of the block, no copies.
    pub(crate) fn records(
        &self,
        shard: ShardIndex,
        from: Offset,
        mut give: impl FnMut(Record),
    ) -> Result<(), BlockError> {
        let table = &self.bytes[HEADER..self.bodies()];
        let mut start = self.bodies();
        for (offset, entry) in (self.base.0..).map(Offset).zip(table.chunks_exact(ENTRY)) {
            let end = start + u32_at(entry, 16) as usize;
            if offset >= from {
                let origin = Origin { shard, offset, timestamp: i64_at(entry, 0) };
                let (key, value) = (present(u32_at(entry, 8)), present(u32_at(entry, 12)));
                let body = self.bytes.slice(start..end);
                give(Record::from_layout(origin, key, value, body).ok_or(BlockError::Length)?);
            }
            start = end;
        }
        Ok(())
    }

    fn bodies(&self) -> usize {
        HEADER + self.count as usize * ENTRY
    }
}

fn present(length: u32) -> Option<u32> {
    (length != ABSENT).then_some(length)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    bytes[at..].first_chunk().map_or(0, |b| i64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn record() -> impl Strategy<Value = NewRecord> {
        let headers = proptest::collection::vec(("[a-zé]{0,8}", proptest::option::of(bytes())), 0..3);
        (proptest::option::of(bytes()), proptest::option::of(bytes()), headers, 0..i64::MAX).prop_map(
            |(key, value, headers, timestamp)| NewRecord {
                key,
                value,
                headers,
                partition: None,
                timestamp: Some(timestamp),
            },
        )
    }

    fn built(base: i64, records: &[NewRecord]) -> Bytes {
        let mut builder = BlockBuilder::new(Offset(base));
        for (i, record) in (0..).zip(records) {
            assert_eq!(builder.push(record, record.timestamp.unwrap_or(0)), Offset(base + i));
        }
        let weight = builder.weight();
        let block = builder.finish();
        assert_eq!(block.len(), weight);
        block
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were(
            records in proptest::collection::vec(record(), 1..40),
            base in 0i64..1_000_000,
            skip in 0i64..50,
        ) {
            let block = Block::parse(built(base, &records)).unwrap();
            prop_assert_eq!((block.base(), block.end().0), (Offset(base), base + records.len() as i64));
            prop_assert_eq!(Some(block.newest()), records.iter().filter_map(|r| r.timestamp).max());
            let mut read = Vec::new();
            block.records(ShardIndex(2), Offset(base + skip), |record| read.push(record)).unwrap();
            let expected: Vec<_> = (base..).zip(&records).skip(skip as usize).collect();
            prop_assert_eq!(read.len(), expected.len());
            for (read, (offset, written)) in read.iter().zip(expected) {
                prop_assert_eq!((read.offset, read.shard), (Offset(offset), ShardIndex(2)));
                prop_assert_eq!(&NewRecord::from(read), written);
            }
        }

        #[test]
        fn a_changed_or_cut_block_is_refused(
            records in proptest::collection::vec(record(), 1..8),
            at in any::<proptest::sample::Index>(),
            bit in 0u8..8,
        ) {
            let whole = built(7, &records);
            let at = at.index(whole.len());
            prop_assert!(Block::parse(whole.slice(..at)).is_err());
            let mut changed = BytesMut::from(&whole[..]);
            changed[at] ^= 1 << bit;
            prop_assert!(Block::parse(changed.freeze()).is_err());
        }
    }
}
