//! What every log owes: a `Source`, its `Reader` and its `Recall` together.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use keyweir_core::{Offset, ShardId, ShardIndex};
use tokio::time::timeout;

use super::recall;
use crate::ports::{Batch, Bounds, Intake, MirrorState, Reader, Recall, Source, SourceError, StartAt};
use crate::record::{NewRecord, Record};

/// How long anything may take that must happen.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long nothing must happen.
const QUIET: Duration = Duration::from_millis(300);

/// A log that a suite can write to and read.
pub trait LogUnderTest {
    /// Its hot half.
    type Reader: Reader;
    /// Its cold half.
    type Source: Source;
    /// Its way to records that were read before.
    type Recall: Recall;

    /// Makes a topic.
    fn create(&self, topic: &str, partitions: u32) -> impl Future<Output = ()>;

    /// Appends records, each to the partition that it names, durably.
    fn append(&self, topic: &str, records: Vec<NewRecord>) -> impl Future<Output = ()>;

    /// The cold half over these topics.
    fn source(&self, topics: &[&str]) -> Self::Source;

    /// A reader with nothing open.
    fn reader(&self) -> Self::Reader;

    /// A way to records that were read before.
    fn recall(&self) -> Self::Recall;
}

/// Holds a log to its obligations. The topics it makes begin with `name`.
pub async fn log<L: LogUnderTest>(name: &str, log: &L) {
    shards_and_bounds_are_told(name, log).await;
    starts_are_resolved(name, log).await;
    records_come_back_as_they_were(name, log).await;
    a_shard_is_read_from_where_it_was_opened(name, log).await;
    a_closed_shard_is_silent(name, log).await;
    a_paused_shard_stops_soon_and_loses_nothing(name, log).await;
    a_dropped_call_loses_nothing(name, log).await;
    a_waiting_reader_is_woken(name, log).await;
    recall::records_come_back(name, log).await;
}

pub(super) fn record(partition: u32, value: impl Into<Bytes>) -> NewRecord {
    let partition = Some(partition);
    NewRecord {
        key: Some(Bytes::from_static(b"k")),
        value: Some(value.into()),
        partition,
        ..Default::default()
    }
}

fn numbered(partition: u32, numbers: std::ops::Range<i64>) -> Vec<NewRecord> {
    numbers.map(|number| record(partition, number.to_string())).collect()
}

/// The next news of a reader, in time.
async fn next<R: Reader>(reader: &mut R) -> Intake {
    timeout(DEADLINE, reader.next()).await.expect("a reader with something to read has news in time")
}

/// Reads until `count` records have come. Troubles that the log reports on its way are passed over.
pub(super) async fn read<R: Reader>(reader: &mut R, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        if let Intake::Batch(Batch { records: more, .. }) = next(reader).await {
            records.extend(more);
        }
    }
    assert_eq!(records.len(), count, "no more than there are");
    records
}

/// What comes while nothing is expected to.
async fn stray<R: Reader>(reader: &mut R) -> Vec<Record> {
    let mut records = Vec::new();
    while let Ok(news) = timeout(QUIET, reader.next()).await {
        if let Intake::Batch(Batch { records: more, .. }) = news {
            records.extend(more);
        }
    }
    records
}

fn assert_run(records: &[Record], shard: ShardIndex, offsets: std::ops::Range<i64>) {
    let found: Vec<_> = records.iter().map(|record| (record.shard, record.offset.0)).collect();
    let expected: Vec<_> = offsets.map(|offset| (shard, offset)).collect();
    assert_eq!(found, expected, "exactly these, once each, ascending");
    for record in records {
        assert_eq!(record.value(), Some(record.offset.to_string().as_bytes()));
    }
}

async fn shards_and_bounds_are_told<L: LogUnderTest>(name: &str, log: &L) {
    let (a, b) = (format!("{name}.a"), format!("{name}.b"));
    log.create(&a, 2).await;
    log.create(&b, 3).await;
    log.append(&b, numbered(1, 0..7)).await;
    let source = log.source(&[&a, &b]);
    let shards = source.shards().await.expect("lists shards");
    let expected = [(&a, 0), (&a, 1), (&b, 0), (&b, 1), (&b, 2)];
    assert_eq!(shards, expected.map(|(topic, index)| ShardId::new(topic.as_str(), index)));
    assert_eq!(source.shards().await.expect("lists shards"), shards, "the order is stable");
    let bounds = source.bounds(&shards).await.expect("tells bounds");
    let empty = Bounds { first: Offset(0), end: Offset(0) };
    let full = Bounds { first: Offset(0), end: Offset(7) };
    assert_eq!(bounds, [empty, empty, empty, full, empty]);
    let identity = source.identity(&a).await.expect("tells the identity");
    assert_eq!(source.identity(&a).await.expect("tells the identity"), identity, "it stays");
    let mirrored = source.mirrored(&shards).await.expect("tells mirrors");
    assert_eq!(mirrored, vec![MirrorState::Absent; shards.len()], "nothing was ever mirrored");
}

