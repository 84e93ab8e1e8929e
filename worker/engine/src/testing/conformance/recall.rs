//! What every way to records that were read before owes. Part of [`super::log`].

use std::sync::Arc;
use std::time::Duration;

use keyweir_core::{Offset, ShardId, ShardIndex};
use tokio::time::timeout;

use super::log::{LogUnderTest, read, record};
use crate::ports::{Reader, Recall, Recalled, Source, SourceError, Wanted};
use crate::record::{NewRecord, Record};

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(60);
const HANDLE: ShardIndex = ShardIndex(7);
const RECORDS: i64 = 4_000;

/// Records are as the reader gave them, in steps of bounded size, for several shards at once, while nobody reads.
pub(super) async fn records_come_back<L: LogUnderTest>(name: &str, log: &L) {
    let topic = format!("{name}.recall");
    log.create(&topic, 2).await;
    for partition in 0..2 {
        log.append(&topic, (0..RECORDS).map(|number| varied(partition, number)).collect()).await;
    }
    let given = read_all(log, &topic).await;
    // It stands full beside, with nobody who takes from it.
    let mut reader = log.reader();
    reader.open(HANDLE, &ShardId::new(topic.as_str(), 0), Offset(0));

    let recall = log.recall();
    let of = |partition: u32| Arc::new(ShardId::new(topic.as_str(), partition));
    let all: Vec<Offset> = (0..RECORDS).map(Offset).collect();
    let sparse: Vec<Offset> = (0..RECORDS).filter(|number| number % 397 == 5).map(Offset).collect();
    let (dense, scattered, last) = tokio::join!(
        in_steps(&recall, of(0), all, 20_000),
        in_steps(&recall, of(1), sparse.clone(), 1 << 20),
        in_steps(&recall, of(1), vec![Offset(RECORDS - 1)], 0),
    );
    assert!(dense.1 > 5, "a call gives no more than is enough");
    assert_eq!(dense.0, given[0]);
    let is_sparse = |record: &&Record| sparse.contains(&record.offset);
    assert_eq!(scattered.0, given[1].iter().filter(is_sparse).cloned().collect::<Vec<_>>());
    assert_eq!(last.0, given[1][given[1].len() - 1..]);

    recall.rest();
    let again = in_steps(&recall, of(0), vec![Offset(0), Offset(1)], 1).await;
    assert_eq!((again.0.as_slice(), again.1), (&given[0][..2], 2), "one at a time, after a rest");
    let beyond = ask(&recall, of(0), vec![Offset(RECORDS + 10)], 1).await;
    assert!(matches!(beyond, Err(SourceError::OutOfRange { .. })), "the log ends before: {beyond:?}");
    let missing = ask(&recall, of(9), vec![Offset(0)], 1).await;
    assert!(missing.is_err(), "there is no such shard: {missing:?}");
    of_that_log_only(log, &recall, of(0)).await;
}

/// Records of another log of the same name are none that were wanted.
async fn of_that_log_only<L: LogUnderTest>(log: &L, recall: &impl Recall, id: Arc<ShardId>) {
    let identity = log.source(&[&id.stream]).identity(&id.stream).await.expect("an identity").stream;
    assert!(identity.is_some(), "a log that may be made anew has an id");
    for (log, is_it) in [(identity, true), (Some("another".to_owned()), false)] {
        for (offset, is_there) in [(Offset(3), true), (Offset(RECORDS + 10), false)] {
            let wanted = Wanted {
                shard: HANDLE,
                id: Arc::clone(&id),
                log: log.clone(),
                offsets: vec![offset],
                bytes: 1,
            };
            match recall.recall(wanted).await {
                Ok(found) => assert!(is_it && is_there, "{found:?} at {offset}"),
                Err(SourceError::MadeAnew { .. }) => assert!(!is_it, "it is the same log"),
                Err(error) => assert!(is_it && !is_there, "{error:?} at {offset}"),
            }
        }
    }
}

fn varied(partition: u32, number: i64) -> NewRecord {
    let value = vec![b'x'; 10 + (number % 90) as usize];
    let headers = vec![("n".to_owned(), Some(number.to_string().into()))];
    NewRecord { headers, timestamp: Some(1_700_000_000_000 + number), ..record(partition, value) }
}

async fn read_all<L: LogUnderTest>(log: &L, topic: &str) -> [Vec<Record>; 2] {
    let mut given = [Vec::new(), Vec::new()];
    for (partition, given) in (0..).zip(&mut given) {
        let mut reader = log.reader();
        reader.open(HANDLE, &ShardId::new(topic, partition), Offset(0));
        *given = read(&mut reader, RECORDS as usize).await;
    }
    given
}

async fn ask<R: Recall>(
    recall: &R,
    id: Arc<ShardId>,
    offsets: Vec<Offset>,
    bytes: usize,
) -> Result<Recalled, SourceError> {
    let asked = recall.recall(Wanted { shard: HANDLE, id, log: None, offsets, bytes });
    timeout(DEADLINE, asked).await.expect("each call has a deadline and ends")
}

/// Asks until all of them were given; in how many calls.
async fn in_steps<R: Recall>(
    recall: &R,
    id: Arc<ShardId>,
    mut offsets: Vec<Offset>,
    bytes: usize,
) -> (Vec<Record>, usize) {
    let (mut records, mut calls) = (Vec::new(), 0);
    while let Some(first) = offsets.first().copied() {
        let found =
            ask(recall, Arc::clone(&id), offsets.clone(), bytes).await.expect("the records are there");
        assert!(found.up_to > first, "the first one at least is decided");
        let decided = offsets.iter().filter(|offset| **offset < found.up_to).count();
        assert_eq!(found.records.len(), decided, "none is passed over");
        offsets.drain(..decided);
        records.extend(found.records);
        calls += 1;
    }
    (records, calls)
}
