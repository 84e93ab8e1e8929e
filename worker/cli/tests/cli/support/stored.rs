//! What lies in a data directory that nobody has open: checkpoints and topics.

use std::collections::HashMap;
use std::path::Path;

use keyweir_core::{Checkpoint, Offset, ShardId, ShardIndex};
use keyweir_e2e::kafka::Record;
use keyweir_embedded::{DataDir, DataDirOptions};
use keyweir_engine::ports::{CheckpointStore as _, Intake, Reader as _, Source as _};

use super::running::PATIENCE;

/// The durable checkpoints of an object, by partition of a topic.
pub(crate) fn checkpoints(
    data: &Path,
    object: &str,
    topic: &str,
    partitions: u32,
) -> HashMap<u32, Checkpoint> {
    let shards: Vec<_> = (0..partitions).map(|index| ShardId::new(topic, index)).collect();
    let found = within(async {
        let directory = open(data);
        let found = directory.checkpoints(&format!("default/{object}")).load(&shards).await;
        directory.close();
        found.expect("the checkpoints are sound")
    });
    (0..).zip(found).filter_map(|(partition, found)| Some((partition, found?))).collect()
}

/// Whether a record is complete by a checkpoint.
pub(crate) fn is_complete(checkpoint: &Checkpoint, offset: i64) -> bool {
    offset < checkpoint.frontier.0 || checkpoint.completed.contains(Offset(offset))
}

/// All records of a topic, by partition, in order.
pub(crate) fn records(data: &Path, topic: &str) -> Vec<Record> {
    within(async {
        let directory = open(data);
        let source = directory.source(vec![topic.to_owned()]);
        let shards = source.shards().await.expect("shards");
        let bounds = source.bounds(&shards).await.expect("bounds");
        let mut reader = directory.reader(64 << 20).expect("a reader");
        for (index, (shard, bounds)) in shards.iter().zip(&bounds).enumerate() {
            reader.open(ShardIndex(index as u32), shard, bounds.first);
        }
        let mut left: i64 = bounds.iter().map(|bounds| bounds.end.0 - bounds.first.0).sum();
        let mut records = Vec::new();
        while left > 0 {
            if let Intake::Batch(batch) =
                tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time")
            {
                left -= batch.records.len() as i64;
                records.extend(batch.records);
            }
        }
        drop(reader);
        directory.close();
        records.sort_by_key(|record| (record.shard, record.offset));
        records.into_iter().map(|record| as_record(&record, &shards)).collect()
    })
}

fn as_record(record: &keyweir_engine::Record, shards: &[ShardId]) -> Record {
    let text = |bytes: &[u8]| bytes.to_vec();
    let own = keyweir_engine::NewRecord::from(record);
    Record {
        partition: Some(shards[record.shard.0 as usize].index as i32),
        offset: record.offset.0,
        key: own.key.as_deref().map(text),
        value: own.value.as_deref().map(text),
        headers: own.headers.into_iter().map(|(name, value)| (name, value.as_deref().map(text))).collect(),
        timestamp: own.timestamp,
    }
}

/// A process that was just killed may still be giving its lock back.
fn open(data: &Path) -> DataDir {
    let opened = keyweir_e2e::wait::some("the data directory", PATIENCE, || {
        DataDir::open(data, DataDirOptions::default()).ok()
    });
    opened.expect("the data directory opens")
}

fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}
