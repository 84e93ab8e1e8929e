//! Offsets have gaps: transaction markers, aborted records, compacted ones. The position passes them.

use std::time::Duration;

use keyweir_e2e::kafka::Record;
use keyweir_e2e::{parts, wait};

use super::reading::{Reading, SOON};

fn records(count: usize) -> Vec<Record> {
    (0..count).map(|n| Record::new(&format!("k{n}"), &n.to_string())).collect()
}

#[tokio::test]
async fn the_position_passes_markers_and_aborted_records() {
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("gaps", 1).unwrap();
    kafka.produce(&topic, &records(3)).unwrap();
    kafka.produce_transaction(&topic, &records(2), true).unwrap();
    kafka.produce_transaction(&topic, &records(4), false).unwrap();
    let end = kafka.ends(&topic).unwrap()[0].1;
    assert_eq!(end, 3 + 3 + 5);

    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 0);
    reading.until_position(0, end).await;
    assert_eq!(reading.offsets(0), [0, 1, 2, 3, 4]);

    kafka.produce(&topic, &records(1)).unwrap();
    reading.until_position(0, end + 1).await;
    assert_eq!(reading.offsets(0), [0, 1, 2, 3, 4, end]);
    kafka.produce_transaction(&topic, &records(1), false).unwrap();
    reading.until_position(0, end + 3).await;
}

#[tokio::test]
async fn an_open_transaction_is_not_seen_before_it_is_committed() {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("gaps", 1).unwrap();
    let producer: BaseProducer =
        kafka.config().set("transactional.id", keyweir_e2e::kafka::unique("open")).create().unwrap();
    producer.init_transactions(SOON).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<str, str>::to(&topic).payload("hidden")).unwrap();
    producer.flush(SOON).unwrap();
    kafka.produce(&topic, &records(1)).unwrap();

    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 0);
    reading.for_a_while(Duration::from_secs(1)).await;
    assert_eq!((reading.records.len(), reading.position(0)), (0, 0));
    producer.commit_transaction(SOON).unwrap();
    reading.until_position(0, 3).await;
    assert_eq!(reading.values(), ["hidden", "0"]);
}

#[tokio::test]
async fn the_position_passes_compacted_records() {
    let kafka = parts::kafka().unwrap();
    let topic = keyweir_e2e::kafka::unique("gaps");
    let compact = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("min.compaction.lag.ms", "0"),
    ];
    kafka.create_topic(&topic, 1, &compact).unwrap();
    let same_key = |n: usize| Record::new("same", &n.to_string());
    kafka.produce(&topic, &(0..50).map(same_key).collect::<Vec<_>>()).unwrap();
    let cleaned = || {
        // The last segment is never compacted: a later record makes the earlier ones eligible.
        std::thread::sleep(Duration::from_millis(150));
        kafka.produce(&topic, &[Record::new("other", "last")]).unwrap();
        kafka.read_all(&topic, SOON).unwrap().iter().filter(|read| read.key == Some(b"same".to_vec())).count()
            == 1
    };
    wait::until("compaction", SOON, cleaned).unwrap();
    let end = kafka.ends(&topic).unwrap()[0].1;
    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 0);
    reading.until_position(0, end).await;
    let offsets = reading.offsets(0);
    assert_eq!(offsets[0], 49, "the latest value of the key is the first record that is left");
    assert!(offsets.is_sorted_by(|a, b| a < b));
}
