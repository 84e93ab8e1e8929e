//! Adapters chosen: one reader type over all of them.

use keyweir_core::{Offset, ShardId, ShardIndex};
use keyweir_embedded::EmbeddedReader;
use keyweir_engine::ports::{Intake, Reader};
use keyweir_kafka::KafkaReader;

/// The reader of any source.
pub(crate) enum AnyReader {
    Kafka(KafkaReader),
    Embedded(EmbeddedReader),
}

impl Reader for AnyReader {
    fn open(&mut self, shard: ShardIndex, id: &ShardId, from: Offset) {
        match self {
            Self::Kafka(reader) => reader.open(shard, id, from),
            Self::Embedded(reader) => reader.open(shard, id, from),
        }
    }

    fn close(&mut self, shard: ShardIndex) {
        match self {
            Self::Kafka(reader) => reader.close(shard),
            Self::Embedded(reader) => reader.close(shard),
        }
    }

    fn pause(&mut self, shard: ShardIndex) {
        match self {
            Self::Kafka(reader) => reader.pause(shard),
            Self::Embedded(reader) => reader.pause(shard),
        }
    }

    fn resume(&mut self, shard: ShardIndex) {
        match self {
            Self::Kafka(reader) => reader.resume(shard),
            Self::Embedded(reader) => reader.resume(shard),
        }
    }

    async fn next(&mut self) -> Intake {
        match self {
            Self::Kafka(reader) => reader.next().await,
            Self::Embedded(reader) => reader.next().await,
        }
    }
}
