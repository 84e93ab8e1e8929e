//! Checkpoints, parked records and written records in memory.

use std::collections::{BTreeMap, HashMap};
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::ShardId;
use keyweir_core::checkpoint::Checkpoint;

use super::lock;
use super::log::MemoryLog;
use crate::ports::{
    CheckpointError, CheckpointStore, ParkedError, ParkedId, ParkedRecord, ParkedStore, ProduceError,
    Producer,
};
use crate::record::NewRecord;

/// Checkpoints in memory. Cheap to clone; all clones are one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryCheckpoints {
    state: Arc<Mutex<CheckpointState>>,
}

#[derive(Debug, Default)]
struct CheckpointState {
    stored: HashMap<ShardId, Checkpoint>,
    fail: bool,
    saves: u64,
}

impl MemoryCheckpoints {
    /// Makes saves fail, or work again.
    pub fn set_failing(&self, fail: bool) {
        lock(&self.state).fail = fail;
    }

    /// What is stored of a shard.
    pub fn stored(&self, shard: &ShardId) -> Option<Checkpoint> {
        lock(&self.state).stored.get(shard).cloned()
    }

    /// How many saves there were.
    pub fn saves(&self) -> u64 {
        lock(&self.state).saves
    }
}

impl CheckpointStore for MemoryCheckpoints {
    fn load<'a>(
        &'a self,
        shards: &'a [ShardId],
    ) -> BoxFuture<'a, Result<Vec<Option<Checkpoint>>, CheckpointError>> {
        async move { Ok(shards.iter().map(|shard| self.stored(shard)).collect()) }.boxed()
    }

    fn save(&self, checkpoints: Vec<(ShardId, Checkpoint)>) -> BoxFuture<'_, Result<(), CheckpointError>> {
        async move {
            let mut state = lock(&self.state);
            if state.fail {
                let source = Box::new(Error::from(ErrorKind::StorageFull));
                return Err(CheckpointError::Unreachable { act: "save", source });
            }
            for (shard, checkpoint) in &checkpoints {
                if state.stored.get(shard).is_some_and(|stored| stored.fence > checkpoint.fence) {
                    return Err(CheckpointError::Fenced { shard: shard.clone() });
                }
            }
            state.saves += 1;
            state.stored.extend(checkpoints);
            Ok(())
        }
        .boxed()
    }
}

/// Writes to a [`MemoryLog`], all to partition 0 unless told otherwise.
#[derive(Clone, Debug, Default)]
pub struct MemoryProducer {
    log: MemoryLog,
    fail: Arc<Mutex<bool>>,
    latency: Arc<Mutex<Duration>>,
}

impl MemoryProducer {
    /// Writes to that log.
    pub fn new(log: MemoryLog) -> Self {
        Self { log, fail: Arc::default(), latency: Arc::default() }
    }

    /// Makes writes fail, or work again.
    pub fn set_failing(&self, fail: bool) {
        *lock(&self.fail) = fail;
    }

    /// How long a write takes that begins from now on.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.latency) = latency;
    }
}

impl Producer for MemoryProducer {
    fn produce<'a>(&'a self, topic: &'a str, record: NewRecord) -> BoxFuture<'a, Result<(), ProduceError>> {
        async move {
            let latency = *lock(&self.latency);
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            if *lock(&self.fail) {
                let source = Box::new(Error::from(ErrorKind::TimedOut));
                return Err(ProduceError::Unreachable { topic: topic.to_owned(), source });
            }
            self.log.append(topic, record.partition.unwrap_or(0), record);
            Ok(())
        }
        .boxed()
    }
}

/// Parked records in memory. Cheap to clone; all clones are one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryParked {
    state: Arc<Mutex<BTreeMap<ParkedId, ParkedRecord>>>,
}

impl ParkedStore for MemoryParked {
    fn park(&self, record: ParkedRecord) -> BoxFuture<'_, Result<(), ParkedError>> {
        async move {
            lock(&self.state).insert(record.id.clone(), record);
            Ok(())
        }
        .boxed()
    }

    fn list(
        &self,
        after: Option<ParkedId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ParkedRecord>, ParkedError>> {
        async move {
            let state = lock(&self.state);
            let behind =
                state.values().filter(|record| after.as_ref().is_none_or(|after| record.id > *after));
            Ok(behind.take(limit).cloned().collect())
        }
        .boxed()
    }

    fn get<'a>(&'a self, id: &'a ParkedId) -> BoxFuture<'a, Result<Option<ParkedRecord>, ParkedError>> {
        async move { Ok(lock(&self.state).get(id).cloned()) }.boxed()
    }

    fn remove<'a>(&'a self, id: &'a ParkedId) -> BoxFuture<'a, Result<bool, ParkedError>> {
        async move { Ok(lock(&self.state).remove(id).is_some()) }.boxed()
    }

    fn count(&self) -> BoxFuture<'_, Result<u64, ParkedError>> {
        async move { Ok(lock(&self.state).len() as u64) }.boxed()
    }
}
