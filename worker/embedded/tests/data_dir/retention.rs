//! Old records go by size and by age, from the front; readers behind them are told; a topic made anew is another one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyweir_core::{Offset, ShardId, ShardIndex};
use keyweir_embedded::{DataDir, DataDirOptions, TopicOptions};
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{Bounds, Intake, Reader, Recall, Source, SourceError, Wanted};

fn open(path: &Path) -> DataDir {
    DataDir::open(path, DataDirOptions::default()).unwrap()
}

fn kilobytes(count: usize) -> Vec<NewRecord> {
    let value = Some(Bytes::from(vec![5; 1_000]));
    vec![NewRecord { value, partition: Some(1), ..NewRecord::default() }; count]
}

async fn bounds(data: &DataDir) -> Bounds {
    data.source(vec![]).bounds(&[ShardId::new("t", 1)]).await.unwrap()[0]
}

/// A topic `t` that may have a megabyte.
async fn small_topic(data: &DataDir) {
    let options = TopicOptions { partitions: 2, retention_bytes: 1 << 20, ..TopicOptions::default() };
    data.log().ensure_topic("t", options).await.unwrap();
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(20), "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_topic_stays_near_the_size_it_may_have() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    small_topic(&data).await;
    for _ in 0..100 {
        data.log().append("t", kilobytes(80)).await.unwrap();
        let Bounds { first, end } = bounds(&data).await;
        assert!(end.0 - first.0 <= 1_300, "it holds {} kB", end.0 - first.0);
    }
    let before = bounds(&data).await;
    assert!(before.end == Offset(8_000) && before.first > Offset(6_500), "{before:?}");
    drop(data);
    let data = open(dir.path());
    assert_eq!(bounds(&data).await.end, before.end, "offsets go on after reopening");
    assert!(bounds(&data).await.first >= before.first, "what was dropped stays dropped");
}

#[tokio::test]
async fn records_go_when_they_are_old_and_their_offsets_are_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    let options =
        TopicOptions { partitions: 2, retention_age: Duration::from_millis(500), ..TopicOptions::default() };
    data.log().ensure_topic("t", options).await.unwrap();
    data.log().append("t", kilobytes(10)).await.unwrap();
    until("old records go", async || bounds(&data).await.first == Offset(10)).await;
    drop(data);
    let data = open(dir.path());
    assert_eq!(bounds(&data).await, Bounds { first: Offset(10), end: Offset(10) });
    let place = data.log().append("t", kilobytes(1)).await.unwrap()[0];
    assert_eq!(place.offset, Offset(10));
}

#[tokio::test]
async fn records_that_are_wanted_again_and_were_dropped_are_passed() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    small_topic(&data).await;
    for _ in 0..40 {
        data.log().append("t", kilobytes(80)).await.unwrap();
    }
    let first = bounds(&data).await.first;
    let wanted = Wanted {
        shard: ShardIndex(4),
        id: Arc::new(ShardId::new("t", 1)),
        log: None,
        offsets: vec![Offset(3), Offset(first.0 - 1), first, Offset(3_199)],
        bytes: 1 << 20,
    };
    let found = data.source(vec![]).recall(wanted).await.unwrap();
    let offsets: Vec<_> = found.records.iter().map(|record| record.offset).collect();
    assert_eq!((offsets, found.up_to), (vec![first, Offset(3_199)], Offset(3_200)));
}

#[tokio::test]
async fn a_reader_that_is_behind_is_told_and_goes_on_at_the_first_record() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    small_topic(&data).await;
    for _ in 0..40 {
        data.log().append("t", kilobytes(80)).await.unwrap();
    }
    let mut reader = data.reader(1 << 20).unwrap();
    reader.open(ShardIndex(0), &ShardId::new("t", 1), Offset(3));
    let (mut told, mut position, mut recovered, mut next) = (false, None, false, None);
    while next != Some(Offset(3_200)) || !recovered {
        match tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap() {
            Intake::Trouble(_, SourceError::OutOfRange { offset, .. }) => {
                told = true;
                assert!(offset == Offset(3) || position.is_some());
            }
            other @ (Intake::Trouble(..) | Intake::Resynced { .. }) => unreachable!("{other:?}"),
            Intake::Recovered(_) => recovered = true,
            Intake::Batch(batch) => {
                if let Some((_, offset)) = batch.positions.last() {
                    (position, next) = (Some(*offset), Some(*offset));
                }
                for record in batch.records {
                    assert_eq!(Some(record.offset), next, "from the position on, without a gap");
                    next = Some(record.offset.next());
                }
            }
        }
    }
    assert!(told && position > Some(Offset(1_500)), "{position:?}");
}

#[tokio::test]
async fn a_topic_made_anew_has_another_identity_and_none_of_the_old_records() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    let options = TopicOptions { partitions: 2, ..TopicOptions::default() };
    data.log().ensure_topic("t", options).await.unwrap();
    data.log().append("t", kilobytes(10)).await.unwrap();
    let source = data.source(vec!["t".to_owned()]);
    let first = source.identity("t").await.unwrap();
    assert!(data.log().delete_topic("t").await.unwrap());
    assert!(!data.log().delete_topic("t").await.unwrap());
    assert!(matches!(source.shards().await, Err(SourceError::Missing { .. })));
    drop((source, data));

    let data = open(dir.path());
    assert!(data.log().topics().is_empty());
    data.log().ensure_topic("t", options).await.unwrap();
    let second = data.source(vec![]).identity("t").await.unwrap();
    assert_eq!((&first.cluster, bounds(&data).await.end), (&second.cluster, Offset(0)));
    assert_ne!(first.stream, second.stream);
    assert_eq!(data.log().append("t", kilobytes(1)).await.unwrap()[0].offset, Offset(0));
}

#[tokio::test]
async fn retention_is_set_anew_and_partitions_stay() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(dir.path());
    let options = TopicOptions { partitions: 2, ..TopicOptions::default() };
    data.log().ensure_topic("t", options).await.unwrap();
    let shorter = TopicOptions { partitions: 5, retention_age: Duration::from_secs(60), retention_bytes: 7 };
    data.log().ensure_topic("t", shorter).await.unwrap();
    drop(data);
    let topic = open(dir.path()).log().topics().remove(0);
    assert_eq!(topic.options, TopicOptions { partitions: 2, ..shorter });
}
