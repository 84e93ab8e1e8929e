//! What a cluster says of its topics: partitions, first and end offsets, and who it is.
//!
//! Plain blocking calls on a client, made through [`crate::cold`]. Up: [`crate::source`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyweir_core::{Offset, ShardId};
use keyweir_engine::ports::Bounds;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use crate::cold::ColdClient;
use crate::config::CALL_TIMEOUT;

/// How long a new leader is waited for before the next question.
const REFRESH: Duration = Duration::from_millis(100);

/// The partitions of a topic, ascending. A missing topic is an error.
pub(crate) fn partitions(client: &ColdClient, topic: &str) -> KafkaResult<Vec<ShardId>> {
    let metadata = client.fetch_metadata(Some(topic), CALL_TIMEOUT)?;
    let missing = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    let topic = metadata.topics().first().ok_or(missing.clone())?;
    if let Some(error) = topic.error() {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    let name: Arc<str> = topic.name().into();
    let mut found: Vec<ShardId> = topic
        .partitions()
        .iter()
        .filter_map(|partition| u32::try_from(partition.id()).ok())
        .map(|index| ShardId::new(Arc::clone(&name), index))
        .collect();
    found.sort();
    if found.is_empty() { Err(missing) } else { Ok(found) }
}

/// How a topic lies on its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Brokers of the cluster.
    pub(crate) brokers: u32,
    /// Partitions of the topic; 0 = there is no such topic.
    pub(crate) partitions: u32,
    /// Copies of the partition that has the fewest.
    pub(crate) copies: u32,
}

/// How a topic lies. A missing one is no error.
pub(crate) fn layout(client: &ColdClient, topic: &str) -> KafkaResult<Layout> {
    let metadata = client.fetch_metadata(Some(topic), CALL_TIMEOUT)?;
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let brokers = count(metadata.brokers().len());
    let found = metadata.topics().first();
    match found.and_then(|found| found.error()).map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
            return Ok(Layout { brokers, partitions: 0, copies: 0 });
        }
        Some(code) => return Err(KafkaError::MetadataFetch(code)),
    }
    let partitions = found.map_or(&[][..], |found| found.partitions());
    let copies = partitions.iter().map(|partition| partition.replicas().len()).min();
    Ok(Layout { brokers, partitions: count(partitions.len()), copies: count(copies.unwrap_or(0)) })
}

/// First and end offset of each shard, in their order; the end is the last stable offset.
pub(crate) fn bounds(client: &ColdClient, shards: &[ShardId]) -> KafkaResult<Vec<Bounds>> {
    let first = lookup(client, shards, KafkaOffset::Beginning)?;
    let end = lookup(client, shards, KafkaOffset::End)?;
    Ok(first.into_iter().zip(end).map(|(first, end)| Bounds { first, end: end.max(first) }).collect())
}

/// The first record written at or after a time; the end where there is none.
pub(crate) fn at_time(client: &ColdClient, shard: &ShardId, millis: i64) -> KafkaResult<Offset> {
    let shards = std::slice::from_ref(shard);
    let found = ask(client, shards, KafkaOffset::Offset(millis))?;
    match found.find_partition(&shard.stream, partition(shard)).map(|found| found.offset()) {
        Some(KafkaOffset::Offset(offset)) => Ok(Offset(offset)),
        _ => lookup(client, shards, KafkaOffset::End)?.first().copied().ok_or(missing()),
    }
}

/// The first or the end offset of each shard.
pub(crate) fn lookup(client: &ColdClient, shards: &[ShardId], at: KafkaOffset) -> KafkaResult<Vec<Offset>> {
    let found = ask(client, shards, at)?;
    shards
        .iter()
        .map(|shard| {
            let found = found.find_partition(&shard.stream, partition(shard)).ok_or(missing())?;
            found.error()?;
            match found.offset() {
                KafkaOffset::Offset(offset) => Ok(Offset(offset)),
                _ => Err(missing()),
            }
        })
        .collect()
}

/// One request for each broker, whatever the number of partitions: the library passes on the numbers that stand
/// for the first and the end offset as it passes on a time.
fn ask(client: &ColdClient, shards: &[ShardId], at: KafkaOffset) -> KafkaResult<TopicPartitionList> {
    let deadline = Instant::now() + CALL_TIMEOUT;
    loop {
        let mut list = TopicPartitionList::with_capacity(shards.len());
        for shard in shards {
            list.add_partition_offset(&shard.stream, partition(shard), at)?;
        }
        match client.offsets_for_times(list, CALL_TIMEOUT) {
            Err(error) if is_stale(&error) && Instant::now() < deadline => refresh(client, shards)?,
            done => return done,
        }
    }
}

/// The client asked a leader that is one no more, or in the name of a past one.
fn is_stale(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::FencedLeaderEpoch
                | RDKafkaErrorCode::UnknownLeaderEpoch
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
        )
    )
}

fn refresh(client: &ColdClient, shards: &[ShardId]) -> KafkaResult<()> {
    std::thread::sleep(REFRESH);
    for (index, shard) in shards.iter().enumerate() {
        if index == 0 || shards[index - 1].stream != shard.stream {
            client.fetch_metadata(Some(&shard.stream), CALL_TIMEOUT)?;
        }
    }
    Ok(())
}

/// A shard's number as the library wants it.
pub(crate) fn partition(shard: &ShardId) -> i32 {
    i32::try_from(shard.index).unwrap_or(-1)
}

fn missing() -> KafkaError {
    KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownTopicOrPartition)
}
