//! Reads topics and segments back from the store's rows, and checks them.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyweir_core::Offset;
use serde::de::DeserializeOwned;

use super::topic::{Fill, Segment, SegmentRow, Topic, TopicRow};
use crate::store::error::StoreError;
use crate::store::{Store, keys};

/// All topics by name, with the ends of their partitions found in their open segments.
pub(crate) fn load(store: &Store) -> Result<BTreeMap<Arc<str>, Arc<Topic>>, StoreError> {
    let mut topics = BTreeMap::new();
    let mut known = Vec::new();
    for (key, row) in store.rows_of(&store.catalogue, keys::TOPIC)? {
        let name = String::from_utf8_lossy(&key[keys::TOPIC.len()..]).into_owned();
        let row: TopicRow = parse(&format!("the row of topic {name}"), &row)?;
        let segments = segments(store, &name, row.number)?;
        known.extend(segments.iter().map(|segment| (row.number, segment.number)));
        let ends = ends(store, &row, segments.last())?;
        let topic = Topic::new(&name, row, segments, &ends);
        topics.insert(topic.name.clone(), Arc::new(topic));
    }
    store.drop_segments_except(&known)?;
    Ok(topics)
}

fn segments(store: &Store, name: &str, topic: u32) -> Result<Vec<Segment>, StoreError> {
    let prefix = keys::segments(topic);
    let mut segments = Vec::new();
    for (key, row) in store.rows_of(&store.catalogue, &prefix)? {
        let what = format!("a segment's row of topic {name}");
        let number = key[prefix.len()..].try_into().map(u64::from_be_bytes);
        let number = number.map_err(|source| StoreError::damaged(&what, source))?;
        let row: SegmentRow = parse(&what, &row)?;
        segments.push(Segment { number, keyspace: store.segment(topic, number)?, row: Arc::new(row) });
    }
    Ok(segments)
}

/// The last block of each partition tells its end; where the open segment has none, its start is the end.
fn ends(store: &Store, row: &TopicRow, open: Option<&Segment>) -> Result<Vec<Offset>, StoreError> {
    let Some(open) = open else { return Ok(vec![Offset::ZERO; row.options.partitions as usize]) };
    let end = |partition| {
        let range = keys::block(partition, Offset::ZERO)..=keys::block(partition, Offset(-1));
        match open.keyspace.range(range).next_back() {
            None => Ok(open.start(partition)),
            Some(block) => {
                let key = block.key().map_err(|source| store.error("read", source))?;
                Ok(keys::last_of_block(&key).map_or(open.start(partition), Offset::next))
            }
        }
    };
    (0..row.options.partitions).map(end).collect()
}

/// How much a segment holds.
pub(crate) fn fill(store: &Store, topic: u32, segment: u64) -> Result<Fill, StoreError> {
    let row = store.row(&store.catalogue, &keys::fill(topic, segment))?;
    Ok(row.and_then(|row| Fill::decode(&row)).unwrap_or_default())
}

/// The number for the next topic that is made.
pub(crate) fn next_topic(store: &Store) -> Result<u32, StoreError> {
    match store.row(&store.catalogue, keys::NEXT_TOPIC)? {
        Some(row) => parse("the count of topics", &row),
        None => Ok(0),
    }
}

fn parse<T: DeserializeOwned>(what: &str, row: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(row).map_err(|source| StoreError::damaged(what, source))
}
