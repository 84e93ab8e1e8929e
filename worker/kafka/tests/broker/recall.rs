//! Records that are wanted again, where the log has dropped some of them meanwhile.

use std::sync::Arc;

use keyweir_core::{Offset, ShardId, ShardIndex};
use keyweir_e2e::kafka::{Kafka, Record, unique};
use keyweir_e2e::{parts, wait};
use keyweir_engine::ports::{Recall, Recalled, Source, SourceError, Wanted};
use keyweir_kafka::KafkaRecall;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::reading::{SOON, connection, eventually, source};

async fn ask(kafka: &Kafka, topic: &str, offsets: &[i64]) -> Result<Recalled, SourceError> {
    let recall = KafkaRecall::new(connection(kafka.bootstrap()));
    recall.recall(wanted(topic, None, offsets)).await
}

fn wanted(topic: &str, log: Option<String>, offsets: &[i64]) -> Wanted {
    Wanted {
        shard: ShardIndex(3),
        id: Arc::new(ShardId::new(topic, 0)),
        log,
        offsets: offsets.iter().copied().map(Offset).collect(),
        bytes: 1 << 20,
    }
}

fn offsets(found: &Recalled) -> Vec<i64> {
    found.records.iter().map(|record| record.offset.0).collect()
}

#[tokio::test]
async fn deleted_records_are_passed_and_a_log_that_ends_before_is_an_error() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("recall", 1).unwrap();
    let records: Vec<Record> = (0..100).map(|n| Record::new("k", &n.to_string())).collect();
    kafka.produce(&topic, &records).unwrap();
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(&topic, 0, KafkaOffset::Offset(40)).unwrap();
    let admin: AdminClient<DefaultClientContext> = kafka.config().create().unwrap();
    admin.delete_records(&below, &AdminOptions::new()).await.unwrap();

    let found = ask(&kafka, &topic, &[5, 39, 40, 70]).await.unwrap();
    assert_eq!((offsets(&found), found.up_to), (vec![40, 70], Offset(71)));
    let gone = ask(&kafka, &topic, &[5, 6]).await.unwrap();
    assert_eq!((offsets(&gone), gone.up_to), (vec![], Offset(7)));
    let partly = ask(&kafka, &topic, &[99, 200]).await.unwrap();
    assert_eq!((offsets(&partly), partly.up_to), (vec![99], Offset(200)));
    let beyond = ask(&kafka, &topic, &[200]).await;
    assert!(matches!(beyond, Err(SourceError::OutOfRange { .. })), "{beyond:?}");
}

#[tokio::test]
async fn of_a_topic_that_was_made_anew_nothing_is_given() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("recall", 1).unwrap();
    let old: Vec<Record> = (0..50).map(|n| Record::new("k", &format!("old {n}"))).collect();
    kafka.produce(&topic, &old).unwrap();
    let source = source(kafka.bootstrap(), &topic, "recall");
    let log = source.identity(&topic).await.unwrap().stream;
    assert!(log.is_some(), "the broker has topic ids");
    // One that has read the old topic, and one that comes to the new one.
    let recall = KafkaRecall::new(connection(kafka.bootstrap()));
    let found = recall.recall(wanted(&topic, log.clone(), &[3, 9])).await.unwrap();
    assert_eq!(offsets(&found), [3, 9]);

    kafka.delete_topic(&topic).unwrap();
    wait::until("the topic made anew", SOON, || kafka.create_topic(&topic, 1, &[]).is_ok()).unwrap();
    let new: Vec<Record> = (0..100).map(|n| Record::new("k", &format!("new {n}"))).collect();
    wait::until("its records", SOON, || kafka.produce(&topic, &new).is_ok()).unwrap();
    for recall in [recall, KafkaRecall::new(connection(kafka.bootstrap()))] {
        // A client that knew the old topic may first say that it can't be read.
        let said = eventually(
            || recall.recall(wanted(&topic, log.clone(), &[3, 9])),
            |found| {
                assert!(found.is_err(), "records of the new topic: {found:?}");
                matches!(found, Err(SourceError::MadeAnew { .. }))
            },
        );
        said.await.unwrap_err();
        // Whoever knows of no id takes what is there.
        assert_eq!(offsets(&recall.recall(wanted(&topic, None, &[3, 9])).await.unwrap()), [3, 9]);
    }
}

#[tokio::test]
async fn markers_and_aborted_records_are_no_records() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("recall", 1).unwrap();
    let some = |count: usize| (0..count).map(|n| Record::new("k", &n.to_string())).collect::<Vec<_>>();
    kafka.produce_transaction(&topic, &some(2), true).unwrap();
    kafka.produce_transaction(&topic, &some(4), false).unwrap();
    kafka.produce(&topic, &some(1)).unwrap();
    // 0 and 1 are committed, 2 is their marker, 3 to 6 were aborted, 7 is their marker.
    let found = ask(&kafka, &topic, &[0, 1, 4, 8]).await.unwrap();
    assert_eq!((offsets(&found), found.up_to), (vec![0, 1, 8], Offset(9)));
}

#[tokio::test]
async fn compacted_records_are_passed() {
    let kafka = parts::kafka().unwrap();
    let topic = unique("recall");
    let compact = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("min.compaction.lag.ms", "0"),
    ];
    kafka.create_topic(&topic, 1, &compact).unwrap();
    let same: Vec<Record> = (0..50).map(|n| Record::new("same", &n.to_string())).collect();
    kafka.produce(&topic, &same).unwrap();
    let cleaned = || {
        // The last segment is never compacted: a later record makes the earlier ones eligible.
        std::thread::sleep(std::time::Duration::from_millis(150));
        kafka.produce(&topic, &[Record::new("other", "last")]).unwrap();
        kafka.read_all(&topic, SOON).unwrap().iter().filter(|read| read.key == Some(b"same".to_vec())).count()
            == 1
    };
    wait::until("compaction", SOON, cleaned).unwrap();
    let found = ask(&kafka, &topic, &[3, 20, 49]).await.unwrap();
    assert_eq!((offsets(&found), found.up_to), (vec![49], Offset(50)));
}
