//! A log of topics in memory: a `Source`, its readers, and the way to read records again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::{Offset, ShardId, ShardIndex};
use tokio::sync::Notify;

use super::lock;
use crate::ports::{
    Batch, Bounds, Identity, Intake, Mirror, MirrorState, Reader, Recall, Recalled, Search, Source,
    SourceError, StartAt, Wanted,
};
use crate::record::{NewRecord, Record};

/// How many records a reader gives at once.
const BATCH: usize = 100;

/// A log of topics in memory. Cheap to clone; all clones are one log.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    state: Arc<Mutex<State>>,
    grown: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    shards: BTreeMap<ShardId, Partition>,
    mirrors: HashMap<ShardId, MirrorState>,
    unreachable: bool,
    listings: u64,
}

#[derive(Debug, Default)]
struct Partition {
    records: BTreeMap<Offset, NewRecord>,
    end: i64,
}

impl MemoryLog {
    /// A topic with that many empty partitions; an existing one grows.
    pub fn create(&self, topic: &str, partitions: u32) {
        let mut state = lock(&self.state);
        for index in 0..partitions {
            state.shards.entry(ShardId::new(topic, index)).or_default();
        }
    }

    /// Appends a record.
    pub fn append(&self, topic: &str, partition: u32, record: NewRecord) -> Offset {
        let mut state = lock(&self.state);
        let partition = state.shards.entry(ShardId::new(topic, partition)).or_default();
        let offset = Offset(partition.end);
        partition.records.insert(offset, record);
        partition.end += 1;
        drop(state);
        self.grown.notify_waiters();
        offset
    }

    /// Leaves a gap of that many offsets, as transaction markers and compaction do.
    pub fn skip(&self, topic: &str, partition: u32, offsets: i64) {
        let mut state = lock(&self.state);
        state.shards.entry(ShardId::new(topic, partition)).or_default().end += offsets;
        drop(state);
        self.grown.notify_waiters();
    }

    /// Drops all that is below an offset, as retention does.
    pub fn drop_below(&self, topic: &str, partition: u32, offset: Offset) {
        if let Some(partition) = lock(&self.state).shards.get_mut(&ShardId::new(topic, partition)) {
            partition.records.retain(|kept, _| *kept >= offset);
        }
    }

    /// Makes the cold calls fail, or work again.
    pub fn set_unreachable(&self, unreachable: bool) {
        lock(&self.state).unreachable = unreachable;
    }

    /// How often somebody has asked for its shards so far.
    pub fn listings(&self) -> u64 {
        lock(&self.state).listings
    }

    /// Sets what `mirrored` answers: somebody's reset, say.
    pub fn set_mirror(&self, shard: ShardId, mirror: MirrorState) {
        lock(&self.state).mirrors.insert(shard, mirror);
    }

    /// The last mirror of a shard.
    pub fn mirror_of(&self, shard: &ShardId) -> MirrorState {
        lock(&self.state).mirrors.get(shard).copied().unwrap_or(MirrorState::Absent)
    }

    /// All records of a topic, by partition and offset.
    pub fn records(&self, topic: &str) -> Vec<(u32, Offset, NewRecord)> {
        let state = lock(&self.state);
        let of_topic = state.shards.iter().filter(|(id, _)| *id.stream == *topic);
        of_topic
            .flat_map(|(id, partition)| {
                partition.records.iter().map(|(offset, new)| (id.index, *offset, new.clone()))
            })
            .collect()
    }

    /// A reader of this log.
    pub fn reader(&self) -> MemoryReader {
        MemoryReader { log: self.clone(), open: BTreeMap::new() }
    }

    fn check(&self) -> Result<(), SourceError> {
        if lock(&self.state).unreachable {
            let source = Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
            return Err(SourceError::Unreachable { what: "the log in memory".to_owned(), source });
        }
        Ok(())
    }
}

impl Source for MemoryLog {
    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardId>, SourceError>> {
        async {
            lock(&self.state).listings += 1;
            self.check().map(|()| lock(&self.state).shards.keys().cloned().collect())
        }
        .boxed()
    }

