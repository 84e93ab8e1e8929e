//! When the records of a shard were written, coarsely: enough to say how old the oldest one is that is not complete.
//!
//! ```text
//!   marks     (10, 12:00:00)      (510, 12:00:01)        (830, 12:00:02)
//!   offsets ─────┴────── frontier ─────┴──────────────────────┴─────────── read up to here
//!                           ▲ written at 12:00:00 or up to a second later
//! ```
//! A mark is set when the records that are read have become a step younger. Where there are too many, every second one
//! goes and the step doubles: the room is the same for a second's backlog and for a year's. Nothing here has a clock.
//!
//! Up: the [crate map](crate).

use std::collections::VecDeque;

use crate::ids::Offset;

/// So many marks at most.
const MOST: usize = 64;
/// Marks are so far apart at least, in milliseconds.
const STEP: i64 = 500;

/// When the records of one shard were written.
#[derive(Debug, Clone)]
pub struct Ages {
    /// Offset and time, both ascending.
    marks: VecDeque<(Offset, i64)>,
    /// A record that was written at or after this time gets a mark.
    due: i64,
    step: i64,
}

impl Default for Ages {
    fn default() -> Self {
        Self { marks: VecDeque::new(), due: 0, step: STEP }
    }
}

impl Ages {
    /// Whether a record that was written then, in milliseconds since the epoch, gets a mark. A negative time is unknown.
    #[inline]
    #[must_use]
    pub fn wants(&self, written: i64) -> bool {
        written >= self.due
    }

    /// Marks the record at `offset`; all below `frontier` is complete. Offsets come in ascending order, and one that
    /// comes again changes nothing.
    pub fn mark(&mut self, offset: Offset, written: i64, frontier: Offset) {
        if !self.wants(written) || self.marks.back().is_some_and(|(last, _)| *last >= offset) {
            return;
        }
        while self.marks.get(1).is_some_and(|(next, _)| *next <= frontier) {
            self.marks.pop_front();
        }
        if self.marks.len() <= 1 {
            self.step = STEP;
        } else if self.marks.len() == MOST {
            self.step = self.step.saturating_mul(2);
            let mut place = 0;
            self.marks.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        self.marks.push_back((offset, written));
        self.due = written.saturating_add(self.step);
    }

    /// About when the record at `offset` was written, in milliseconds since the epoch: never later than it was, where
    /// times ascend with offsets. `None` = nobody knows.
    #[must_use]
    pub fn written(&self, offset: Offset) -> Option<i64> {
        let behind = self.marks.partition_point(|(mark, _)| *mark <= offset);
        self.marks.get(behind.checked_sub(1)?).map(|(_, written)| *written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: impl IntoIterator<Item = (i64, i64)>) -> Ages {
        let mut ages = Ages::default();
        for (offset, written) in records {
            if ages.wants(written) {
                ages.mark(Offset(offset), written, Offset(0));
            }
        }
        ages
    }

    #[test]
    fn the_age_of_a_record_is_known_to_the_step_and_costs_the_same_for_any_backlog() {
        // Ten records a second, for twelve days.
        let ages = read((0..10_000_000).map(|offset| (offset, 1_000 + offset * 100)));
        assert!(ages.marks.len() <= MOST, "{} marks", ages.marks.len());
        for offset in [0, 1, 5_000_000, 9_999_999] {
            let (truth, told) = (1_000 + offset * 100, ages.written(Offset(offset)).expect("it was read"));
            assert!(told <= truth && truth - told <= ages.step, "{offset}: {told} of {truth}");
        }
    }

    #[test]
    fn what_is_complete_makes_room_and_marks_come_close_again() {
        let mut ages = read((0..1_000_000).map(|offset| (offset, offset * 100)));
        assert!(ages.step > STEP);
        ages.mark(Offset(1_000_000), 200_000_000, Offset(999_999));
        ages.mark(Offset(1_000_001), 300_000_000, Offset(1_000_000));
        ages.mark(Offset(1_000_002), 300_000_000 + 2 * STEP, Offset(1_000_001));
        assert_eq!((ages.step, ages.written(Offset(1_000_001))), (STEP, Some(300_000_000)));
    }

    #[test]
    fn a_time_that_is_unknown_or_goes_back_says_nothing() {
        assert_eq!(read([(0, -1), (1, -1)]).written(Offset(1)), None);
        let ages = read([(0, 5_000), (1, 1_000), (2, 5_000 + STEP)]);
        assert_eq!((ages.written(Offset(1)), ages.written(Offset(2))), (Some(5_000), Some(5_000 + STEP)));
        assert_eq!(read([(7, 5_000)]).written(Offset(6)), None);
    }
}
