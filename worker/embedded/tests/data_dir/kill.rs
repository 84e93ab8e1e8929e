//! What was acknowledged survives kill -9 at any moment: a child writes and says what was acknowledged, is killed, and
//! the directory is opened again, over and over.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use keyweir_core::{Checkpoint, Fence, Offset, ShardId, ShardIndex, UnixMillis};
use keyweir_embedded::{DataDir, DataDirOptions, TopicOptions};
use keyweir_engine::ports::{CheckpointStore, Intake, ParkedId, ParkedRecord, ParkedStore, Reader, Source};
use keyweir_engine::{NewRecord, Record};

use crate::random::Random;

/// Few, so that the suite stays short; `KEYWEIR_KILL_ROUNDS` asks for more.
const ROUNDS: u64 = 12;
const DIRECTORY: &str = "KEYWEIR_KILL_DIRECTORY";
const SEED: &str = "KEYWEIR_KILL_SEED";

/// Kept for good, and kept so shortly that segments open and go all the time.
const TOPICS: [(&str, u64); 2] = [("kept", 10 << 30), ("short", 1 << 20)];

#[tokio::test]
async fn what_was_acknowledged_survives_kills_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let rounds = std::env::var("KEYWEIR_KILL_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    for round in 0..rounds {
        let mut random = Random(round + 1);
        told.add(&killed_child(dir.path(), round, Duration::from_millis(random.below(700))));
        check(dir.path(), &told).await;
    }
    assert!(told.records.len() > 10_000, "children came to write: {}", told.records.len());
    assert!(told.sequence > 10 && told.parked.len() > 10);
}

/// Starts a child, lets it write for a while and kills it. What it said is the answer.
fn killed_child(directory: &Path, seed: u64, after: Duration) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::writes_until_killed", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        while said.read_until(b'\n', &mut text).is_ok_and(|read| read > 0) {}
        String::from_utf8_lossy(&text).into_owned()
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap()
}

/// What children said was acknowledged, over all rounds.
#[derive(Default)]
struct Told {
    records: BTreeMap<(String, u32, i64), u64>,
    sequence: u64,
    parked: BTreeSet<i64>,
}

impl Told {
    fn add(&mut self, said: &str) {
        // The last line may be torn.
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["record", topic, partition, offset, id] => {
                    let place = (topic.to_owned(), partition.parse().unwrap(), offset.parse().unwrap());
                    let earlier = self.records.insert(place, id.parse().unwrap());
                    assert_eq!(earlier, None, "a place is given once: {line}");
                }
                ["checkpoint", sequence] => self.sequence = sequence.parse().unwrap(),
                ["parked", offset] => assert!(self.parked.insert(offset.parse().unwrap())),
                _ => {}
            }
        }
    }
}

async fn check(directory: &Path, told: &Told) {
    let data = DataDir::open(directory, DataDirOptions::default()).unwrap();
    let mut found = BTreeMap::new();
    let mut firsts = BTreeMap::new();
    for topic in data.log().topics() {
        let source = data.source(vec![topic.name.to_string()]);
        let shards = source.shards().await.unwrap();
        let bounds = source.bounds(&shards).await.unwrap();
        for (shard, bounds) in shards.iter().zip(bounds) {
            firsts.insert((topic.name.to_string(), shard.index), bounds.first.0);
            let records = read(&data, shard, bounds.first, (bounds.end.0 - bounds.first.0) as usize).await;
            let offsets = records.iter().map(|record| record.offset.0);
            assert!((bounds.first.0..bounds.end.0).eq(offsets), "contiguous: {shard}");
            for record in records {
                found.insert((topic.name.to_string(), shard.index, record.offset.0), id_of(&record));
            }
        }
    }
    let ids: HashSet<_> = found.values().collect();
    assert_eq!(ids.len(), found.len(), "no record stands twice");
    for (place, id) in &told.records {
        let dropped = place.2 < firsts[&(place.0.clone(), place.1)];
        assert!(place.0 == "short" || !dropped, "only retention drops records: {place:?}");
        assert!(dropped || found.get(place) == Some(id), "acknowledged and gone: {place:?}");
    }
    let checkpoint = data.checkpoints("o").load(&[ShardId::new("kept", 0)]).await.unwrap().remove(0);
    let saved = checkpoint.map_or(0, |checkpoint| checkpoint.sequence);
    assert!(saved >= told.sequence, "checkpoint {} was acknowledged, {saved} is there", told.sequence);
    for offset in &told.parked {
        let id = ParkedId { shard: ShardId::new("kept", 0), offset: Offset(*offset) };
        assert!(data.parked("o").get(&id).await.unwrap().is_some(), "parked and gone: {id}");
    }
}

