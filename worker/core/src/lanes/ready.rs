//! The lanes of one route whose heads may start, in two lines.
//!
//! Each lane joins its line at the back, so every key gets its turn. A deep lane is one with several times the records
//! of an average one: at one turn a round it would still be there when all others are through, and everything would
//! wait for it in the end. Deep lanes have a line of their own that gets every second turn, never more: they take at
//! most half of what can start from all others.

use std::collections::VecDeque;

use super::LaneId;

/// How many times the average makes a lane deep.
const DEEP: usize = 4;

/// Whether a lane of so many records is deep among all.
#[inline]
pub(super) fn is_deep(length: u32, records: usize, keys: usize) -> bool {
    (length as usize).saturating_mul(keys) > records.saturating_mul(DEEP)
}

/// The lanes of one route whose heads may start.
#[derive(Debug, Default)]
pub(super) struct Ready {
    line: VecDeque<LaneId>,
    deep: VecDeque<LaneId>,
    /// Whether the last turn was a deep one's.
    was_deep: bool,
}

impl Ready {
    /// Joins the line at its back.
    #[inline]
    pub(super) fn join(&mut self, id: LaneId, deep: bool) {
        if deep { self.deep.push_back(id) } else { self.line.push_back(id) }
    }

    /// Goes back to where it came from: the front.
    pub(super) fn put_back(&mut self, id: LaneId) {
        self.line.push_front(id);
    }

    /// The next one.
    #[inline]
    pub(super) fn next(&mut self) -> Option<LaneId> {
        if self.deep.is_empty() {
            return self.line.pop_front();
        }
        self.was_deep = !self.was_deep || self.line.is_empty();
        if self.was_deep { self.deep.pop_front() } else { self.line.pop_front() }
    }

    /// Leaves its line.
    pub(super) fn leave(&mut self, id: LaneId) {
        self.line.retain(|ready| *ready != id);
        self.deep.retain(|ready| *ready != id);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty() && self.deep.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.line.len() + self.deep.len()
    }
}
