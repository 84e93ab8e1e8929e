//! The ledger of one shard: which of its records are complete, and below which offset all are.
//!
//! ```text
//!    complete      older: what outlived its time       recent: by arrival
//!  ────────────┬───────────────────────────────────┬────────────────────────────┬──────────────
//!              │ open ▒▒▒▒▒ open ▒▒▒ open ▒▒▒▒▒▒▒▒ │ open ▒ open open ▒ ▒ open  │ not charged
//!          frontier                                                         next offset
//! ```
//! Every offset that was read is charged, in ascending order, and completed once, in any order. Recent records are
//! found by place. When most of them are complete, the front ones move to `Older`, which keeps open ones only, so
//! that one record stuck for hours costs sixteen bytes and not those of all that passed it.
//!
//! A completed range reaches from one open record to the next and covers the gaps between them (compaction,
//! transaction markers). That is harmless: offsets arrive ascending, so no record can stand there any more.
//!
//! It knows no keys, attempts or time, and it never panics. Up: the [crate map](crate).

mod older;

use std::collections::VecDeque;

use crate::ids::{Offset, Seq};
use crate::ranges::{OffsetRange, RangeSet};
use older::{Older, Settled};

/// How many recent records may stand complete before the front ones are looked through.
const SLACK: usize = 1024;

/// How many are looked through at a time.
const BLOCK: usize = 256;

/// What became of an offset that was charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// It is outstanding until [`Ledger::complete`] with this token.
    New(Seq),
    /// The checkpoint says that it was completed before. Nothing is to be done with it.
    AlreadyComplete,
    /// It lies below what was charged: it was read twice. Nothing is to be done with it.
    Stale,
}

/// What became of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The record is complete now.
    Done,
    /// It already was. Nothing changed.
    Repeated,
    /// This ledger never gave such a token. Nothing changed.
    Unknown,
}

/// One shard's bookkeeping.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Offsets by order of arrival; a complete one is negative (`!offset`). The first one is open.
    recent: VecDeque<i64>,
    /// The token of the first of `recent`.
    first_seq: u64,
    recent_open: usize,
    older: Older,
    next: Offset,
    /// Runs of completed records that begin in `recent`. Those behind an older record are counted there.
    recent_runs: usize,
    /// What the checkpoint knew as complete, as far as it is not behind us.
    restored: VecDeque<OffsetRange>,
    changed: bool,
}

impl Ledger {
    /// A ledger of a shard that is read from here on.
    #[must_use]
    pub fn new(frontier: Offset) -> Self {
        Self { next: frontier.max(Offset::ZERO), ..Self::default() }
    }

    /// A ledger that goes on where a checkpoint was written.
    #[must_use]
    pub fn restore(frontier: Offset, completed: &RangeSet) -> Self {
        let mut ledger = Self::new(frontier);
        ledger.restored = completed.above(ledger.next).collect();
        ledger
    }

    /// Takes an offset that was read into account. Costs the same whatever lies between it and the one before.
    #[inline]
    pub fn charge(&mut self, offset: Offset) -> Charge {
        // The last offset of all is a position only: nothing could be read behind it.
        if offset < self.next || offset.0 == i64::MAX {
            return Charge::Stale;
        }
        if !self.restored.is_empty() && self.was_complete(offset) {
            self.charge_complete(offset);
            return Charge::AlreadyComplete;
        }
        if self.recent.len() > 2 * self.recent_open + SLACK {
            self.retire();
        }
        let seq = Seq(self.first_seq + self.recent.len() as u64);
        self.recent.push_back(offset.0);
        self.recent_open += 1;
        self.next = offset.next();
        Charge::New(seq)
    }

    /// Completes a charged record.
    #[inline]
    pub fn complete(&mut self, seq: Seq) -> Completion {
        let Some(place) = seq.0.checked_sub(self.first_seq) else {
            return self.complete_older(seq);
        };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        match self.recent.get_mut(place) {
            None => return Completion::Unknown,
            Some(offset) if *offset < 0 => return Completion::Repeated,
            Some(offset) => *offset = !*offset,
        }
        self.recent_open -= 1;
        self.changed = true;
        // A run that began right behind it now belongs to what stands before it.
        if self.recent.get(place + 1).is_some_and(|&offset| offset < 0) {
            self.recent_runs -= 1;
        }
        if place == 0 {
            self.pop_complete();
            self.older.follow();
        } else if self.recent[place - 1] >= 0 {
            self.recent_runs += 1;
        }
        Completion::Done
    }

    /// Takes into account that all below an offset has been delivered: nothing stands between the last charged
    /// record and it.
    pub fn advance(&mut self, to: Offset) {
        if to <= self.next {
            return;
        }
        self.next = to;
        self.forget_passed(to);
        self.changed |= self.outstanding() == 0;
    }

    /// All below is complete. It never goes back.
    #[inline]
    #[must_use]
    pub fn frontier(&self) -> Offset {
        match self.older.first().or(self.recent.front().copied()) {
            Some(offset) => Offset(offset),
            None => self.next,
        }
    }

