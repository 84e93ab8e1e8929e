//! Positions: opened, closed, paused, outside of the log.

use std::time::Duration;

use keyweir_core::ShardIndex;
use keyweir_e2e::kafka::{Kafka, Record};
use keyweir_e2e::parts;
use keyweir_engine::ports::Reader;

use super::reading::Reading;

const A_WHILE: Duration = Duration::from_millis(700);

fn filled(partitions: i32, each: usize) -> (Kafka, String) {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("ranges", partitions).unwrap();
    let records = (0..partitions).flat_map(|partition| {
        (0..each).map(move |n| Record::new("key", &format!("{partition}:{n}")).on(partition))
    });
    kafka.produce(&topic, &records.collect::<Vec<_>>()).unwrap();
    (kafka, topic)
}

#[tokio::test]
async fn a_shard_begins_where_it_is_opened_and_ends_when_it_is_closed() {
    let (kafka, topic) = filled(2, 100);
    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 40);
    reading.open(&topic, 1, 0);
    reading.until_records(160).await;
    assert_eq!(reading.offsets(0), (40..100).collect::<Vec<_>>());
    assert_eq!(reading.offsets(1), (0..100).collect::<Vec<_>>());

    reading.reader.close(ShardIndex(0));
    kafka.produce(&topic, &[Record::new("k", "late").on(0), Record::new("k", "on").on(1)]).unwrap();
    reading.until_records(161).await;
    reading.for_a_while(A_WHILE).await;
    assert_eq!(reading.values().last().unwrap(), "on");
}

#[tokio::test]
async fn a_handle_given_to_another_shard_shows_nothing_of_the_old_one() {
    let (kafka, topic) = filled(8, 3_000);
    for round in 0..20 {
        let mut reading = Reading::at(kafka.bootstrap());
        reading.open(&topic, 0, 0);
        // Batches of partition 0 are on their way at some of these moments.
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        reading.reader.close(ShardIndex(0));
        let other = keyweir_core::ShardId::new(topic.as_str(), 5);
        reading.reader.open(ShardIndex(0), &other, keyweir_core::Offset(1_000));
        reading.until("the other shard", |read| read.position(0) >= 3_000).await;
        assert_eq!(reading.offsets(0), (1_000..3_000).collect::<Vec<_>>());
        assert!(reading.values().iter().all(|value| value.starts_with("5:")));
    }
}

#[tokio::test]
async fn the_same_shard_opened_again_reads_again_from_there() {
    let (kafka, topic) = filled(1, 500);
    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 0);
    reading.until_records(500).await;
    reading.reader.close(ShardIndex(0));
    reading.open(&topic, 0, 100);
    reading.until_records(900).await;
    assert_eq!(reading.offsets(0)[500..], (100..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_paused_shard_stops_alone_and_loses_nothing() {
    let (kafka, topic) = filled(2, 1_000);
    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 0);
    reading.open(&topic, 1, 0);
    reading.until_records(2_000).await;
    reading.reader.pause(ShardIndex(0));
    reading.reader.pause(ShardIndex(0));
    let more: Vec<Record> = (0..200).map(|n| Record::new("key", &n.to_string()).on(n % 2)).collect();
    kafka.produce(&topic, &more).unwrap();
    reading.until_records(2_100).await;
    reading.for_a_while(A_WHILE).await;
    assert_eq!((reading.offsets(0).len(), reading.offsets(1).len()), (1_000, 1_100));
    reading.reader.resume(ShardIndex(0));
    reading.until_records(2_200).await;
    for shard in [0, 1] {
        assert_eq!(reading.offsets(shard), (0..1_100).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn pausing_at_any_moment_neither_loses_nor_repeats() {
    let (kafka, topic) = filled(2, 50_000);
    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 0);
    reading.open(&topic, 1, 0);
    for step in 1..=15 {
        let shard = ShardIndex(step % 2);
        reading.reader.pause(shard);
        reading.for_a_while(Duration::from_millis(u64::from(step))).await;
        reading.reader.resume(shard);
        reading.for_a_while(Duration::from_millis(5)).await;
    }
    reading.until_records(100_000).await;
    for shard in [0, 1] {
        assert!(reading.offsets(shard).into_iter().eq(0..50_000));
    }
}

#[tokio::test]
async fn records_that_retention_took_are_reported_and_passed() {
    let (kafka, topic) = filled(1, 100);
    kafka.delete_records(&topic, 0, 60).unwrap();
    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 10);
    reading.until_records(40).await;
    reading.until_said(Some(0), "recovered").await;
    assert_eq!(reading.offsets(0), (60..100).collect::<Vec<_>>());
    let said: Vec<_> = reading.said.iter().map(|(shard, word)| (*shard, word.as_str())).collect();
    assert_eq!(said, [(Some(0), "OffsetOutOfRange"), (Some(0), "recovered")]);
}

#[tokio::test]
async fn an_emptied_log_is_reported_and_passed_too() {
    let (kafka, topic) = filled(1, 100);
    kafka.delete_records(&topic, 0, 100).unwrap();
    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 10);
    reading.until_position(0, 100).await;
    reading.until_said(Some(0), "recovered").await;
    kafka.produce(&topic, &[Record::new("k", "next")]).unwrap();
    reading.until_records(1).await;
}

#[tokio::test]
async fn a_position_beyond_the_end_is_held_and_reported_until_it_is_opened_anew() {
    let (kafka, topic) = filled(2, 100);
    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 5_000);
    reading.open(&topic, 1, 0);
    reading.until_said(Some(0), "OffsetOutOfRange").await;
    reading.until("the other shard", |read| read.offsets(1).len() == 100).await;
    reading.for_a_while(A_WHILE).await;
    assert_eq!(reading.offsets(0), Vec::<i64>::new());
    assert_eq!(reading.said.len(), 1, "{:?}", reading.said);
    reading.reader.close(ShardIndex(0));
    reading.open(&topic, 0, 90);
    reading.until_records(110).await;
}
