//! Keys that stand behind a parked record: what follows it is parked too, in order, until a person lets it go.
//!
//! ```text
//!   parked, and blocks its key ─▶ blocked: what waits or comes of the key is parked as well (Unfit::Behind)
//!   released ─▶ one after the other is handled again, each copy removed before the next one begins
//!   none left ─▶ the key's lane is held while what was just being parked is looked for ─▶ free
//! ```
//! The store is the truth: a new owner of the shard asks it for blocked keys before it reads a record. A release that
//! is cut short (a stop, a move, another failure) leaves the rest parked, in order, and can be asked for again.

mod lookup;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use keyweir_contract::policy::ExhaustedAction;
use keyweir_core::{LaneId, LaneKey, Offset, ShardId, ShardIndex};

use super::Pump;
use super::command::{Fate, Replay};
use super::desk::{Job, Tenure, WriteFailure};
use super::dispatch::{Answer, Work};
use super::owed::WRITE_AGAIN;
use super::reading::Unfit;
use super::shard::Phase;
use super::task::{Task, Ticket};
use crate::outcome::Failure;
use crate::ports::{BlockedKey, Handler, ParkedError, ParkedId, ParkedRecord, ParkedStore, Reader};
use crate::record::Record;

/// A key that stands behind a parked record.
pub(super) struct Blocked {
    /// The first of its parked records.
    first: Offset,
    /// Its records are being handled again.
    release: Option<Release>,
}

/// How far a key's parked records have been handled again.
struct Release {
    /// The one that is queued or handled.
    current: Option<Offset>,
    /// All up to there are through.
    after: Offset,
    /// Those that came through, ascending.
    through: Vec<Offset>,
    /// The key's lane, held while the last ones are looked for.
    held: Option<LaneId>,
}

