//! What gives room where the budget keeps keys waiting: the contents of records that stand far behind in their lanes.
//!
//! ```text
//!  a full budget starves permits or a shard  ─▶ lanes beyond their depth: their last records keep their places only
//!  a record comes for such a lane            ─▶ spilled at once, behind them
//!  the lane's loaded records get few         ─▶ read again (recall.rs), a quarter of the budget for all of them
//!  none is spilled any more                  ─▶ a lane like any other
//! ```
//! So a slow or hot key holds no more than its depth of the budget, and the other keys behind it are read. What is
//! spilled is read twice: so nothing is while there is room, nor while all permits are taken, since a full budget then
//! costs nobody anything; but for a shard that is set aside, which would not be read. A lane keeps `limits.recordsPerKey`
//! records, or a sixteenth of the budget where that is less; fewer where many permits stand idle, or some for long. While
//! the budget turns over within seconds, each key behind it is read soon anyway: then only lanes spill that are much
//! longer than the others.
//! Spilled records are charged in the ledger and incomplete: who gives the shard up forgets them. How many there are is
//! bounded as well: beyond that their shard is held back, visibly. Up: [`super`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keyweir_contract::policy::{Limits, Ordering};
use keyweir_core::{Offset, Route, Seq, ShardIndex, Spilled, lanes::Spot};
use tokio::time::Instant;

use super::dispatch::{Answer, Work};
use super::gate::Admission;
use super::{Activity, Pump};
use crate::ports::{Handler, Reader};
use crate::record::Record;

/// A lane's part of the budget while that is short: one in so many.
const LANE_PART: u64 = 16;

/// What a spilled record costs, its place in the ledger included.
const PLACE_BYTES: u64 = 48;

/// Places may always take so many bytes, however small the budget is.
const LEAST_FOR_PLACES: u64 = 16 << 20;

/// Permits stand idle for long after so many ticks.
const LONG: u32 = 10;

/// The budget turns over slowly when what is held takes longer than this to complete.
const SLOW: Duration = Duration::from_secs(15);

/// Over how long completions are counted for that: a machine that stands still for a moment is not slow.
const PACE: Duration = Duration::from_secs(3);

/// How many times the average makes a lane much longer than the others.
const LONG_LANE: usize = 8;

/// How many lanes are looked through at a tick.
const LANES_A_TICK: usize = 20_000;

/// Whose records are spilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    All,
    /// Those of shards that the budget has set aside.
    SetAside,
}

/// Records of lanes with a tail, and what is known of them.
#[derive(Debug, Default)]
pub(super) struct Spilling {
    /// Loaded already, and not first in their tail yet.
    pub(super) ahead: BTreeMap<(ShardIndex, Offset), Record>,
    /// About how many bytes one has: large ones are believed at once, small ones slowly.
    pub(super) mean: u64,
    /// For how many ticks on end permits have been idle while the budget was short.
    starving: u32,
    turnover: Turnover,
}

/// How soon what is held completes, from when the budget is short first: how a source begins says nothing of that.
#[derive(Debug, Default)]
struct Turnover {
    /// When completions were last looked at, and how many there were.
    seen: Option<(Instant, u64)>,
    is_slow: bool,
}

impl Turnover {
    fn look(&mut self, now: Instant, short: bool, completed: u64, held: u64) {
        if self.seen.is_none() && !short {
            return;
        }
        let (at, before) = *self.seen.get_or_insert((now, completed));
        let passed = now.duration_since(at);
        if passed >= PACE {
            let within = u128::from(completed - before) * SLOW.as_millis();
            self.is_slow = within < u128::from(held) * passed.as_millis();
            self.seen = Some((now, completed));
        }
    }
}

