//! The suites that hold every adapter to the ports' docs.

use keyweir_core::{Offset, ShardId, UnixMillis};
use keyweir_e2e::kafka::{Kafka, unique};
use keyweir_e2e::{parts, wait};
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{ParkedId, ParkedRecord, ParkedStore, Producer};
use keyweir_engine::testing::conformance::{self, LogUnderTest};
use keyweir_kafka::{
    GroupCheckpoints, KafkaParked, KafkaProducer, KafkaReader, KafkaRecall, KafkaSource, Mirroring,
};

use super::reading::{SOON, connection};

#[tokio::test]
async fn checkpoints_beside_offsets_keep_their_promises() {
    let kafka = parts::kafka().unwrap();
    let (topic, group) = (unique("checkpoints"), unique("group"));
    let log = Log::new(kafka.clone(), &group);
    log.create(&topic, 4).await;
    let open = async || GroupCheckpoints::new(connection(kafka.bootstrap()), &group);
    conformance::checkpoint_store(&topic, open).await;
}

#[tokio::test]
async fn parked_records_keep_their_promises() {
    let kafka = parts::kafka().unwrap();
    let group = unique("parked");
    let open = async || KafkaParked::new(connection(kafka.bootstrap()), &group).unwrap();
    conformance::parked_store("orders", open).await;
    let other = async || KafkaParked::new(connection(kafka.bootstrap()), &unique("parked")).unwrap();
    assert_eq!(other().await.count().await.unwrap(), 0, "a group without the topic has parked nothing");
}

#[tokio::test]
async fn a_topic_that_drops_what_is_old_is_refused_for_parked_records() {
    let kafka = parts::kafka().unwrap();
    let group = unique("parked");
    kafka.create_topic(&format!("{group}.parked"), 1, &[("cleanup.policy", "delete")]).unwrap();
    let store = KafkaParked::new(connection(kafka.bootstrap()), &group).unwrap();
    let parked = ParkedRecord {
        id: ParkedId { shard: ShardId::new("orders", 0), offset: Offset(1) },
        record: NewRecord::default(),
        attempts: 1,
        reason: "Exhausted".to_owned(),
        text: String::new(),
        parked_at: UnixMillis(1),
        blocks: None,
    };
    let refused = store.park(parked).await.unwrap_err();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("cleanup.policy=compact"), "{why}");
}

#[tokio::test]
async fn the_log_keeps_its_promises() {
    let log = Log::new(parts::kafka().unwrap(), &unique("group"));
    let name = unique("t");
    conformance::log(&name, &log).await;
    conformance::a_late_topic_is_read(&name, &log).await;
    conformance::a_backlog_comes_back_in_order(&name, &log).await;
}

#[tokio::test]
async fn the_log_keeps_its_promises_after_reopening() {
    let group = unique("group");
    let open = async || Log::new(parts::kafka().unwrap(), &group);
    conformance::log_survives_reopening(&unique("t"), open).await;
}

struct Log {
    kafka: Kafka,
    group: String,
    producer: KafkaProducer,
}

impl Log {
    fn new(kafka: Kafka, group: &str) -> Log {
        let producer = KafkaProducer::new(connection(kafka.bootstrap()), SOON).unwrap();
        Log { kafka, group: group.to_owned(), producer }
    }
}

impl LogUnderTest for Log {
    type Reader = KafkaReader;
    type Source = KafkaSource;
    type Recall = KafkaRecall;

    async fn create(&self, topic: &str, partitions: u32) {
        // Some records here are years old.
        self.kafka.create_topic(topic, partitions as i32, &[("retention.ms", "-1")]).unwrap();
        let is_there = || self.kafka.ends(topic).is_ok_and(|ends| ends.len() == partitions as usize);
        wait::until("the topic", SOON, is_there).unwrap();
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) {
        let writes = records.into_iter().map(|record| self.producer.produce(topic, record));
        for written in futures::future::join_all(writes).await {
            written.unwrap();
        }
    }

    fn source(&self, topics: &[&str]) -> KafkaSource {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        KafkaSource::new(connection(self.kafka.bootstrap()), topics, &self.group, Mirroring::Mirror)
    }

    fn reader(&self) -> KafkaReader {
        KafkaReader::new(connection(self.kafka.bootstrap()), 1 << 20).unwrap()
    }

    fn recall(&self) -> KafkaRecall {
        KafkaRecall::new(connection(self.kafka.bootstrap()))
    }
}
