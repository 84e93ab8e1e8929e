//! Records that still execute at an earlier owner of their shard: held here until their outcome is known.
//!
//! A record with a key holds its key's lane; one that is ordered by its partition holds the partition's lane; one
//! without an order is only held itself.

use std::sync::Arc;
use std::time::Duration;

use keyweir_core::{LaneId, LaneKey, Offset, Seq, ShardId, ShardIndex};

use super::Pump;
use super::command::Fate;
use super::dispatch::{Answer, Work};
use super::task::Ticket;
use crate::ports::{Handler, Reader};
use crate::record::Record;

/// How a record that executes elsewhere is held.
#[derive(Debug)]
pub(super) enum Held {
    /// Its lane is.
    Lane(LaneId),
    /// It has no order and was not read here yet.
    Unread,
    /// It has no order, and was read here meanwhile.
    Read(Box<Record>, Seq),
}

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// Holds what still executes at the old owner.
    pub(super) fn hold_executing(
        &mut self,
        index: ShardIndex,
        stream: u16,
        executing: &[(Offset, Option<Vec<u8>>)],
    ) {
        for (offset, key) in executing {
            let held = match (key.as_deref(), self.reading.orders_by_shard()) {
                (Some(key), _) => Held::Lane(self.lanes.hold(LaneKey::Key { stream, key })),
                (None, true) => Held::Lane(self.lanes.hold(LaneKey::Shard(index))),
                (None, false) => Held::Unread,
            };
            if let Some(shard) = self.shard(index) {
                shard.elsewhere.insert(*offset, held);
            }
        }
    }

    /// Keeps a record aside that is being read while it executes elsewhere; gives it back if it need not be.
    #[inline]
    pub(super) fn keep_aside(&mut self, record: Record, seq: Seq) -> Option<Record> {
        let Some(shard) = self.shard(record.shard).filter(|shard| !shard.elsewhere.is_empty()) else {
            return Some(record);
        };
        let Some(held @ Held::Unread) = shard.elsewhere.get_mut(&record.offset) else {
            return Some(record);
        };
        *held = Held::Read(Box::new(record), seq);
        None
    }

    /// Records that executed elsewhere have ended there: complete, or to be handled here. One that is complete may
    /// have been parked there and block its key: that is looked up before its key goes on.
    pub(super) fn ended_elsewhere(&mut self, id: &ShardId, records: Vec<(Offset, Fate)>) {
        let Some(index) = self.find(id) else {
            return;
        };
        if self.learns() && records.iter().any(|(_, fate)| *fate == Fate::Complete) {
            self.learn(index, records, Duration::ZERO);
        } else {
            self.end_elsewhere(index, records);
        }
    }

    pub(super) fn end_elsewhere(&mut self, index: ShardIndex, records: Vec<(Offset, Fate)>) {
        for (offset, fate) in records {
            let now = self.now;
            let Some(shard) = self.shard(index) else {
                return;
            };
            let held = shard.elsewhere.remove(&offset);
            match fate {
                Fate::Complete => {
                    shard.failed.remove(&offset);
                    shard.touch(now);
                    self.complete_elsewhere(index, offset, held);
                    continue;
                }
                Fate::Failed(failed) => {
                    shard.failed.insert(offset, failed);
                    shard.touch(now);
                }
                Fate::Unfinished => {}
            }
            self.handle_here(index, offset, held);
        }
    }

    /// It goes on here, with the attempts that it has had.
    fn handle_here(&mut self, index: ShardIndex, offset: Offset, held: Option<Held>) {
        let known = self.shard(index).map(|shard| {
            let failed = shard.failed.get(&offset).map_or(0, |failed| failed.attempts.0);
            (shard.stream, failed)
        });
        let Some((stream, failed)) = known else {
            return;
        };
        match held {
            Some(Held::Read(record, seq)) => self.queue(stream, Ticket::Charged(seq), failed, *record),
            Some(Held::Lane(lane)) => {
                // What executed of a key is what its lane begins with, once it was read here.
                if let Some(task) = self.lanes.head_mut(lane)
                    && task.record.shard == index
                    && task.record.offset == offset
                {
                    task.failed = failed;
                }
                self.lanes.release(lane);
            }
            Some(Held::Unread) | None => {}
        }
    }

    fn complete_elsewhere(&mut self, index: ShardIndex, offset: Offset, held: Option<Held>) {
        if let Some(Held::Read(record, seq)) = held {
            self.budget.refund(index, record.weight() as u64);
            if let Some(shard) = self.shard(index) {
                shard.ledger.complete(seq);
            }
            return;
        }
        let removed =
            self.lanes.remove_where(|task| task.record.shard == index && task.record.offset == offset);
        if removed.is_empty()
            && self.complete_spilled(index, |spilled| spilled == offset) == 0
            && let Some(shard) = self.shard(index)
        {
            // Not read yet, or to be read again after a pause.
            shard.ended_early(offset);
        }
        for task in removed {
            self.budget.refund(index, task.record.weight() as u64);
            if let Ticket::Charged(seq) = task.ticket
                && let Some(shard) = self.shard(index)
            {
                shard.ledger.complete(seq);
            }
        }
        if let Some(Held::Lane(lane)) = held {
            self.lanes.release(lane);
        }
    }

    /// What was kept aside of a shard that is no longer read; it stays held.
    pub(super) fn drop_kept_aside(&mut self, index: ShardIndex) {
        let Some(shard) = self.shard(index) else {
            return;
        };
        let mut weight = 0;
        for held in shard.elsewhere.values_mut() {
            if let Held::Read(record, _) = held {
                weight += record.weight() as u64;
                *held = Held::Unread;
            }
        }
        if weight > 0 {
            self.budget.refund(index, weight);
        }
    }

    /// A shard is forgotten: its holds go with it.
    pub(super) fn let_go_of(&mut self, held: impl Iterator<Item = Held>) {
        for held in held {
            if let Held::Lane(lane) = held {
                self.lanes.release(lane);
            }
        }
    }
}