    /// How many records are charged and not complete.
    #[inline]
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.recent_open + self.older.open()
    }

    /// Where reading goes on: behind all that was charged.
    #[inline]
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// How many entries of at most 16 bytes are kept: what this ledger costs. As reading goes on it settles at no more
    /// than two for an outstanding record, one for a range of the checkpoint, and a thousand or so.
    #[inline]
    #[must_use]
    pub fn span(&self) -> usize {
        self.recent.len() + self.older.len() + self.restored.len()
    }

    /// Whether nothing is left to be done at an offset. True for a gap below the next offset.
    #[must_use]
    pub fn is_complete(&self, offset: Offset) -> bool {
        if offset >= self.next {
            return self.restored.iter().any(|range| range.contains(offset));
        }
        let found = self.recent.binary_search_by_key(&offset.0, |&entry| plain(entry));
        !self.older.is_open(offset) && !found.is_ok_and(|place| self.recent[place] >= 0)
    }

    /// What is complete at or above the frontier, for a checkpoint. Looks at every entry that is kept.
    #[must_use]
    pub fn completed_above(&self) -> RangeSet {
        let mut completed = RangeSet::new();
        // The open record whose run is not closed yet, and whether there is a run.
        let mut last: Option<(i64, bool)> = None;
        for (offset, followed) in self.older.iter() {
            close(&mut completed, last, Offset(offset));
            last = Some((offset, followed));
        }
        for &entry in &self.recent {
            if entry >= 0 {
                close(&mut completed, last, Offset(entry));
                last = Some((entry, false));
            } else if let Some((_, followed)) = &mut last {
                *followed = true;
            }
        }
        close(&mut completed, last, self.next);
        let frontier = self.frontier();
        completed.extend(self.restored.iter().map(|range| range.from(frontier)));
        completed
    }

    /// How many bytes [`Ledger::completed_above`] takes in a checkpoint, never less than it does. Looks at no entry,
    /// so that intake can be paused on it at any time.
    #[inline]
    #[must_use]
    pub fn encoded_len_estimate(&self) -> usize {
        let ranges = (self.older.runs() + self.recent_runs + self.restored.len()) as u64;
        if ranges == 0 {
            return 0;
        }
        let end = self.restored.back().map_or(self.next, |range| range.end.max(self.next));
        // Two numbers a range, which share the width out among them. A number of b bits takes at most 1 + b/7
        // bytes, and even shares take the most.
        let numbers = 2 * ranges;
        let share = end.0.abs_diff(self.frontier().0) / numbers + 1;
        let bits = u64::from(share.ilog2()) + 1;
        usize::try_from(numbers + (numbers * bits).div_ceil(7)).unwrap_or(usize::MAX)
    }

    /// The frontier, if frontier or completed set changed since it was last taken: if there is anything to write.
    pub fn take_frontier(&mut self) -> Option<Offset> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.release_memory();
        Some(self.frontier())
    }

    /// Makes the next [`Ledger::take_frontier`] give the frontier again: what it gave was not written.
    pub fn mark_changed(&mut self) {
        self.changed = true;
    }

    fn was_complete(&mut self, offset: Offset) -> bool {
        self.forget_passed(offset);
        self.restored.front().is_some_and(|range| range.contains(offset))
    }

    fn charge_complete(&mut self, offset: Offset) {
        // Behind a complete record it is part of that one's run. With no recent record it is so too: what is older was
        // moved away because of the complete ones behind it.
        if self.recent.back().is_some_and(|&last| last >= 0) {
            self.recent.push_back(!offset.0);
            self.recent_runs += 1;
        }
        self.next = offset.next();
        self.forget_passed(self.next);
        self.changed |= self.outstanding() == 0;
    }

    /// Forgets what the checkpoint knew below an offset that reading has come to.
    fn forget_passed(&mut self, reached: Offset) {
        while self.restored.front().is_some_and(|range| range.end <= reached) {
            self.restored.pop_front();
        }
    }

    #[inline]
    fn pop_complete(&mut self) {
        while self.recent.front().is_some_and(|&offset| offset < 0) {
            self.recent.pop_front();
            self.first_seq += 1;
        }
    }

    #[cold]
    fn complete_older(&mut self, seq: Seq) -> Completion {
        match self.older.complete(seq) {
            Settled::Done => {
                self.changed = true;
                Completion::Done
            }
            Settled::Absent => Completion::Repeated,
        }
    }

    /// Moves the front of `recent` away: its open records to `older`, its complete ones to nowhere.
    #[cold]
    fn retire(&mut self) {
        for _ in 0..BLOCK {
            let Some(offset) = self.recent.pop_front() else { break };
            let seq = Seq(self.first_seq);
            self.first_seq += 1;
            if offset >= 0 {
                let followed = self.recent.front().is_some_and(|&next| next < 0);
                self.recent_open -= 1;
                self.recent_runs -= usize::from(followed);
                self.older.push(seq, offset, followed);
            }
        }
        self.pop_complete();
    }

    /// Gives back what a past burst needed and nothing needs any more.
    fn release_memory(&mut self) {
        if self.recent.capacity() > 8 * (self.recent.len() + SLACK) {
            self.recent.shrink_to(2 * (self.recent.len() + SLACK));
        }
    }
}

/// Ends the run behind an open record, if there is one, at the next open record.
fn close(completed: &mut RangeSet, last: Option<(i64, bool)>, next: Offset) {
    if let Some((offset, true)) = last {
        completed.insert(OffsetRange::new(Offset(offset).next(), next));
    }
}

/// The offset of an entry, complete or not.
#[inline]
fn plain(entry: i64) -> i64 {
    if entry < 0 { !entry } else { entry }
}

#[cfg(test)]
mod tests;