    fn resolve<'a>(&'a self, shard: &'a ShardId, at: StartAt) -> BoxFuture<'a, Result<Offset, SourceError>> {
        async move {
            self.check()?;
            let state = lock(&self.state);
            let Some(partition) = state.shards.get(shard) else {
                return Err(SourceError::Missing { what: shard.to_string() });
            };
            let end = Offset(partition.end);
            Ok(match at {
                StartAt::Earliest => partition.records.keys().next().copied().unwrap_or(end),
                StartAt::Latest => end,
                StartAt::Timestamp(at) => {
                    let later = partition.records.iter().find(|(_, new)| new.timestamp.unwrap_or(0) >= at);
                    later.map_or(end, |(offset, _)| *offset)
                }
            })
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<Bounds>, SourceError>> {
        async move {
            self.check()?;
            let state = lock(&self.state);
            let bounds = |shard: &ShardId| {
                let partition = state.shards.get(shard);
                let end = Offset(partition.map_or(0, |partition| partition.end));
                let first = partition.and_then(|partition| partition.records.keys().next().copied());
                Bounds { first: first.unwrap_or(end), end }
            };
            Ok(shards.iter().map(bounds).collect())
        }
        .boxed()
    }

    fn mirrored<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<MirrorState>, SourceError>> {
        async move { self.check().map(|()| shards.iter().map(|shard| self.mirror_of(shard)).collect()) }
            .boxed()
    }

    fn mirror(&self, mirrors: Vec<Mirror>) -> BoxFuture<'_, Result<(), SourceError>> {
        async move {
            self.check()?;
            for Mirror { shard, frontier, fence, sequence, .. } in mirrors {
                if matches!(self.mirror_of(&shard), MirrorState::Reset(offset) if offset != frontier) {
                    continue;
                }
                self.set_mirror(shard, MirrorState::Marked { frontier, fence, sequence });
            }
            Ok(())
        }
        .boxed()
    }

    fn identity<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Identity, SourceError>> {
        async move {
            self.check()
                .map(|()| Identity { cluster: Some("memory".to_owned()), stream: Some(identity(stream)) })
        }
        .boxed()
    }
}

/// The id of a topic, which is never made anew here.
fn identity(stream: &str) -> String {
    format!("id of {stream}")
}

/// How long records take to be read again, as they would from a broker.
const FAR: Duration = Duration::from_millis(5);

impl Recall for MemoryLog {
    fn recall(&self, wanted: Wanted) -> BoxFuture<'_, Result<Recalled, SourceError>> {
        async move {
            tokio::time::sleep(FAR).await;
            self.check()?;
            let state = lock(&self.state);
            let partition = state.shards.get(&*wanted.id);
            let partition = partition.ok_or_else(|| SourceError::Missing { what: wanted.id.to_string() })?;
            if wanted.log.as_ref().is_some_and(|log| *log != identity(&wanted.id.stream)) {
                return Err(SourceError::MadeAnew { shard: (*wanted.id).clone() });
            }
            let mut search = Search::new(&wanted);
            while let Some(next) = search.next() {
                if next.0 < partition.end {
                    match partition.records.range(next..).next() {
                        Some((offset, new)) => {
                            search.meet(*offset, |shard, _| new.as_record(shard, *offset));
                        }
                        None => search.pass(Offset(partition.end)),
                    }
                } else if search.has_decided() {
                    break;
                } else {
                    return Err(SourceError::OutOfRange { shard: (*wanted.id).clone(), offset: next });
                }
            }
            Ok(search.found())
        }
        .boxed()
    }
}

/// Reads a [`MemoryLog`].
#[derive(Debug)]
pub struct MemoryReader {
    log: MemoryLog,
    open: BTreeMap<u32, Cursor>,
}

#[derive(Debug)]
struct Cursor {
    id: ShardId,
    next: i64,
    paused: bool,
}

impl MemoryReader {
    fn batch(&mut self) -> Option<Batch> {
        let state = lock(&self.log.state);
        let mut batch = Batch::default();
        for (index, cursor) in self.open.iter_mut().filter(|(_, cursor)| !cursor.paused) {
            let Some(partition) = state.shards.get(&cursor.id) else {
                continue;
            };
            let shard = ShardIndex(*index);
            let found: Vec<Record> = partition
                .records
                .range(Offset(cursor.next)..)
                .take(BATCH)
                .map(|(offset, new)| new.as_record(shard, *offset))
                .collect();
            let next = match found.last() {
                Some(last) if found.len() == BATCH => last.offset.next().0,
                _ => partition.end,
            };
            if next > cursor.next {
                cursor.next = next;
                batch.records.extend(found);
                batch.positions.push((shard, Offset(next)));
            }
        }
        (!batch.positions.is_empty()).then_some(batch)
    }
}

impl Reader for MemoryReader {
    fn open(&mut self, shard: ShardIndex, id: &ShardId, from: Offset) {
        self.open.insert(shard.0, Cursor { id: id.clone(), next: from.0, paused: false });
    }

    fn close(&mut self, shard: ShardIndex) {
        self.open.remove(&shard.0);
    }

    fn pause(&mut self, shard: ShardIndex) {
        if let Some(cursor) = self.open.get_mut(&shard.0) {
            cursor.paused = true;
        }
    }

    fn resume(&mut self, shard: ShardIndex) {
        if let Some(cursor) = self.open.get_mut(&shard.0) {
            cursor.paused = false;
        }
    }

    async fn next(&mut self) -> Intake {
        loop {
            let log = self.log.clone();
            let grown = log.grown.notified();
            if let Some(batch) = self.batch() {
                return Intake::Batch(batch);
            }
            grown.await;
        }
    }
}
