//! Spilled records come back: read again through a door of their own, in order, before their lane runs dry.
//!
//! What is read again is debited and waits for no gate: it may take a quarter of the budget, shared by the lanes that
//! have a tail, so it never waits for the very records that it would let go. One read is under way for each shard, for
//! all its lanes together. What one shard gives before what another owes stands before it in the same lane waits in
//! [`Spilling::ahead`]. A read that fails is repeated, visibly; what the log has dropped meanwhile is complete as gone.
//! Up: [`super::spill`].
//!
//! [`Spilling::ahead`]: super::spill::Spilling

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use keyweir_contract::policy::Limits;
use keyweir_core::{LaneId, Offset, ShardId, ShardIndex};
use tokio::time::Instant;

use super::Pump;
use super::desk::Job;
use super::dispatch::{Answer, Work};
use super::owed::WRITE_AGAIN;
use super::reading::DEFAULT_ROUTE;
use super::task::{Task, Ticket};
use crate::error_chain;
use crate::ports::{Handler, Reader, Recalled, SourceError, Wanted};
use crate::record::Record;

/// The part of the budget for what is read again: one in so many.
const RECALL_PART: u64 = 4;

/// What one read may bring at least.
const LEAST_BYTES: u64 = 64 << 10;

/// How long nothing is spilled before the way to the log is given up.
const REST_AFTER: Duration = Duration::from_secs(30);

/// What trouble with reading again is about.
pub(super) fn about(id: &ShardId) -> String {
    format!("recall/{id}")
}

/// A shard's read of spilled records.
#[derive(Debug, Default)]
pub(super) struct Recalling {
    /// Which read counts; those before it were of records that are forgotten.
    round: u64,
    under_way: bool,
    not_before: Option<Instant>,
}

impl Recalling {
    fn may_begin(&self, now: Instant) -> bool {
        !self.under_way && self.not_before.is_none_or(|at| at <= now)
    }

    fn begin(&mut self) -> u64 {
        self.under_way = true;
        self.round += 1;
        self.round
    }

    fn end(&mut self, not_before: Option<Instant>) {
        (self.under_way, self.not_before) = (false, not_before);
    }

    /// What is under way means nothing any more.
    pub(super) fn forget(&mut self) {
        self.round += 1;
        self.end(None);
    }
}

