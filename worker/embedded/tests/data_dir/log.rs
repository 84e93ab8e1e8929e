//! The log as its users see it: what is appended is read back, by readers that wait and by readers that come later.

use std::time::Duration;

use bytes::Bytes;
use keyweir_core::{Offset, ShardId, ShardIndex};
use keyweir_embedded::{
    AppendError, DataDir, DataDirOptions, EmbeddedReader, OpenError, TopicOptions, partition_of,
};
use keyweir_engine::ports::{Bounds, Intake, Reader, Source, SourceError, StartAt};
use keyweir_engine::{NewRecord, Record};

const DEADLINE: Duration = Duration::from_secs(20);

fn open(path: &std::path::Path) -> DataDir {
    DataDir::open(path, DataDirOptions::default()).unwrap()
}

fn record(key: &str, value: impl Into<Bytes>) -> NewRecord {
    let key = Some(Bytes::copy_from_slice(key.as_bytes()));
    NewRecord { key, value: Some(value.into()), ..NewRecord::default() }
}

async fn read(reader: &mut EmbeddedReader, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        match tokio::time::timeout(DEADLINE, reader.next()).await.unwrap() {
            Intake::Batch(batch) => records.extend(batch.records),
            other => panic!("{other:?}"),
        }
    }
    records
}

#[tokio::test]
async fn records_come_back_by_partition_in_order_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    let records: Vec<_> = (0..5_000).map(|i| record(&format!("k{}", i % 100), i.to_string())).collect();
    for chunk in records.chunks(500) {
        let places = data.log().append("orders", chunk.to_vec()).await.unwrap();
        for (place, record) in places.iter().zip(chunk) {
            assert_eq!(place.partition, partition_of(record.key.as_deref().unwrap(), 8));
        }
    }
    let identity = data.source(vec!["orders".into()]).identity("orders").await.unwrap();
    data.close();

    let data = open(dir.path());
    let source = data.source(vec!["orders".into()]);
    assert_eq!(source.identity("orders").await.unwrap(), identity);
    let shards = source.shards().await.unwrap();
    assert_eq!(shards.len(), 8);
    let bounds = source.bounds(&shards).await.unwrap();
    assert_eq!(bounds.iter().map(|b| b.end.0).sum::<i64>(), 5_000);
    let mut reader = data.reader(1 << 20).unwrap();
    for (index, shard) in (0..).map(ShardIndex).zip(&shards) {
        reader.open(index, shard, Offset::ZERO);
    }
    let read = read(&mut reader, 5_000).await;
    for (partition, bounds) in (0..).zip(&bounds) {
        let read: Vec<_> = read.iter().filter(|r| r.shard == ShardIndex(partition)).collect();
        assert!((0..bounds.end.0).eq(read.iter().map(|r| r.offset.0)));
        let sent = records.iter().filter(|r| partition_of(r.key.as_deref().unwrap(), 8) == partition);
        assert!(sent.map(|r| r.value.as_deref()).eq(read.iter().map(|r| r.value())));
    }
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_an_append() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    data.log().ensure_topic("t", TopicOptions { partitions: 1, ..TopicOptions::default() }).await.unwrap();
    let mut reader = data.reader(1 << 20).unwrap();
    reader.open(ShardIndex(0), &ShardId::new("t", 0), Offset::ZERO);
    for round in 0..50 {
        data.log().append("t", vec![record("k", round.to_string())]).await.unwrap();
        let read = read(&mut reader, 1).await;
        assert_eq!((read[0].offset, read[0].value()), (Offset(round), Some(round.to_string().as_bytes())));
    }
}

#[tokio::test]
async fn a_second_opening_names_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    match DataDir::open(dir.path(), DataDirOptions::default()) {
        Err(OpenError::Held { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    data.close();
    open(dir.path());
}

#[tokio::test]
async fn wrong_records_and_topics_are_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    let log = data.log();
    assert!(matches!(log.append("a/b", vec![record("k", "v")]).await, Err(AppendError::Name(_))));
    let stray = NewRecord { partition: Some(8), ..record("k", "v") };
    let refused = log.append("t", vec![record("k", "v"), stray]).await;
    assert!(matches!(refused, Err(AppendError::Partition { partition: 8, partitions: 8, .. })));
    let huge = record("k", vec![0; (128 << 20) + 1]);
    assert!(matches!(log.append("t", vec![huge]).await, Err(AppendError::TooLarge { .. })));
    let shards = data.source(vec!["t".into()]).shards().await.unwrap();
    let bounds = data.source(vec![]).bounds(&shards).await.unwrap();
    assert!(bounds.iter().all(|b| *b == Bounds { first: Offset::ZERO, end: Offset::ZERO }));
}

#[tokio::test]
async fn a_record_of_fifty_megabytes_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    let large = Bytes::from((0..50_000_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let place = data.log().append("t", vec![record("k", large.clone())]).await.unwrap()[0];
    data.close();
    let data = open(dir.path());
    let mut reader = data.reader(1 << 20).unwrap();
    reader.open(ShardIndex(7), &ShardId::new("t", place.partition), Offset::ZERO);
    assert_eq!(read(&mut reader, 1).await[0].value(), Some(&large[..]));
}

#[tokio::test]
async fn positions_are_found_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    let at = |i: i64| NewRecord { timestamp: Some(i * 10), partition: Some(3), ..record("k", vec![7; 200]) };
    data.log().append("t", (0..3_000).map(at).collect()).await.unwrap();
    let source = data.source(vec!["t".into()]);
    let shard = ShardId::new("t", 3);
    for (time, offset) in [(0, 0), (1, 1), (9_995, 1_000), (10_000, 1_000), (29_990, 2_999), (29_991, 3_000)]
    {
        assert_eq!(source.resolve(&shard, StartAt::Timestamp(time)).await.unwrap(), Offset(offset), "{time}");
    }
    assert_eq!(source.resolve(&shard, StartAt::Earliest).await.unwrap(), Offset(0));
    assert_eq!(source.resolve(&shard, StartAt::Latest).await.unwrap(), Offset(3_000));
    let missing = source.resolve(&ShardId::new("t", 8), StartAt::Earliest).await;
    assert!(matches!(missing, Err(SourceError::Missing { .. })));
}