impl Spilling {
    pub(super) fn saw(&mut self, record: &Record) {
        let weight = record.weight() as u64;
        self.mean = weight.max((self.mean * 7 + weight) / 8);
    }
}

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// Gives contents back where the budget keeps others waiting. Where a shard is a single lane nothing stands behind it that
    /// could run, and what can't be read again is kept.
    pub(super) fn spill(&mut self) {
        let may = self.ports.recall.is_some() && self.fixed.ordering == Ordering::Key;
        let runs = self.activity == Activity::Running && self.drain_until.is_none();
        let turn = self.ticks.is_multiple_of(1 + (self.lanes.keys() / LANES_A_TICK) as u32);
        if !may || !runs || !turn {
            return;
        }
        let (short, held) = (self.is_short(), self.budget.held().records);
        self.spilling.turnover.look(self.now, short, self.counters.completed, held);
        let least = self.least_depth();
        let mut depth = self.depth().max(least);
        let idle = if self.is_short() { self.starved_permits() } else { 0 };
        self.spilling.starving = if idle > 0 { self.spilling.starving + 1 } else { 0 };
        if idle == 0 {
            return self.spill_beyond(depth, Whose::SetAside);
        }
        let many_or_long = idle * 8 >= self.limits.concurrency || self.spilling.starving > LONG;
        self.spill_beyond(depth, Whose::All);
        while self.is_short() && many_or_long && depth > least {
            depth = (depth / 2).max(least);
            self.spill_beyond(depth, Whose::All);
        }
    }

    fn is_short(&self) -> bool {
        self.budget.intake() == keyweir_core::Intake::Stop
    }

    /// How many records a lane keeps while the budget is short.
    fn depth(&self) -> usize {
        let Limits { records, bytes, records_per_key, .. } = self.live.execution.limits;
        let held = self.budget.held();
        let mean = (held.bytes / held.records.max(1)).max(1);
        let part = (records / LANE_PART).min(bytes.get() / LANE_PART / mean);
        usize::try_from(records_per_key.min(part)).unwrap_or(usize::MAX).max(1)
    }

    /// How many records a lane keeps whatever happens.
    fn least_depth(&self) -> usize {
        let average = self.lanes.records() / self.lanes.keys().max(1);
        if self.spilling.turnover.is_slow { 1 } else { (LONG_LANE * average).max(1) }
    }

    fn spill_beyond(&mut self, depth: usize, whose: Whose) {
        let Self { lanes, budget, shards, spilling, counters, .. } = self;
        let aside: Vec<bool> =
            (0..shards.len()).map(|index| budget.over_share(ShardIndex(index as u32))).collect();
        if whose == Whose::SetAside && !aside.contains(&true) {
            return;
        }
        lanes.spill_beyond(
            depth,
            |task| task.place().filter(|place| whose == Whose::All || aside[place.shard.as_usize()]),
            |task| {
                let index = task.record.shard;
                budget.refund(index, task.record.weight() as u64);
                spilling.saw(&task.record);
                counters.spilled += 1;
                if let Some(Some(shard)) = shards.get_mut(index.as_usize()) {
                    shard.spilled += 1;
                }
            },
        );
    }

    /// How many permits have nothing to run.
    fn starved_permits(&self) -> usize {
        let has_nothing = |route: usize| {
            self.gates[route].admits(self.now) == Admission::All && !self.lanes.has_ready(route as Route)
        };
        if (0..self.gates.len()).any(has_nothing) { self.idle_permits() } else { 0 }
    }

    /// Queues a record behind spilled ones of its lane. Its content is kept where the lane has nearly caught up: else
    /// it would never come to its end.
    #[cold]
    pub(super) fn spill_read(&mut self, spot: Spot, seq: Seq, record: Record) {
        let (shard, offset) = (record.shard, record.offset);
        self.counters.spilled += 1;
        self.spilling.saw(&record);
        if !self.is_short() && self.lanes.length(&spot) < self.kept() {
            self.spilling.ahead.insert((shard, offset), record);
        } else {
            self.budget.refund(shard, record.weight() as u64);
        }
        self.lanes.push_spilled(spot, Spilled { shard, offset, seq });
        let Some(of) = self.shard(shard) else { return };
        of.spilled += 1;
        let (spilled, held_back) = (of.spilled, of.held_back);
        if !held_back && self.has_spilled_too_many(spilled, held_back) {
            self.balance(shard);
        }
    }

    /// Whether a shard has more spilled records than its part of what may be spilled.
    pub(super) fn has_spilled_too_many(&self, spilled: usize, held_back: bool) -> bool {
        let places = self.live.execution.limits.bytes.get().max(LEAST_FOR_PLACES) / PLACE_BYTES;
        let most = usize::try_from(places).unwrap_or(usize::MAX) / if held_back { 2 } else { 1 };
        self.lanes.spilled() > most && spilled > most / self.shards.iter().flatten().count().max(1)
    }

    /// Completes records that are spilled, without their contents; gives how many.
    pub(super) fn complete_spilled(&mut self, index: ShardIndex, which: impl Fn(Offset) -> bool) -> usize {
        let now = self.now;
        let removed = self.lanes.remove_spilled(|spilled| spilled.shard == index && which(spilled.offset));
        for spilled in &removed {
            self.drop_ahead(index, spilled.offset);
            let Some(shard) = self.shard(index) else { continue };
            shard.ledger.complete(spilled.seq);
            shard.failed.remove(&spilled.offset);
            shard.spilled -= 1;
            // What is being read again may be one of them.
            shard.recalling.forget();
            shard.touch(now);
        }
        removed.len()
    }

    fn drop_ahead(&mut self, index: ShardIndex, offset: Offset) {
        if let Some(record) = self.spilling.ahead.remove(&(index, offset)) {
            self.budget.refund(index, record.weight() as u64);
        }
    }

    /// A shard is no longer read: its spilled records are incomplete in the ledger, and that is all.
    pub(super) fn forget_spilled(&mut self, index: ShardIndex) {
        self.lanes.remove_spilled(|spilled| spilled.shard == index);
        let of_shard = (index, Offset(i64::MIN))..=(index, Offset(i64::MAX));
        let ahead: Vec<Offset> =
            self.spilling.ahead.range(of_shard).map(|((_, offset), _)| *offset).collect();
        ahead.into_iter().for_each(|offset| self.drop_ahead(index, offset));
        let Some(shard) = self.shard(index) else { return };
        shard.spilled = 0;
        shard.recalling.forget();
        let about = super::recall::about(&shard.id);
        self.recovered(&about);
    }
}
