//! Reading with the reader under test until something holds, with a deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use keyweir_contract::endpoints::KafkaEndpoint;
use keyweir_core::{Offset, ShardId, ShardIndex};
use keyweir_e2e::kafka::{Kafka, unique};
use keyweir_engine::Record;
use keyweir_engine::ports::{Intake, Reader};
use keyweir_kafka::{Connection, KafkaReader, KafkaSource, Mirroring};

/// Long enough for a busy machine; a test that holds never takes it.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A plain endpoint.
pub(crate) fn endpoint(bootstrap: &str) -> KafkaEndpoint {
    KafkaEndpoint {
        bootstrap_servers: vec![bootstrap.to_owned()],
        tls: None,
        sasl: None,
        properties: BTreeMap::new(),
    }
}

pub(crate) fn connection(bootstrap: &str) -> Connection {
    Connection::new(endpoint(bootstrap), "test")
}

pub(crate) fn source(bootstrap: &str, topic: &str, group: &str) -> KafkaSource {
    KafkaSource::new(connection(bootstrap), vec![topic.to_owned()], group, Mirroring::Mirror)
}

/// A topic whose records may be years old and are kept all the same.
pub(crate) fn old_topic(kafka: &Kafka, prefix: &str, partitions: i32) -> String {
    let name = unique(prefix);
    kafka.create_topic(&name, partitions, &[("retention.ms", "-1")]).unwrap();
    name
}

/// A reader and all it has said.
pub(crate) struct Reading {
    pub(crate) reader: KafkaReader,
    pub(crate) records: Vec<Record>,
    pub(crate) positions: BTreeMap<u32, i64>,
    /// `reason` of each trouble, `recovered` of each recovery, with its shard.
    pub(crate) said: Vec<(Option<u32>, String)>,
}

impl Reading {
    pub(crate) fn at(bootstrap: &str) -> Reading {
        Reading::with(connection(bootstrap), 16 << 20)
    }

    pub(crate) fn with(connection: Connection, read_ahead: usize) -> Reading {
        let reader = KafkaReader::new(connection, read_ahead).unwrap();
        Reading { reader, records: Vec::new(), positions: BTreeMap::new(), said: Vec::new() }
    }

    /// Opens partition `index` of a topic under the handle of the same number.
    pub(crate) fn open(&mut self, topic: &str, index: u32, from: i64) {
        self.reader.open(ShardIndex(index), &ShardId::new(topic, index), Offset(from));
    }

    /// Takes what comes until `done`; panics with `what` when it does not come soon.
    pub(crate) async fn until(&mut self, what: &str, mut done: impl FnMut(&Reading) -> bool) {
        let all = async {
            while !done(self) {
                let intake = self.reader.next().await;
                self.take(intake);
            }
        };
        let late = tokio::time::timeout(SOON, all).await.is_err();
        assert!(
            !late,
            "not seen: {what}; {} records, positions {:?}, said {:?}",
            self.records.len(),
            self.positions,
            self.said
        );
    }

    pub(crate) async fn until_records(&mut self, count: usize) {
        self.until(&format!("{count} records"), |read| read.records.len() >= count).await;
        assert_eq!(self.records.len(), count);
    }

    pub(crate) async fn until_position(&mut self, shard: u32, position: i64) {
        let seen = |read: &Reading| read.position(shard) >= position;
        self.until(&format!("position {position} of {shard}"), seen).await;
        assert_eq!(self.position(shard), position);
    }

    pub(crate) async fn until_said(&mut self, shard: Option<u32>, word: &str) {
        let seen = |read: &Reading| read.said.iter().any(|(of, said)| *of == shard && said == word);
        self.until(&format!("{word} of {shard:?}"), seen).await;
    }

    /// Takes what comes within a time.
    pub(crate) async fn for_a_while(&mut self, time: Duration) {
        let all = async {
            loop {
                let intake = self.reader.next().await;
                self.take(intake);
            }
        };
        let _: Result<(), _> = tokio::time::timeout(time, all).await;
    }

    /// Everything below is read.
    pub(crate) fn position(&self, shard: u32) -> i64 {
        let of_records = self.offsets(shard).last().map_or(0, |last| last + 1);
        of_records.max(self.positions.get(&shard).copied().unwrap_or_default())
    }

    pub(crate) fn offsets(&self, shard: u32) -> Vec<i64> {
        let of = self.records.iter().filter(|record| record.shard == ShardIndex(shard));
        of.map(|record| record.offset.0).collect()
    }

    pub(crate) fn values(&self) -> Vec<String> {
        let text = |record: &Record| String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
        self.records.iter().map(text).collect()
    }

    fn take(&mut self, intake: Intake) {
        match intake {
            Intake::Batch(batch) => {
                for (shard, position) in batch.positions {
                    self.positions.insert(shard.0, position.0);
                }
                self.records.extend(batch.records);
            }
            Intake::Trouble(shard, error) => {
                self.said.push((shard.map(|shard| shard.0), error.reason().to_owned()));
            }
            Intake::Recovered(shard) => {
                self.said.push((shard.map(|shard| shard.0), "recovered".to_owned()));
            }
            Intake::Resynced { shard, .. } => self.said.push((Some(shard.0), "resynced".to_owned())),
        }
    }
}

/// Asks until the answer is the one that a broker gives soon after a change.
pub(crate) async fn eventually<T, F: Future<Output = T>>(
    mut ask: impl FnMut() -> F,
    want: impl Fn(&T) -> bool,
) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if want(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, asking).await.unwrap()
}