async fn starts_are_resolved<L: LogUnderTest>(name: &str, log: &L) {
    let topic = format!("{name}.starts");
    log.create(&topic, 1).await;
    let timed =
        |i: i64| NewRecord { timestamp: Some(1_700_000_000_000 + i * 1_000), ..record(0, i.to_string()) };
    log.append(&topic, (0..20).map(timed).collect()).await;
    let (source, shard) = (log.source(&[&topic]), ShardId::new(topic.as_str(), 0));
    let at = |i: i64| StartAt::Timestamp(1_700_000_000_000 + i);
    for (start, offset) in [
        (StartAt::Earliest, 0),
        (StartAt::Latest, 20),
        (at(-1), 0),
        (at(5_000), 5),
        (at(5_001), 6),
        (at(19_001), 20),
    ] {
        let resolved = source.resolve(&shard, start).await.expect("resolves a start");
        assert_eq!(resolved, Offset(offset), "{start:?}");
    }
}

async fn records_come_back_as_they_were<L: LogUnderTest>(name: &str, log: &L) {
    let topic = format!("{name}.odd");
    log.create(&topic, 1).await;
    let bytes = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
    let headers =
        vec![("a".to_owned(), bytes(b"1")), ("none".to_owned(), None), ("a".to_owned(), bytes(b"\xff"))];
    let plain = NewRecord { partition: Some(0), timestamp: Some(1_700_000_000_000), ..NewRecord::default() };
    let odd = vec![
        NewRecord { key: bytes(b"\xff\x00"), value: bytes(b"v"), headers, ..plain.clone() },
        NewRecord { key: None, value: None, ..plain.clone() },
        NewRecord { key: bytes(b""), value: bytes(b""), ..plain.clone() },
        NewRecord { key: bytes(b"large"), value: Some(Bytes::from(vec![7; 500_000])), ..plain },
    ];
    log.append(&topic, odd.clone()).await;
    let mut reader = log.reader();
    reader.open(ShardIndex(40), &ShardId::new(topic.as_str(), 0), Offset(0));
    for (read, written) in read(&mut reader, odd.len()).await.iter().zip(odd) {
        assert_eq!(NewRecord { partition: Some(0), ..NewRecord::from(read) }, written);
    }
}

async fn a_shard_is_read_from_where_it_was_opened<L: LogUnderTest>(name: &str, log: &L) {
    let topic = format!("{name}.from");
    log.create(&topic, 3).await;
    for partition in 0..3 {
        log.append(&topic, numbered(partition, 0..3_000)).await;
    }
    let mut reader = log.reader();
    let starts = [(5u32, 0u32, 0i64), (1, 1, 1_234), (9, 2, 2_999)];
    for (handle, partition, from) in starts {
        reader.open(ShardIndex(handle), &ShardId::new(topic.as_str(), partition), Offset(from));
    }
    let mut by_shard: BTreeMap<ShardIndex, Vec<Record>> = BTreeMap::new();
    for record in read(&mut reader, 3_000 + 1_766 + 1).await {
        by_shard.entry(record.shard).or_default().push(record);
    }
    for (handle, _, from) in starts {
        assert_run(&by_shard[&ShardIndex(handle)], ShardIndex(handle), from..3_000);
    }
    assert!(stray(&mut reader).await.is_empty(), "at the end there is silence");
}

async fn a_closed_shard_is_silent<L: LogUnderTest>(name: &str, log: &L) {
    let topic = format!("{name}.closed");
    log.create(&topic, 2).await;
    log.append(&topic, numbered(0, 0..2_000)).await;
    log.append(&topic, numbered(1, 0..10)).await;
    let (zero, one) = (ShardId::new(topic.as_str(), 0), ShardId::new(topic.as_str(), 1));
    let mut reader = log.reader();
    reader.open(ShardIndex(0), &zero, Offset(0));
    next(&mut reader).await;
    reader.close(ShardIndex(0));
    assert!(stray(&mut reader).await.is_empty(), "a closed shard is silent");
    reader.open(ShardIndex(0), &one, Offset(4));
    assert_run(&read(&mut reader, 6).await, ShardIndex(0), 4..10);
    reader.close(ShardIndex(0));
    reader.open(ShardIndex(0), &zero, Offset(1_990));
    assert_run(&read(&mut reader, 10).await, ShardIndex(0), 1_990..2_000);
}

