//! Open records that outlived most of what came with them.
//!
//! Only these are kept; between two of them all is complete or nothing stands. Found by search, sixteen bytes each.

use std::collections::VecDeque;

use crate::ids::{Offset, Seq};

/// One record. Complete ones stay for a while, so that completing costs no move of the others.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The token, doubled, and whether a completed record stands between this open one and the next.
    seq_followed: u64,
    /// A complete one is negative (`!offset`).
    offset: i64,
}

impl Entry {
    fn seq(self) -> u64 {
        self.seq_followed >> 1
    }

    fn is_followed(self) -> bool {
        self.seq_followed & 1 == 1
    }

    fn is_open(self) -> bool {
        self.offset >= 0
    }
}

/// What became of a completion.
pub(super) enum Settled {
    Done,
    /// No open record has that token.
    Absent,
}

/// Open records, ascending. The first entry is open.
#[derive(Debug, Clone, Default)]
pub(super) struct Older {
    entries: VecDeque<Entry>,
    open: usize,
    /// How many open ones are followed.
    runs: usize,
}

impl Older {
    pub(super) fn push(&mut self, seq: Seq, offset: i64, followed: bool) {
        self.entries.push_back(Entry { seq_followed: seq.0 << 1 | u64::from(followed), offset });
        self.open += 1;
        self.runs += usize::from(followed);
    }

    /// What stands right behind the last one is complete. Not counted where a run already begins at an open one
    /// before: a complete last entry is part of such a run.
    #[inline]
    pub(super) fn follow(&mut self) {
        if let Some(last) = self.entries.len().checked_sub(1) {
            self.follow_at(last);
        }
    }

    fn follow_at(&mut self, place: usize) {
        let entry = &mut self.entries[place];
        if entry.is_open() && !entry.is_followed() {
            entry.seq_followed |= 1;
            self.runs += 1;
        }
    }

    pub(super) fn complete(&mut self, seq: Seq) -> Settled {
        let Ok(place) = self.entries.binary_search_by_key(&seq.0, |entry| entry.seq()) else {
            return Settled::Absent;
        };
        let entry = &mut self.entries[place];
        if !entry.is_open() {
            return Settled::Absent;
        }
        entry.offset = !entry.offset;
        self.runs -= usize::from(entry.is_followed());
        self.open -= 1;
        if place > 0 {
            self.follow_at(place - 1);
        }
        self.forget_complete();
        Settled::Done
    }

    /// Keeps complete entries below a quarter, and the first entry open.
    fn forget_complete(&mut self) {
        while self.entries.front().is_some_and(|entry| !entry.is_open()) {
            self.entries.pop_front();
        }
        let complete = self.entries.len() - self.open;
        if complete * 4 > self.entries.len() + 64 {
            self.entries.retain(|entry| entry.is_open());
            self.entries.shrink_to(self.open * 2);
        }
    }

    /// The offset of the first one.
    #[inline]
    pub(super) fn first(&self) -> Option<i64> {
        self.entries.front().map(|entry| entry.offset)
    }

    /// Open ones: the offset, and whether a completed record stands before the next.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, bool)> + '_ {
        self.entries.iter().filter(|entry| entry.is_open()).map(|entry| (entry.offset, entry.is_followed()))
    }

    pub(super) fn is_open(&self, offset: Offset) -> bool {
        let place = self.entries.binary_search_by_key(&offset.0, |entry| super::plain(entry.offset));
        place.is_ok_and(|place| self.entries[place].is_open())
    }

    /// How many are open.
    #[inline]
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// How many runs of completed records begin behind one of these.
    pub(super) fn runs(&self) -> usize {
        self.runs
    }

    /// How many entries are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
