//! The fakes keep the promises that real adapters are held to.

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::{Offset, ShardId};
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{Bounds, Identity, Mirror, MirrorState, Source, SourceError, StartAt};
use keyweir_engine::testing::conformance::{self, LogUnderTest};
use keyweir_engine::testing::fakes::{MemoryCheckpoints, MemoryLog, MemoryParked, MemoryReader};

#[tokio::test]
async fn checkpoints_in_memory_keep_their_promises() {
    let store = MemoryCheckpoints::default();
    conformance::checkpoint_store("a/b", async || store.clone()).await;
}

#[tokio::test]
async fn parked_records_in_memory_keep_their_promises() {
    let store = MemoryParked::default();
    conformance::parked_store("a/b", async || store.clone()).await;
}

#[tokio::test]
async fn the_log_in_memory_keeps_its_promises() {
    let log = InMemory(MemoryLog::default());
    conformance::log("t", &log).await;
    conformance::a_backlog_comes_back_in_order("t", &log).await;
    conformance::log_survives_reopening("t", async || log.clone()).await;
}

#[derive(Clone)]
struct InMemory(MemoryLog);

impl LogUnderTest for InMemory {
    type Reader = MemoryReader;
    type Source = Topics;
    type Recall = MemoryLog;

    async fn create(&self, topic: &str, partitions: u32) {
        self.0.create(topic, partitions);
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) {
        for record in records {
            self.0.append(topic, record.partition.unwrap_or(0), record);
        }
    }

    fn source(&self, topics: &[&str]) -> Topics {
        Topics(self.0.clone(), topics.iter().map(|topic| (*topic).to_owned()).collect())
    }

    fn reader(&self) -> MemoryReader {
        self.0.reader()
    }

    fn recall(&self) -> MemoryLog {
        self.0.clone()
    }
}

/// Some topics of the log: the fake itself lists all it has.
struct Topics(MemoryLog, Vec<String>);

impl Source for Topics {
    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardId>, SourceError>> {
        let asked = |shard: &ShardId| self.1.iter().any(|topic| **topic == *shard.stream);
        self.0.shards().map(move |all| all.map(|all| all.into_iter().filter(asked).collect())).boxed()
    }

    fn resolve<'a>(&'a self, shard: &'a ShardId, at: StartAt) -> BoxFuture<'a, Result<Offset, SourceError>> {
        self.0.resolve(shard, at)
    }

    fn bounds<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<Bounds>, SourceError>> {
        self.0.bounds(shards)
    }

    fn mirrored<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<MirrorState>, SourceError>> {
        self.0.mirrored(shards)
    }

    fn mirror(&self, mirrors: Vec<Mirror>) -> BoxFuture<'_, Result<(), SourceError>> {
        self.0.mirror(mirrors)
    }

    fn identity<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Identity, SourceError>> {
        self.0.identity(stream)
    }
}