async fn a_paused_shard_stops_soon_and_loses_nothing<L: LogUnderTest>(name: &str, log: &L) {
    let topic = format!("{name}.paused");
    log.create(&topic, 2).await;
    log.append(&topic, numbered(0, 0..500)).await;
    log.append(&topic, numbered(1, 0..5)).await;
    let mut reader = log.reader();
    reader.open(ShardIndex(0), &ShardId::new(topic.as_str(), 0), Offset(0));
    let mut records = read_some(&mut reader).await;
    reader.pause(ShardIndex(0));
    records.extend(stray(&mut reader).await);
    log.append(&topic, numbered(0, 500..2_000)).await;
    records.extend(stray(&mut reader).await);
    assert!(records.len() < 2_000, "a paused shard stops before its end");
    reader.open(ShardIndex(1), &ShardId::new(topic.as_str(), 1), Offset(0));
    assert_run(&read(&mut reader, 5).await, ShardIndex(1), 0..5);
    reader.resume(ShardIndex(0));
    records.extend(read(&mut reader, 2_000 - records.len()).await);
    assert_run(&records, ShardIndex(0), 0..2_000);
}

/// The first records that come.
async fn read_some<R: Reader>(reader: &mut R) -> Vec<Record> {
    loop {
        if let Intake::Batch(Batch { records, .. }) = next(reader).await
            && !records.is_empty()
        {
            return records;
        }
    }
}

async fn a_dropped_call_loses_nothing<L: LogUnderTest>(name: &str, log: &L) {
    let topic = format!("{name}.dropped");
    log.create(&topic, 1).await;
    let mut reader = log.reader();
    reader.open(ShardIndex(2), &ShardId::new(topic.as_str(), 0), Offset(0));
    let mut records = Vec::new();
    for round in 0..20 {
        log.append(&topic, numbered(0, round * 50..(round + 1) * 50)).await;
        for _ in 0..20 {
            // Dropped at whatever it waits for.
            if let Ok(Intake::Batch(batch)) = timeout(Duration::from_micros(50), reader.next()).await {
                records.extend(batch.records);
            }
        }
    }
    records.extend(read(&mut reader, 1_000 - records.len()).await);
    assert_run(&records, ShardIndex(2), 0..1_000);
}

async fn a_waiting_reader_is_woken<L: LogUnderTest>(name: &str, log: &L) {
    let topic = format!("{name}.woken");
    log.create(&topic, 1).await;
    let mut reader = log.reader();
    assert!(stray(&mut reader).await.is_empty(), "with nothing open nothing comes");
    reader.open(ShardIndex(0), &ShardId::new(topic.as_str(), 0), Offset(0));
    let mut records = Vec::new();
    for number in 0..10 {
        log.append(&topic, numbered(0, number..number + 1)).await;
        records.extend(read(&mut reader, 1).await);
    }
    assert_run(&records, ShardIndex(0), 0..10);
}

/// A reader that was told of a topic too early reports trouble, and reads it once it is there. Apart from [`log`]:
/// some brokers make topics by being asked for them.
pub async fn a_late_topic_is_read<L: LogUnderTest>(name: &str, log: &L) {
    let topic = format!("{name}.late");
    let missing = log.source(&[&topic]).shards().await;
    assert!(
        matches!(missing, Err(SourceError::Missing { .. })),
        "a missing topic is told as such: {missing:?}"
    );
    let mut reader = log.reader();
    reader.open(ShardIndex(3), &ShardId::new(topic.as_str(), 0), Offset(0));
    let trouble = next(&mut reader).await;
    assert!(
        matches!(trouble, Intake::Trouble(None | Some(ShardIndex(3)), _)),
        "trouble is told: {trouble:?}"
    );
    log.create(&topic, 1).await;
    log.append(&topic, numbered(0, 0..5)).await;
    let (mut records, mut recovered) = (Vec::new(), false);
    while records.len() < 5 || !recovered {
        match next(&mut reader).await {
            Intake::Batch(batch) => records.extend(batch.records),
            Intake::Recovered(_) => recovered = true,
            Intake::Trouble(..) | Intake::Resynced { .. } => {}
        }
    }
    assert_run(&records, ShardIndex(3), 0..5);
}

/// What was appended before the log was opened anew is read, and offsets go on. `open` opens the same log.
pub async fn log_survives_reopening<L: LogUnderTest>(name: &str, mut open: impl AsyncFnMut() -> L) {
    let topic = format!("{name}.reopened");
    open().await.create(&topic, 1).await;
    let shard = ShardId::new(topic.as_str(), 0);
    let mut identity = None;
    for round in 0..4 {
        let log = open().await;
        let told = log.source(&[&topic]).identity(&topic).await.expect("tells the identity");
        assert_eq!(identity.get_or_insert(told.clone()), &told, "the identity stays");
        log.append(&topic, numbered(0, round * 100..(round + 1) * 100)).await;
        drop(log);
        let log = open().await;
        let mut reader = log.reader();
        reader.open(ShardIndex(0), &shard, Offset(0));
        let count = (round + 1) * 100;
        assert_run(&read(&mut reader, count as usize).await, ShardIndex(0), 0..count);
    }
}