impl Release {
    fn is_through(&self, offset: Offset) -> bool {
        self.through.binary_search(&offset).is_ok()
    }
}

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// Whether keys may stand behind parked records.
    pub(super) fn learns(&self) -> bool {
        self.reading.parks_in_order() && self.ports.parked.is_some()
    }

    /// Asks the store which keys of a shard are blocked; `ended` are records that then have ended elsewhere.
    pub(super) fn learn(&mut self, index: ShardIndex, ended: Vec<(Offset, Fate)>, pause: Duration) {
        let Some((parked, tenure, id)) = self.store_of(index) else {
            return;
        };
        let job = async move {
            tokio::time::sleep(pause).await;
            let found = lookup::firsts(parked.as_ref(), &id).await;
            Job::Learned { tenure, ended, found: found.map_err(|error| unread(&error)) }
        };
        self.desk.push(job.boxed());
    }

    /// The store has said which keys are blocked: what waits of them is marked, then the shard goes on.
    pub(super) fn learned(
        &mut self,
        tenure: Tenure,
        ended: Vec<(Offset, Fate)>,
        found: Result<Vec<(BlockedKey, Offset)>, WriteFailure>,
    ) {
        let index = tenure.index;
        if !self.is_tenure(tenure) {
            return;
        }
        match found {
            Ok(firsts) => {
                self.note_read();
                for (key, first) in firsts {
                    self.block_key(index, key, first);
                }
                if self.shard(index).is_some_and(|shard| matches!(shard.phase, Phase::Learning)) {
                    self.activate(index);
                }
                self.end_elsewhere(index, ended);
            }
            Err(failure) => {
                self.trouble(&failure.about, failure.reason, failure.text);
                self.learn(index, ended, WRITE_AGAIN);
            }
        }
    }

    /// The copy of a lane's head is durable: its key stands behind it, where it blocks one.
    pub(super) fn block(&mut self, lane: LaneId, copy: ParkedRecord) -> Option<(ShardIndex, BlockedKey)> {
        let index = self.lanes.head(lane)?.record.shard;
        let key = copy.blocks?;
        self.block_key(index, key.clone(), copy.id.offset);
        Some((index, key))
    }

    fn block_key(&mut self, index: ShardIndex, key: BlockedKey, first: Offset) {
        let Some(shard) = self.shard(index) else {
            return;
        };
        if let Some(blocked) = shard.blocked.get_mut(&key) {
            blocked.first = blocked.first.min(first);
            return;
        }
        shard.blocked.insert(key.clone(), Blocked { first, release: None });
        self.each_waiting(index, &key, |task| {
            let itself = task.unfit.take();
            task.unfit = Some(Box::new(Unfit::Behind { first, itself }));
        });
    }

    /// Shows what waits in the lane of a key and is of that shard.
    fn each_waiting(&mut self, index: ShardIndex, key: &BlockedKey, mut show: impl FnMut(&mut Task)) {
        let Some(lane) = self.hold_key(index, key) else {
            return;
        };
        self.lanes.each_mut(lane, |task| {
            if task.record.shard == index && matches!(task.ticket, Ticket::Charged(_)) {
                show(task);
            }
        });
        self.lanes.release(lane);
    }

    fn hold_key(&mut self, index: ShardIndex, key: &BlockedKey) -> Option<LaneId> {
        let stream = self.shard(index)?.stream;
        Some(match key {
            BlockedKey::Key(key) => self.lanes.hold(LaneKey::Key { stream, key }),
            BlockedKey::Shard => self.lanes.hold(LaneKey::Shard(index)),
        })
    }

    /// The first parked record of a record's key, where the record is not before it: what is before it was complete
    /// when that one was parked, is read again after a crash, and may be handled again.
    pub(super) fn first_parked(&self, record: &Record, key: Option<&[u8]>) -> Option<Offset> {
        let shard = self.shards.get(record.shard.as_usize())?.as_ref()?;
        if shard.blocked.is_empty() {
            return None;
        }
        let first = shard.blocked.get(&self.reading.blocked_key(key)?)?.first;
        (record.offset >= first).then_some(first)
    }

    /// What a record that is being parked blocks.
    pub(super) fn blocks(&self, lane: LaneId, task: &Task) -> Option<BlockedKey> {
        let (key, _) = self.release_of(task).unzip();
        key.or_else(|| self.reading.blocked_key(self.lanes.key(lane)))
    }

    /// Why and how the head of a lane follows a parked record; `None` = it is that record, or one that is through
    /// already, read again after a crash: its copy was durable, so it is complete.
    pub(super) fn behind(&mut self, lane: LaneId, first: Offset) -> Option<(Failure, ExhaustedAction)> {
        let task = self.lanes.head(lane)?;
        let (index, offset) = (task.record.shard, task.record.offset);
        let key = self.reading.blocked_key(self.lanes.key(lane));
        let release = key.and_then(|key| self.release_mut(index, &key));
        if offset == first || release.is_some_and(|release| release.is_through(offset)) {
            self.finish(lane);
            return None;
        }
        let shard = Arc::clone(&self.shard(index)?.id);
        let failure = Failure::new("BehindParked", format!("{shard}@{first} of its key is parked"));
        Some((failure, ExhaustedAction::Park { blocks_key: true }))
    }

    /// Handles the parked records of a key again from `offset` on, or behind it where that one is `gone`; `None` = the
    /// key is not blocked.
    pub(super) fn release_key(
        &mut self,
        index: ShardIndex,
        key: &BlockedKey,
        offset: Offset,
        gone: Option<Offset>,
    ) -> Option<Replay> {
        let shard = self.shard(index)?;
        let id = ParkedId { shard: (*shard.id).clone(), offset };
        let blocked = shard.blocked.get_mut(key)?;
        if blocked.release.is_some() {
            return Some(Replay::InOrder);
        }
        if blocked.first != offset {
            return Some(Replay::After(ParkedId { offset: blocked.first, ..id }));
        }
        let after = gone.unwrap_or(Offset(offset.0 - 1));
        blocked.release = Some(Release { current: None, after, through: Vec::new(), held: None });
        self.look_behind(index, key.clone(), None, Duration::ZERO);
        Some(Replay::InOrder)
    }

    /// Somebody has forgotten a record that blocked its key.
    pub(super) fn skipped(&mut self, id: &ParkedId, key: &BlockedKey) -> Replay {
        let released = self
            .find_active(&id.shard)
            .and_then(|index| self.release_key(index, key, id.offset, Some(id.offset)));
        released.unwrap_or(Replay::NotOwned)
    }

    /// Looks for the next parked record of a key that is being released, after forgetting what is `done`.
    fn look_behind(&mut self, index: ShardIndex, key: BlockedKey, done: Option<Offset>, pause: Duration) {
        let release = self.shard(index).and_then(|shard| shard.blocked.get(&key)?.release.as_ref());
        let Some(after) = release.map(|release| release.after) else {
            return;
        };
        let Some((parked, tenure, id)) = self.store_of(index) else {
            return;
        };
        let job = async move {
            tokio::time::sleep(pause).await;
            let found = lookup::forget_and_find(parked.as_ref(), &id, &key, done, after).await;
            let found = found.map(|found| found.map(Box::new)).map_err(|error| unread(&error));
            Job::NextBehind { tenure, key, done, found }
        };
        self.desk.push(job.boxed());
    }

    /// The next parked record of a key that is being released was found, or there is none.
    pub(super) fn next_behind(
        &mut self,
        tenure: Tenure,
        key: BlockedKey,
        done: Option<Offset>,
        found: Result<Option<Box<ParkedRecord>>, WriteFailure>,
    ) {
        let index = tenure.index;
        if !self.is_tenure(tenure) || self.release_mut(index, &key).is_none() {
            return;
        }
        match found {
            Err(failure) => {
                self.trouble(&failure.about, failure.reason, failure.text);
                self.look_behind(index, key, done, WRITE_AGAIN);
            }
            Ok(Some(next)) => {
                self.note_read();
                let offset = next.id.offset;
                if let Some(blocked) = self.shard(index).and_then(|shard| shard.blocked.get_mut(&key)) {
                    blocked.first = offset;
                }
                if let Some(release) = self.release_mut(index, &key) {
                    (release.current, release.after) = (Some(offset), offset);
                    release.through.push(offset);
                }
                self.queue_parked(index, &next);
            }
            Ok(None) => {
                self.note_read();
                self.none_behind(index, &key);
            }
        }
    }

    /// Nothing of the key is parked. What is being parked at this moment still has to be waited for.
    fn none_behind(&mut self, index: ShardIndex, key: &BlockedKey) {
        if self.release_mut(index, key).is_some_and(|release| release.held.is_none()) {
            let held = self.hold_key(index, key);
            if let Some(release) = self.release_mut(index, key) {
                release.held = held;
            }
        }
        let held = self.release_mut(index, key).and_then(|release| release.held);
        let being_parked = held.is_some_and(|lane| self.is_being_parked(lane, index));
        if !being_parked {
            self.free(index, key);
        }
    }

    fn is_being_parked(&self, lane: LaneId, index: ShardIndex) -> bool {
        self.owed.is_due(lane) && self.lanes.head(lane).is_some_and(|task| task.record.shard == index)
    }

    /// A record was parked whose key is held for its last ones: it is one of them.
    pub(super) fn look_behind_held(&mut self, index: ShardIndex, key: &BlockedKey) {
        let waits = |release: &mut Release| release.held.is_some() && release.current.is_none();
        if self.release_mut(index, key).is_some_and(waits) {
            self.look_behind(index, key.clone(), None, Duration::ZERO);
        }
    }

    /// The key stands behind nothing any more.
    fn free(&mut self, index: ShardIndex, key: &BlockedKey) {
        let through = self.release_mut(index, key).map(|release| std::mem::take(&mut release.through));
        let through = through.unwrap_or_default();
        if !through.is_empty() {
            let done = self.complete_spilled(index, |offset| through.binary_search(&offset).is_ok());
            self.counters.completed += done as u64;
        }
        self.each_waiting(index, key, |task| {
            let offset = task.record.offset;
            match task.unfit.as_deref_mut() {
                // Read again after a crash, and through already: nothing is left to do.
                Some(Unfit::Behind { first, .. }) if through.binary_search(&offset).is_ok() => {
                    *first = offset
                }
                Some(Unfit::Behind { itself, .. }) => task.unfit = itself.take(),
                _ => {}
            }
        });
        let blocked = self.shard(index).and_then(|shard| shard.blocked.remove(key));
        if let Some(held) = blocked.and_then(|blocked| blocked.release?.held) {
            self.lanes.release(held);
        }
    }

    /// A record that was queued again has ended; `false` = not as one of a key that is being released.
    pub(super) fn replayed_in_order(&mut self, task: &Task, done: bool) -> bool {
        let Some((key, offset)) = self.release_of(task) else {
            return false;
        };
        let index = task.record.shard;
        if let Some(release) = self.release_mut(index, &key) {
            release.current = None;
        }
        if done {
            self.look_behind(index, key, Some(offset), Duration::ZERO);
        } else {
            // It stays parked, and so do those behind it.
            self.end_release(index, &key);
        }
        true
    }

    /// Whether a record that is queued again is the next one of a key that is being released.
    pub(super) fn is_next_of_its_key(&self, record: &Record) -> bool {
        self.current(record.shard, record.offset).is_some()
    }

    fn release_of(&self, task: &Task) -> Option<(BlockedKey, Offset)> {
        let replayed = task.ticket == Ticket::Replayed;
        let key = replayed.then(|| self.current(task.record.shard, task.record.offset)).flatten()?;
        Some((key, task.record.offset))
    }

    /// The key whose release has come to that record.
    fn current(&self, index: ShardIndex, offset: Offset) -> Option<BlockedKey> {
        let shard = self.shards.get(index.as_usize())?.as_ref()?;
        let mut keys = shard.blocked.iter();
        let is_current = |blocked: &Blocked| {
            blocked.release.as_ref().is_some_and(|release| release.current == Some(offset))
        };
        keys.find(|(_, blocked)| is_current(blocked)).map(|(key, _)| key.clone())
    }

    fn release_mut(&mut self, index: ShardIndex, key: &BlockedKey) -> Option<&mut Release> {
        self.shard(index)?.blocked.get_mut(key)?.release.as_mut()
    }

    fn end_release(&mut self, index: ShardIndex, key: &BlockedKey) {
        let release = self.shard(index).and_then(|shard| shard.blocked.get_mut(key)?.release.take());
        if let Some(held) = release.and_then(|release| release.held) {
            self.lanes.release(held);
        }
    }

    /// Nothing of the shard starts any more: releases end where they are.
    pub(super) fn end_key_releases(&mut self, index: ShardIndex) {
        let keys: Vec<BlockedKey> =
            self.shard(index).map(|shard| shard.blocked.keys().cloned().collect()).unwrap_or_default();
        for key in keys {
            self.end_release(index, &key);
        }
    }

    fn store_of(&mut self, index: ShardIndex) -> Option<(Arc<dyn ParkedStore>, Tenure, Arc<ShardId>)> {
        let parked = self.ports.parked.clone()?;
        let shard = self.shard(index)?;
        Some((parked, Tenure { index, fence: shard.fence }, Arc::clone(&shard.id)))
    }

    fn is_tenure(&mut self, tenure: Tenure) -> bool {
        let now = self.shard(tenure.index);
        now.is_some_and(|shard| {
            shard.fence == tenure.fence && !matches!(shard.phase, Phase::HandedOver | Phase::Closing { .. })
        })
    }

    fn note_read(&mut self) {
        self.recovered("parked");
    }
}

fn unread(error: &ParkedError) -> WriteFailure {
    WriteFailure::new("parked", "ParkFailed", error)
}
