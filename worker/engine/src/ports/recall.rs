//! `Recall`: reads records again that were read before and whose contents were given back.

use std::sync::Arc;

use futures::future::BoxFuture;
use keyweir_core::{Offset, ShardId, ShardIndex};

use super::source::SourceError;
use crate::record::{Arena, Record};

/// Which records are wanted again.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The handle that the records are to carry.
    pub shard: ShardIndex,
    /// Its name.
    pub id: Arc<ShardId>,
    /// The id of the log that they were read from, where it has one: a topic made anew has another one.
    pub log: Option<String>,
    /// Where they stand; ascending, each once, at least one.
    pub offsets: Vec<Offset>,
    /// How many bytes of them are enough for now.
    pub bytes: usize,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// Records at wanted offsets, ascending.
    pub records: Vec<Record>,
    /// All wanted offsets below have been looked for: what is not among the records is no longer in the log.
    pub up_to: Offset,
}

/// How far wanted records were looked for, by whoever passes the log in ascending order.
#[derive(Debug)]
pub struct Search<'a> {
    wanted: &'a Wanted,
    /// So many of the wanted offsets are decided.
    decided: usize,
    bytes: usize,
    arena: Arena,
    records: Vec<Record>,
}

impl<'a> Search<'a> {
    /// Nothing is decided yet.
    pub fn new(wanted: &'a Wanted) -> Self {
        Self { wanted, decided: 0, bytes: 0, arena: Arena::new(), records: Vec::new() }
    }

    /// The next offset to look for; `None` = it is enough.
    pub fn next(&self) -> Option<Offset> {
        let next = self.wanted.offsets.get(self.decided).copied();
        next.filter(|_| !self.has_decided() || self.bytes < self.wanted.bytes)
    }

    /// Whether it has come to anything.
    pub fn has_decided(&self) -> bool {
        self.decided > 0
    }

    /// The log holds nothing from the next wanted offset up to this one. Where it is enough nothing more is decided.
    pub fn pass(&mut self, up_to: Offset) {
        if self.next().is_none() {
            return;
        }
        self.decided += self.wanted.offsets[self.decided..].partition_point(|offset| *offset < up_to);
    }

    /// The next record of the log stands there: it is made where it is wanted. `false` = it is not.
    pub fn meet(&mut self, offset: Offset, make: impl FnOnce(ShardIndex, &mut Arena) -> Record) -> bool {
        self.pass(offset);
        let wanted = self.next() == Some(offset);
        if wanted {
            let record = make(self.wanted.shard, &mut self.arena);
            self.decided += 1;
            self.bytes += record.weight();
            self.records.push(record);
        }
        wanted
    }

    /// What was found.
    pub fn found(self) -> Recalled {
        let offsets = &self.wanted.offsets;
        let behind_all = || offsets.last().map_or(Offset::ZERO, |last| last.next());
        let up_to = offsets.get(self.decided).copied().unwrap_or_else(behind_all);
        Recalled { records: self.records, up_to }
    }
}

/// Reads single records of a shard again. It has a way to the log of its own: it never waits for the
/// [`Reader`](super::Reader), nor for anybody who takes from it.
///
/// What implementers owe:
/// - What is given is exactly what the reader gave at that offset; an offset that is in the log is never passed over.
/// - Each call decides at least the first wanted offset, or fails. It stops once `bytes` are reached; a record above
///   that comes alone.
/// - What retention or compaction has removed is passed, not an error. A log that ends before a wanted offset is
///   [`SourceError::OutOfRange`]; one that is not the log they were read from gives nothing but
///   [`SourceError::MadeAnew`].
/// - Each call has a deadline and ends; several may run at the same time, bounded in memory all together.
/// - Records share no memory with those that lie between them.
pub trait Recall: Send + Sync + 'static {
    /// Reads records of one shard again.
    fn recall(&self, wanted: Wanted) -> BoxFuture<'_, Result<Recalled, SourceError>>;

    /// Nothing is wanted for now: connections may be let go until the next call. Does not wait.
    fn rest(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Origin;

    #[test]
    fn what_is_met_after_enough_decides_nothing() {
        let id = Arc::new(ShardId::new("orders", 0));
        let offsets = [3, 5, 8, 9].map(Offset).to_vec();
        let wanted = Wanted { shard: ShardIndex(2), id, log: None, offsets, bytes: 1 };
        let mut search = Search::new(&wanted);
        for offset in (4..20).map(Offset) {
            search.meet(offset, |shard, arena| {
                let origin = Origin { shard, offset, timestamp: 0 };
                arena.record(origin, None, Some(b"value"), std::iter::empty())
            });
        }
        let found = search.found();
        let given: Vec<_> = found.records.iter().map(|record| record.offset.0).collect();
        assert_eq!((given, found.up_to), (vec![5], Offset(8)), "3 is gone, 8 is for the next call");
    }
}
