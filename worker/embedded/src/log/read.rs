//! Finds blocks of a partition by offset or time.

use keyweir_core::Offset;

use super::block::Block;
use super::topic::{Segment, Topic};
use crate::store::error::StoreError;
use crate::store::{Store, keys};

/// Blocks from the one that holds `from` on, in order, until they weigh `enough`, a segment ends or the log does.
/// Empty only at the end of the partition, or where retention has dropped what was asked for.
pub(crate) fn blocks(
    store: &Store,
    topic: &Topic,
    partition: u32,
    from: Offset,
    enough: usize,
) -> Result<Vec<Block>, StoreError> {
    let mut blocks = Vec::new();
    // Usually one: the next ones matter where a segment holds nothing of this partition at or behind `from`.
    for segment in segments_from(topic, partition, from) {
        let mut weight = 0;
        let mut next = from.max(segment.start(partition));
        for (end, bytes) in stored(store, topic, segment, partition, next) {
            let bytes = bytes?;
            weight += bytes.len();
            let what = || format!("topic {} partition {partition} at offset {next}", topic.name);
            let block = Block::parse(bytes).map_err(|source| StoreError::damaged(what(), source))?;
            let holds = block.end() == end.next() && (block.base()..block.end()).contains(&next);
            if !holds || (!blocks.is_empty() && block.base() != next) {
                return Err(StoreError::damaged(what(), super::block::BlockError::Place));
            }
            next = block.end();
            blocks.push(block);
            if weight >= enough {
                break;
            }
        }
        if !blocks.is_empty() {
            break;
        }
    }
    Ok(blocks)
}

/// A step of looking for a time.
pub(crate) enum Sought {
    /// Here is the first record at or behind it, or the end of the log.
    At(Offset),
    /// Not before this offset.
    Behind(Offset),
}

/// Looks for the first record at or behind a time among the next megabyte from `from` on.
pub(crate) fn seek(
    store: &Store,
    topic: &Topic,
    partition: u32,
    from: Offset,
    timestamp: i64,
) -> Result<Sought, StoreError> {
    let end = topic.end(partition);
    let mut next = from;
    for block in blocks(store, topic, partition, from, 1 << 20)? {
        if block.newest() >= timestamp {
            return first_at(&block, next, timestamp).map(Sought::At);
        }
        next = block.end();
    }
    Ok(if next > from && next < end { Sought::Behind(next) } else { Sought::At(end) })
}

fn first_at(block: &Block, from: Offset, timestamp: i64) -> Result<Offset, StoreError> {
    let mut found = None;
    let walked = block.records(keyweir_core::ShardIndex(0), from, |record| {
        if record.timestamp >= timestamp && found.is_none() {
            found = Some(record.offset);
        }
    });
    walked.map_err(|source| StoreError::damaged("a block", source))?;
    Ok(found.unwrap_or(block.end()))
}

/// The segment that holds an offset and those behind it.
fn segments_from(topic: &Topic, partition: u32, from: Offset) -> &[Segment] {
    let behind = topic.segments.partition_point(|segment| segment.start(partition) <= from);
    &topic.segments[behind.saturating_sub(1)..]
}

/// Last offset and bytes of a segment's blocks of one partition.
fn stored<'a>(
    store: &'a Store,
    topic: &'a Topic,
    segment: &Segment,
    partition: u32,
    from: Offset,
) -> impl Iterator<Item = (Offset, Result<bytes::Bytes, StoreError>)> + 'a {
    // What lies behind the end is not told to anybody yet.
    let end = topic.end(partition);
    let range = keys::block(partition, from)..keys::block(partition, end.max(from));
    segment.keyspace.range(range).map(move |block| match block.into_inner() {
        Ok((key, value)) => (keys::last_of_block(&key).unwrap_or_default(), Ok(value.into())),
        Err(source) => (from, Err(store.error("read", source))),
    })
}
