//! A topic as it stands: its name, its identity, its segments, and how far each partition reaches.
//!
//! ```text
//! segment 4 (keyspace)      segment 5             segment 6 = the open one
//! starts [0, 0, 0]          starts [90, 70, 81]   starts [190, 185, 170]
//!        ^ first offset of each partition                       … end of each partition: counted on
//! ```
//!
//! A [`Topic`] never changes but for the ends of its partitions; a new segment makes a new one. Up: [`super`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use keyweir_core::Offset;
use keyweir_engine::ports::Bounds;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a topic is created with. Its retention may be set anew later, its partitions only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicOptions {
    /// How many partitions it has.
    pub partitions: u32,
    /// How old records may get before they are dropped, by the time at which they were appended.
    pub retention_age: Duration,
    /// How many bytes are kept before the oldest records are dropped.
    pub retention_bytes: u64,
}

impl Default for TopicOptions {
    fn default() -> Self {
        let week = Duration::from_secs(7 * 24 * 60 * 60);
        Self { partitions: 8, retention_age: week, retention_bytes: 10 << 30 }
    }
}

impl TopicOptions {
    /// The most partitions a topic may have: each costs memory and a look-up at opening.
    pub const MAX_PARTITIONS: u32 = 4_096;

    /// At how many bytes a segment is closed: retention drops whole segments, so a topic may be larger by one.
    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.retention_bytes / 16).clamp(64 << 10, 512 << 20)
    }

    /// At what age a segment is closed.
    pub(crate) fn segment_age(&self) -> Duration {
        self.retention_age / 8
    }
}

/// Why a name is none for a topic. The rules are Kafka's, so that a topic can move there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to use {0:?} as a topic: want 1 to 249 letters, digits, dots, dashes and underscores, not `.` or `..`"
)]
pub struct TopicNameError(String);

/// Checks a topic's name.
pub(crate) fn check_name(name: &str) -> Result<(), TopicNameError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good = (1..=249).contains(&name.len()) && name.bytes().all(plain) && name != "." && name != "..";
    if good { Ok(()) } else { Err(TopicNameError(name.chars().take(80).collect())) }
}

/// A topic's row in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TopicRow {
    /// What its keys begin with; never given twice.
    pub(crate) number: u32,
    /// Its identity: a topic made anew under the same name has another one.
    pub(crate) id: Uuid,
    #[serde(flatten)]
    pub(crate) options: TopicOptions,
}

/// A segment's row in the catalogue, written when the segment is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SegmentRow {
    /// The first offset of each partition; partitions that came later begin at 0.
    pub(crate) starts: Vec<Offset>,
    /// When it was made, in milliseconds since the epoch.
    pub(crate) opened_at: i64,
}

/// How much a segment holds: a row written with each append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    /// Bytes of its blocks.
    pub(crate) bytes: u64,
    /// When the last one was appended, in milliseconds since the epoch.
    pub(crate) last_append: i64,
}

impl Fill {
    pub(crate) fn encode(self) -> [u8; 16] {
        let mut row = [0; 16];
        row[..8].copy_from_slice(&self.bytes.to_le_bytes());
        row[8..].copy_from_slice(&self.last_append.to_le_bytes());
        row
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let (bytes, last_append) = row.split_first_chunk::<8>()?;
        let last_append = i64::from_le_bytes(last_append.try_into().ok()?);
        Some(Self { bytes: u64::from_le_bytes(*bytes), last_append })
    }
}

/// A part of a topic, in append order, that is dropped as a whole.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) keyspace: fjall::Keyspace,
    pub(crate) row: Arc<SegmentRow>,
}

impl Segment {
    /// The first offset of a partition in it.
    pub(crate) fn start(&self, partition: u32) -> Offset {
        self.row.starts.get(partition as usize).copied().unwrap_or_default()
    }
}

/// A topic as it stands.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) row: TopicRow,
    /// Oldest first; the last one is written to. Empty only while the first is being made.
    pub(crate) segments: Vec<Segment>,
    /// One behind the last durable record of each partition. Only the writer stores, after the commit.
    ends: Vec<Arc<AtomicI64>>,
    /// Where the next record without a key goes. Its own line of thought: it orders nothing.
    pub(crate) turn: Arc<AtomicU32>,
}

impl Topic {
    pub(crate) fn new(name: &str, row: TopicRow, segments: Vec<Segment>, ends: &[Offset]) -> Self {
        let ends = ends.iter().map(|end| Arc::new(AtomicI64::new(end.0))).collect();
        Self { name: name.into(), row, segments, ends, turn: Arc::default() }
    }

    /// The same topic with other segments or another row; ends of new partitions are 0.
    pub(crate) fn changed(&self, row: TopicRow, segments: Vec<Segment>) -> Self {
        let mut ends = self.ends.clone();
        ends.resize_with(row.options.partitions as usize, Arc::default);
        Self { name: self.name.clone(), row, segments, ends, turn: self.turn.clone() }
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.ends.len() as u32
    }

    /// One behind the last durable record; 0 for a partition that is not there.
    pub(crate) fn end(&self, partition: u32) -> Offset {
        Offset(self.ends.get(partition as usize).map_or(0, |end| end.load(Ordering::Acquire)))
    }

    /// Tells readers of new durable records.
    pub(crate) fn set_end(&self, partition: u32, end: Offset) {
        if let Some(known) = self.ends.get(partition as usize) {
            known.store(end.0, Ordering::Release);
        }
    }

    pub(crate) fn bounds(&self, partition: u32) -> Bounds {
        let first = self.segments.first().map_or(Offset::ZERO, |segment| segment.start(partition));
        Bounds { first, end: self.end(partition) }
    }
}

/// What can be read now: replaced as a whole whenever topics or segments change.
#[derive(Clone, Default)]
pub(crate) struct View {
    /// By name.
    pub(crate) topics: BTreeMap<Arc<str>, Arc<Topic>>,
    /// What the cold stores read from; `None` while the store is closed or being opened anew.
    pub(crate) store: Option<Arc<crate::store::Store>>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("topics", &self.topics.keys()).field("store", &self.store).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_kafka() {
        for good in ["orders", "Orders.v1_dead-letter", &"x".repeat(249)] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", ".", "..", "a/b", "a b", "é", &"x".repeat(250)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_segment_is_a_small_part_of_what_is_kept() {
        let options = TopicOptions::default();
        assert_eq!(options.segment_bytes(), 512 << 20);
        assert_eq!(TopicOptions { retention_bytes: 16 << 20, ..options }.segment_bytes(), 1 << 20);
        assert_eq!(TopicOptions { retention_bytes: 1, ..options }.segment_bytes(), 64 << 10);
    }

    #[test]
    fn the_fill_of_a_segment_is_read_as_it_was_written() {
        let fill = Fill { bytes: 77, last_append: -5 };
        assert_eq!(Fill::decode(&fill.encode()), Some(fill));
        assert_eq!(Fill::decode(&[0; 15]), None);
    }
}
