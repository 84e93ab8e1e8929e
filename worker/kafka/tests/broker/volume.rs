//! Much of everything: one very large record, many partitions, nobody who takes what is read.

use std::time::Duration;

use keyweir_e2e::broker::{Broker, BrokerOptions};
use keyweir_e2e::kafka::Record;
use keyweir_e2e::parts;

use super::reading::{Reading, connection};

#[tokio::test]
async fn a_record_of_fifty_megabytes_is_read_through_a_budget_of_one() {
    let options = BrokerOptions::default()
        .property("message.max.bytes", "70000000")
        .property("socket.request.max.bytes", "150000000");
    let broker = Broker::start_with(options).unwrap();
    let topic = broker.unique_topic("large", 1).unwrap();
    let large = "x".repeat(50 << 20);
    let producer: rdkafka::producer::BaseProducer =
        broker.config().set("message.max.bytes", "70000000").create().unwrap();
    use rdkafka::producer::{BaseRecord, Producer};
    for value in ["before", &large, "after"] {
        producer.send(BaseRecord::<str, str>::to(&topic).payload(value)).unwrap();
        producer.flush(super::reading::SOON).unwrap();
    }
    let mut reading = Reading::with(connection(broker.bootstrap()), 1 << 20);
    reading.open(&topic, 0, 0);
    reading.until_records(3).await;
    let lengths: Vec<usize> = reading.records.iter().map(|record| record.value().unwrap().len()).collect();
    assert_eq!(lengths, [6, 50 << 20, 5]);
}

#[tokio::test]
async fn five_hundred_partitions_read_ahead_within_one_budget() {
    const PARTITIONS: u32 = 500;
    let kafka = parts::kafka().unwrap();
    let topic = kafka.unique_topic("many", PARTITIONS as i32).unwrap();
    let value = "v".repeat(1_000);
    for _ in 0..4 {
        let records: Vec<Record> =
            (0..PARTITIONS * 100).map(|n| Record::new("k", &value).on((n % PARTITIONS) as i32)).collect();
        kafka.produce(&topic, &records).unwrap();
    }
    let all = PARTITIONS as usize * 400;
    // What producing left behind must not hide what reading takes.
    // SAFETY: gives free memory back to the system and touches nothing else.
    unsafe { libc::malloc_trim(0) };
    let before = resident();
    let budget = 16 << 20;
    let mut reading = Reading::with(connection(kafka.bootstrap()), budget);
    for index in 0..PARTITIONS {
        reading.open(&topic, index, 0);
    }
    // Nobody takes anything: 200 MB are there to be read.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let grown = resident().saturating_sub(before);
    println!("read ahead with a budget of {budget}: {grown} bytes more are resident");
    assert!(grown < 2 * budget + (16 << 20), "{grown} bytes read ahead");

    let mut seen = 0;
    while seen < all {
        reading.until("more records", |read| !read.records.is_empty()).await;
        seen += reading.records.len();
        reading.records.clear();
    }
    assert_eq!(seen, all);
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
