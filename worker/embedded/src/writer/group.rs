//! What is written with one sync: records sorted into blocks, changed rows, and who waits for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use fjall::OwnedWriteBatch;
use keyweir_core::Offset;
use keyweir_engine::NewRecord;

use super::rows::Rows;
use super::{AppendError, Place, Reply, now};
use crate::log::block::BlockBuilder;
use crate::log::partition_of;
use crate::log::topic::{Fill, Topic};
use crate::store::{Store, keys};

/// A block is closed at this size: large enough that its cost vanishes among its records, small enough that a slow
/// record holds little memory.
const BLOCK: usize = 32 << 10;

/// The largest record. A store's block and a journal's entry hold it whole, in memory, more than once.
pub(crate) const MAX_RECORD: usize = 128 << 20;

/// What is written with one sync.
#[derive(Default)]
pub(super) struct Group {
    appends: BTreeMap<u32, TopicAppend>,
    rows: Option<Rows>,
    replies: Vec<Reply>,
    weight: usize,
}

impl Group {
    /// Adds records of a topic. All or none: what is wrong with one refuses them all.
    pub(super) fn append(
        &mut self,
        topic: &Arc<Topic>,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Place>, AppendError> {
        for record in &records {
            check(topic, record)?;
        }
        let append = self.appends.entry(topic.row.number).or_insert_with(|| TopicAppend::new(topic.clone()));
        let now = now();
        let mut places = Vec::with_capacity(records.len());
        for record in &records {
            places.push(append.push(record, now));
            self.weight += record.weight();
        }
        Ok(places)
    }

    /// The rows of this group.
    pub(super) fn rows(&mut self, store: &Arc<Store>) -> &mut Rows {
        self.rows.get_or_insert_with(|| Rows::new(store.clone()))
    }

    /// Adds a caller who waits.
    pub(super) fn reply(&mut self, reply: Reply) {
        self.replies.push(reply);
    }

    /// Whether nothing is to be written and nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.weight() == 0
    }

    /// About how many bytes it will write.
    pub(super) fn weight(&self) -> usize {
        self.weight + self.rows.as_ref().map_or(0, Rows::weight)
    }

    /// Gives up: who waits is told by the caller.
    pub(super) fn into_replies(self) -> Vec<Reply> {
        self.replies
    }

    /// The batch to commit, and what follows when it is durable.
    pub(super) fn finish(
        self,
        store: &Store,
        fills: &HashMap<(u32, u64), Fill>,
        now: i64,
    ) -> (OwnedWriteBatch, Vec<Appended>, Vec<Reply>) {
        let mut batch = store.batch();
        let appends = self.appends.into_values();
        let appended = appends.filter_map(|append| append.finish(store, &mut batch, fills, now)).collect();
        if let Some(rows) = self.rows {
            rows.finish(&mut batch);
        }
        (batch, appended, self.replies)
    }
}

fn check(topic: &Topic, record: &NewRecord) -> Result<(), AppendError> {
    if let Some(partition) = record.partition.filter(|partition| *partition >= topic.partitions()) {
        let partitions = topic.partitions();
        return Err(AppendError::Partition { topic: topic.name.to_string(), partition, partitions });
    }
    let bytes = record.weight();
    if bytes > MAX_RECORD {
        return Err(AppendError::TooLarge { topic: topic.name.to_string(), bytes, limit: MAX_RECORD });
    }
    Ok(())
}

/// Records of one topic, sorted by partition.
struct TopicAppend {
    topic: Arc<Topic>,
    /// The block of each partition that still takes records.
    open: Vec<BlockBuilder>,
    /// Blocks that are full: partition, last offset, bytes.
    full: Vec<(u32, Offset, Bytes)>,
}

impl TopicAppend {
    fn new(topic: Arc<Topic>) -> Self {
        let open = (0..topic.partitions()).map(|partition| BlockBuilder::new(topic.end(partition))).collect();
        Self { topic, open, full: Vec::new() }
    }

    fn push(&mut self, record: &NewRecord, now: i64) -> Place {
        let partitions = self.open.len() as u32;
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, partitions),
            (None, None) => self.topic.turn.fetch_add(1, Ordering::Relaxed) % partitions.max(1),
        };
        let block = &mut self.open[partition as usize];
        let offset = block.push(record, record.timestamp.unwrap_or(now));
        if block.weight() >= BLOCK {
            let next = BlockBuilder::new(block.end());
            let full = std::mem::replace(block, next);
            self.full.push((partition, offset, full.finish()));
        }
        Place { partition, offset }
    }

    fn finish(
        mut self,
        store: &Store,
        batch: &mut OwnedWriteBatch,
        fills: &HashMap<(u32, u64), Fill>,
        now: i64,
    ) -> Option<Appended> {
        let segment = self.topic.segments.last()?;
        let mut ends = Vec::new();
        for (partition, block) in (0..).zip(self.open) {
            let end = block.end();
            if end != self.topic.end(partition) {
                ends.push((partition, end));
            }
            if !block.is_empty() {
                self.full.push((partition, Offset(end.0 - 1), block.finish()));
            }
        }
        let number = self.topic.row.number;
        let mut fill = fills.get(&(number, segment.number)).copied().unwrap_or_default();
        fill.last_append = now;
        for (partition, last, bytes) in self.full {
            fill.bytes += bytes.len() as u64;
            batch.insert(&segment.keyspace, &keys::block(partition, last)[..], bytes);
        }
        let row = keys::fill(number, segment.number);
        batch.insert(&store.catalogue, row, &fill.encode()[..]);
        Some(Appended { segment: segment.number, topic: self.topic, ends, fill })
    }
}

/// What follows when a topic's records are durable.
pub(super) struct Appended {
    pub(super) topic: Arc<Topic>,
    segment: u64,
    ends: Vec<(u32, Offset)>,
    pub(super) fill: Fill,
}

impl Appended {
    /// Tells readers.
    pub(super) fn publish(&self, fills: &mut HashMap<(u32, u64), Fill>) {
        fills.insert((self.topic.row.number, self.segment), self.fill);
        for (partition, end) in &self.ends {
            self.topic.set_end(*partition, *end);
        }
    }
}
