//! What is due later: records' next attempts and repeated writes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use keyweir_core::LaneId;
use tokio::time::Instant;

use super::owed::WriteId;

/// What becomes due for a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Its head may be tried again.
    Attempt,
    /// What its head owes is written again, if it still owes that.
    Write(WriteId),
}

/// What is due later, by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, LaneId, Due)>>,
}

impl Timers {
    pub(super) fn add(&mut self, at: Instant, lane: LaneId, due: Due) {
        self.heap.push(Reverse((at, lane, due)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next that is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(LaneId, Due)> {
        (self.next()? <= now).then(|| self.heap.pop()).flatten().map(|Reverse((_, lane, due))| (lane, due))
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}
