//! Whatever is done in whatever order, the log is what a list of records for each partition would be.

use std::collections::BTreeMap;
use std::time::Duration;

use keyweir_core::{Offset, ShardId, ShardIndex};
use keyweir_embedded::{DataDir, DataDirOptions, TopicOptions, partition_of};
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{Bounds, Intake, Reader, Source};
use proptest::prelude::*;

use crate::random::Random;

const PARTITIONS: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Appends to several topics at once.
    Append(Vec<Records>),
    Delete(u8),
    Reopen,
    Read {
        topic: u8,
        partition: u32,
        from: prop::sample::Index,
        read_ahead: usize,
    },
}

/// Records of a topic, told by a seed so that a failing case can be read.
#[derive(Clone, Copy, Debug)]
struct Records {
    topic: u8,
    count: u64,
    seed: u64,
}

impl Records {
    fn make(self) -> Vec<NewRecord> {
        (0..self.count).map(|n| odd_record(&mut Random(self.seed.wrapping_mul(1_000) + n))).collect()
    }
}

fn odd_record(random: &mut Random) -> NewRecord {
    let length = if random.below(20) == 0 { 20_000 } else { 300 };
    let headers = (0..random.below(3)).map(|n| (format!("h{n}"), random.bytes(9))).collect();
    NewRecord {
        key: random.bytes(12),
        value: random.bytes(length),
        headers,
        partition: Some(random.below(2 * u64::from(PARTITIONS)) as u32).filter(|n| *n < PARTITIONS),
        timestamp: Some(random.below(1_000_000) as i64),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let records =
        (0..3u8, 0..60u64, any::<u64>()).prop_map(|(topic, count, seed)| Records { topic, count, seed });
    prop_oneof![
        6 => proptest::collection::vec(records, 1..5).prop_map(Step::Append),
        1 => (0..3u8).prop_map(Step::Delete),
        2 => Just(Step::Reopen),
        4 => (0..3u8, 0..PARTITIONS, any::<prop::sample::Index>(), 1usize..1_000_000)
            .prop_map(|(topic, partition, from, read_ahead)| Step::Read { topic, partition, from, read_ahead }),
    ]
}

/// What must be there, by topic and partition.
type Model = BTreeMap<(u8, u32), Vec<NewRecord>>;

fn open(path: &std::path::Path) -> DataDir {
    // Small segments, so that there are many; never so much that old ones go.
    let topic_defaults =
        TopicOptions { partitions: PARTITIONS, retention_bytes: 4 << 20, ..TopicOptions::default() };
    DataDir::open(path, DataDirOptions { topic_defaults, ..DataDirOptions::default() }).unwrap()
}

fn name(topic: u8) -> String {
    format!("topic-{topic}")
}

async fn append(data: &DataDir, model: &mut Model, groups: Vec<Records>) {
    let log = data.log();
    let groups: Vec<_> = groups.into_iter().map(|records| (records.topic, records.make())).collect();
    let names: Vec<_> = groups.iter().map(|(topic, _)| name(*topic)).collect();
    let calls = groups.iter().zip(&names).map(|((_, records), name)| log.append(name, records.clone()));
    for ((topic, records), places) in groups.iter().zip(futures::future::join_all(calls).await) {
        for (record, place) in records.iter().zip(places.unwrap()) {
            let by_key = record.key.as_deref().map(|key| partition_of(key, PARTITIONS));
            if let Some(partition) = record.partition.or(by_key) {
                assert_eq!(place.partition, partition);
            }
            let there = model.entry((*topic, place.partition)).or_default();
            assert_eq!(place.offset.0, there.len() as i64, "offsets are contiguous");
            there.push(record.clone());
        }
    }
}

async fn check_bounds(data: &DataDir, model: &Model) {
    for ((topic, partition), records) in model {
        let shard = ShardId::new(name(*topic), *partition);
        let bounds = data.source(vec![]).bounds(&[shard]).await.unwrap()[0];
        assert_eq!(bounds, Bounds { first: Offset(0), end: Offset(records.len() as i64) });
    }
}

async fn check_read(data: &DataDir, shard: &ShardId, from: usize, read_ahead: usize, expected: &[NewRecord]) {
    let mut reader = data.reader(read_ahead).unwrap();
    reader.open(ShardIndex(3), shard, Offset(from as i64));
    let mut next = from;
    while next < expected.len() {
        let news = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap();
        let Intake::Batch(batch) = news else { unreachable!("{news:?}") };
        for record in batch.records {
            assert_eq!(record.offset, Offset(next as i64));
            let written = NewRecord { partition: None, ..expected[next].clone() };
            assert_eq!(NewRecord::from(&record), written);
            next += 1;
        }
    }
}

async fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut data = open(dir.path());
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Append(groups) => append(&data, &mut model, groups).await,
            Step::Delete(topic) => {
                let there = data.log().topics().iter().any(|info| *info.name == *name(topic));
                assert_eq!(data.log().delete_topic(&name(topic)).await.unwrap(), there);
                model.retain(|(of, _), _| *of != topic);
            }
            Step::Reopen => {
                drop(data);
                data = open(dir.path());
                check_bounds(&data, &model).await;
            }
            Step::Read { topic, partition, from, read_ahead } => {
                let Some(records) = model.get(&(topic, partition)) else { continue };
                let from = from.index(records.len() + 1);
                check_read(&data, &ShardId::new(name(topic), partition), from, read_ahead, records).await;
            }
        }
    }
    drop(data);
    let data = open(dir.path());
    for ((topic, partition), records) in &model {
        check_read(&data, &ShardId::new(name(*topic), *partition), 0, 1 << 20, records).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_a_list_of_records_for_each_partition(steps in proptest::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
