//! Adapters chosen: one reader type over all of them.

use keyweir_core::{Offset, RangeSet, ShardId, ShardIndex};
use keyweir_embedded::EmbeddedReader;
use keyweir_engine::ports::{Intake, Reader};
use keyweir_etcd::source::PrefixReader;
use keyweir_kafka::KafkaReader;

/// The reader of any source.
pub(crate) enum AnyReader {
    Kafka(KafkaReader),
    Embedded(EmbeddedReader),
    Etcd(PrefixReader),
}

impl Reader for AnyReader {
    fn open(&mut self, shard: ShardIndex, id: &ShardId, from: Offset) {
        match self {
            Self::Kafka(reader) => reader.open(shard, id, from),
            Self::Embedded(reader) => reader.open(shard, id, from),
            Self::Etcd(reader) => reader.open(shard, id, from),
        }
    }

    fn close(&mut self, shard: ShardIndex) {
        match self {
            Self::Kafka(reader) => reader.close(shard),
            Self::Embedded(reader) => reader.close(shard),
            Self::Etcd(reader) => reader.close(shard),
        }
    }

    fn pause(&mut self, shard: ShardIndex) {
        match self {
            Self::Kafka(reader) => reader.pause(shard),
            Self::Embedded(reader) => reader.pause(shard),
            Self::Etcd(reader) => reader.pause(shard),
        }
    }

    fn resume(&mut self, shard: ShardIndex) {
        match self {
            Self::Kafka(reader) => reader.resume(shard),
            Self::Embedded(reader) => reader.resume(shard),
            Self::Etcd(reader) => reader.resume(shard),
        }
    }

    fn expect(&mut self, shard: ShardIndex, log: &str) {
        match self {
            Self::Kafka(reader) => reader.expect(shard, log),
            Self::Embedded(reader) => reader.expect(shard, log),
            Self::Etcd(reader) => reader.expect(shard, log),
        }
    }

    fn remind(&mut self, shard: ShardIndex, notes: &[u8]) {
        match self {
            Self::Kafka(reader) => reader.remind(shard, notes),
            Self::Embedded(reader) => reader.remind(shard, notes),
            Self::Etcd(reader) => reader.remind(shard, notes),
        }
    }

    fn notes(&mut self, shard: ShardIndex, frontier: Offset, completed: &RangeSet) -> Vec<u8> {
        match self {
            Self::Kafka(reader) => reader.notes(shard, frontier, completed),
            Self::Embedded(reader) => reader.notes(shard, frontier, completed),
            Self::Etcd(reader) => reader.notes(shard, frontier, completed),
        }
    }

    fn forget(&mut self, shard: ShardIndex) {
        match self {
            Self::Kafka(reader) => reader.forget(shard),
            Self::Embedded(reader) => reader.forget(shard),
            Self::Etcd(reader) => reader.forget(shard),
        }
    }

    async fn next(&mut self) -> Intake {
        match self {
            Self::Kafka(reader) => reader.next().await,
            Self::Embedded(reader) => reader.next().await,
            Self::Etcd(reader) => reader.next().await,
        }
    }
}