/// What was asked for in one read.
pub(super) struct Asked {
    pub(super) index: ShardIndex,
    id: Arc<ShardId>,
    round: u64,
    offsets: Vec<Offset>,
}

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// How many loaded records a lane with a tail is to have.
    pub(super) fn kept(&self) -> usize {
        let Limits { records, bytes, records_per_key, .. } = self.live.execution.limits;
        let lanes = RECALL_PART * self.lanes.tailed().max(1) as u64;
        let part = (records / lanes).min(bytes.get() / lanes / self.spilling.mean.max(1));
        usize::try_from(records_per_key.min(part)).unwrap_or(usize::MAX).max(1)
    }

    /// Loads what can be loaded, and reads again what lanes soon need.
    pub(super) fn recall(&mut self) {
        if self.lanes.tailed() == 0 {
            return;
        }
        self.place();
        let kept = self.kept();
        self.lanes.set_few(kept / 2);
        let mut wanted: BTreeMap<ShardIndex, Vec<Offset>> = BTreeMap::new();
        for tail in self.lanes.tails().filter(|tail| tail.loaded <= kept / 2) {
            for spilled in tail.spilled.iter().take(kept - tail.loaded) {
                if !self.spilling.ahead.contains_key(&(spilled.shard, spilled.offset)) {
                    wanted.entry(spilled.shard).or_default().push(spilled.offset);
                }
            }
        }
        let shards = wanted.len().max(1) as u64;
        let bytes = (self.live.execution.limits.bytes.get() / RECALL_PART / shards).max(LEAST_BYTES);
        for (index, offsets) in wanted {
            self.read_again(index, offsets, usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }

    fn read_again(&mut self, index: ShardIndex, mut offsets: Vec<Offset>, bytes: usize) {
        let now = self.now;
        let Some(recall) = self.ports.recall.clone() else { return };
        let Some(shard) =
            self.shard(index).filter(|shard| shard.is_active() && shard.recalling.may_begin(now))
        else {
            return;
        };
        let (id, round) = (Arc::clone(&shard.id), shard.recalling.begin());
        let log = shard.log().map(str::to_owned);
        self.recalled_at = Some(now);
        offsets.sort_unstable();
        let asked = Asked { index, id: Arc::clone(&id), round, offsets: offsets.clone() };
        let job = async move {
            let found = recall.recall(Wanted { shard: index, id, log, offsets, bytes }).await;
            Job::Recalled { asked, found }
        };
        self.desk.push(job.boxed());
    }

    /// Records were read again, or not.
    pub(super) fn recalled(&mut self, asked: Asked, found: Result<Recalled, SourceError>) {
        let (now, index) = (self.now, asked.index);
        let counts = |shard: &&mut super::Shard| {
            Arc::ptr_eq(&shard.id, &asked.id) && shard.recalling.round == asked.round
        };
        let Some(shard) = self.shard(index).filter(counts) else { return };
        let about = about(&asked.id);
        match found {
            Ok(Recalled { records, up_to }) => {
                // Whoever has decided nothing is asked again, but not at once.
                let decided = asked.offsets.first().is_some_and(|first| *first < up_to);
                shard.recalling.end((!decided).then_some(now + WRITE_AGAIN));
                self.recovered(&about);
                self.load(asked, records, up_to);
                self.recall();
            }
            Err(error) => {
                shard.recalling.end(Some(now + WRITE_AGAIN));
                self.trouble(&about, error.reason(), error_chain(&error));
            }
        }
    }

    fn load(&mut self, asked: Asked, records: Vec<Record>, up_to: Offset) {
        let Asked { index, id, mut offsets, .. } = asked;
        offsets.retain(|offset| {
            *offset < up_to && records.binary_search_by_key(offset, |record| record.offset).is_err()
        });
        self.counters.recalled += records.len() as u64;
        for record in records {
            self.budget.debit(index, record.weight() as u64);
            self.spilling.saw(&record);
            self.spilling.ahead.insert((index, record.offset), record);
        }
        if let (Some(first), Some(last)) = (offsets.first(), offsets.last()) {
            tracing::warn!(shard = %id, %first, %last, records = offsets.len(),
                "the log has dropped records that waited for others of their key: they are complete as gone");
            self.observe_gone(index, &offsets);
            let gone = self.complete_spilled(index, |offset| offsets.binary_search(&offset).is_ok()) as u64;
            self.counters.gone += gone;
            self.counters.completed += gone;
        }
    }

    /// Tells hooks of spilled records that are gone.
    fn observe_gone(&mut self, index: ShardIndex, offsets: &[Offset]) {
        if !self.hooks.are_there() {
            return;
        }
        let Some(shard) = self.shard(index) else { return };
        let (id, fence) = (Arc::clone(&shard.id), shard.fence);
        let Self { lanes, hooks, .. } = self;
        for tail in lanes.tails() {
            let of_shard = tail.spilled.iter().filter(|spilled| spilled.shard == index);
            for spilled in of_shard.filter(|spilled| offsets.binary_search(&spilled.offset).is_ok()) {
                let key = lanes.key(tail.lane);
                hooks.tell(|observer| observer.gone(&id, fence, key, spilled.offset));
            }
        }
    }

    /// Puts into their lanes what is loaded and stands first in a tail.
    fn place(&mut self) {
        if self.spilling.ahead.is_empty() {
            return;
        }
        let lanes: Vec<LaneId> = self.lanes.tails().map(|tail| tail.lane).collect();
        for lane in lanes {
            while let Some(first) = self.lanes.first_spilled(lane)
                && let Some(record) = self.spilling.ahead.remove(&(first.shard, first.offset))
            {
                self.refill(lane, Ticket::Charged(first.seq), record);
            }
        }
    }

    /// Reads a record as it was read when it was spilled, but for what has become of its key since.
    fn refill(&mut self, lane: LaneId, ticket: Ticket, record: Record) {
        let Some(shard) = self.shard(record.shard) else { return };
        shard.spilled -= 1;
        let failed = shard.failed.get(&record.offset).map_or(0, |failed| failed.attempts.0);
        let (route, unfit) = if self.reading.is_plain() {
            (DEFAULT_ROUTE, None)
        } else {
            let key = self.lanes.key(lane).map(<[u8]>::to_vec);
            self.look_at(&record, ticket, key.as_deref())
        };
        let task = Task { record, ticket, failed, alone: false, unfit: unfit.map(Box::new) };
        self.lanes.refill(lane, route, task);
    }

    /// Gives the way to the log up when nothing was spilled for long.
    pub(super) fn rest_from_recalls(&mut self) {
        let rests = |at: Instant| self.lanes.tailed() == 0 && at + REST_AFTER <= self.now;
        if self.recalled_at.is_some_and(rests) {
            self.recalled_at = None;
            if let Some(recall) = &self.ports.recall {
                recall.rest();
            }
        }
    }
}