async fn read(data: &DataDir, shard: &ShardId, from: Offset, count: usize) -> Vec<Record> {
    let mut reader = data.reader(8 << 20).unwrap();
    reader.open(ShardIndex(0), shard, from);
    let mut records = Vec::new();
    while records.len() < count {
        let news = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap();
        match news {
            Intake::Batch(batch) => records.extend(batch.records),
            other => unreachable!("{other:?}"),
        }
    }
    records
}

/// A value that tells its id and whether it is whole.
fn value_of(id: u64) -> Bytes {
    let mut random = Random(id);
    let mut value = id.to_le_bytes().to_vec();
    value.extend((0..random.below(300)).map(|_| random.below(256) as u8));
    value.into()
}

fn id_of(record: &Record) -> u64 {
    let value = record.value().unwrap();
    let id = u64::from_le_bytes(*value.first_chunk().unwrap());
    assert_eq!(value, value_of(id), "a record came back changed");
    id
}

#[tokio::test]
#[ignore = "the child of the test above"]
async fn writes_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let data = DataDir::open(directory, DataDirOptions::default()).unwrap();
    for (topic, retention_bytes) in TOPICS {
        let options = TopicOptions { partitions: 4, retention_bytes, ..TopicOptions::default() };
        data.log().ensure_topic(topic, options).await.unwrap();
    }
    let out = Arc::new(Mutex::new(std::io::stdout()));
    let appenders = (0..4).map(|n| append(&data, seed * 4 + n, &out));
    let rows = (save(&data, seed, &out), park(&data, seed, &out));
    futures::join!(futures::future::join_all(appenders), rows.0, rows.1);
}

type Out = Arc<Mutex<std::io::Stdout>>;

fn say(out: &Out, text: &str) {
    let mut out = out.lock().unwrap();
    out.write_all(text.as_bytes()).unwrap();
    out.flush().unwrap();
}

async fn append(data: &DataDir, appender: u64, out: &Out) {
    let mut random = Random(appender + 77);
    let mut id = appender << 32;
    loop {
        let (topic, _) = TOPICS[random.below(2) as usize];
        let ids: Vec<_> = (0..=random.below(200)).map(|n| id + n).collect();
        id += ids.len() as u64;
        let record = |id: &u64| NewRecord {
            key: (!id.is_multiple_of(3)).then(|| Bytes::copy_from_slice(&(id % 50).to_le_bytes())),
            value: Some(value_of(*id)),
            ..NewRecord::default()
        };
        let places = data.log().append(topic, ids.iter().map(record).collect()).await.unwrap();
        let line = |(id, place): (&u64, &keyweir_embedded::Place)| {
            format!("record {topic} {} {} {id}\n", place.partition, place.offset)
        };
        say(out, &ids.iter().zip(&places).map(line).collect::<String>());
    }
}

async fn save(data: &DataDir, seed: u64, out: &Out) {
    let shard = ShardId::new("kept", 0);
    for sequence in seed * 1_000_000 + 1.. {
        let checkpoint = Checkpoint { sequence, ..Checkpoint::new(Fence::new(0, seed), Offset(0)) };
        data.checkpoints("o").save(vec![(shard.clone(), checkpoint)]).await.unwrap();
        say(out, &format!("checkpoint {sequence}\n"));
    }
}

async fn park(data: &DataDir, seed: u64, out: &Out) {
    for offset in seed as i64 * 1_000_000.. {
        let id = ParkedId { shard: ShardId::new("kept", 0), offset: Offset(offset) };
        let record = NewRecord { value: Some(value_of(9)), ..NewRecord::default() };
        let (reason, text, parked_at) = ("r".to_owned(), String::new(), UnixMillis(0));
        let parked = ParkedRecord { id, record, attempts: 1, reason, text, parked_at, blocks: None };
        data.parked("o").park(parked).await.unwrap();
        say(out, &format!("parked {offset}\n"));
    }
}
