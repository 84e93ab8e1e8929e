//! Sets of offsets as sorted, merged, half-open ranges: what is complete above a frontier.
//!
//! Knows nothing of records: a range may cover offsets at which no record stands. Up: the [crate map](crate).

use crate::ids::Offset;

/// Offsets from `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OffsetRange {
    /// The first offset in it.
    pub start: Offset,
    /// One behind the last offset in it.
    pub end: Offset,
}

impl OffsetRange {
    /// The range between two offsets; empty when `end` is not above `start`.
    #[must_use]
    pub const fn new(start: Offset, end: Offset) -> Self {
        Self { start, end }
    }

    /// Whether no offset is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Whether the offset is in it.
    #[must_use]
    pub fn contains(self, offset: Offset) -> bool {
        self.start <= offset && offset < self.end
    }

    /// How many offsets are in it.
    #[must_use]
    pub fn width(self) -> u64 {
        if self.is_empty() { 0 } else { self.end.0.abs_diff(self.start.0) }
    }

    /// The part of it that lies at or above an offset; may be empty.
    #[must_use]
    pub fn from(self, offset: Offset) -> Self {
        Self { start: self.start.max(offset), end: self.end }
    }
}

/// A set of offsets. Its ranges are ascending, none is empty and no two touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeSet {
    ranges: Vec<OffsetRange>,
}

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Adds a range; what it overlaps or touches becomes one with it. At the upper end this costs no search.
    pub fn insert(&mut self, range: OffsetRange) {
        if range.is_empty() {
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if range.start > last.end => self.ranges.push(range),
            Some(last) if range.start >= last.start => last.end = last.end.max(range.end),
            Some(_) => self.insert_within(range),
            None => self.ranges.push(range),
        }
    }

    fn insert_within(&mut self, range: OffsetRange) {
        let first = self.ranges.partition_point(|r| r.end < range.start);
        let behind = self.ranges.partition_point(|r| r.start <= range.end);
        let merged = self.ranges[first..behind]
            .iter()
            .fold(range, |all, r| OffsetRange { start: all.start.min(r.start), end: all.end.max(r.end) });
        self.ranges.splice(first..behind, [merged]);
    }

    /// Whether the offset is in the set.
    #[must_use]
    pub fn contains(&self, offset: Offset) -> bool {
        let behind = self.ranges.partition_point(|r| r.start <= offset);
        behind > 0 && self.ranges[behind - 1].contains(offset)
    }

    /// Its ranges, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = OffsetRange> + ExactSizeIterator + '_ {
        self.ranges.iter().copied()
    }

    /// The part of it that lies at or above an offset, ascending.
    pub fn above(&self, offset: Offset) -> impl Iterator<Item = OffsetRange> + '_ {
        let first = self.ranges.partition_point(|r| r.end <= offset);
        self.ranges[first..].iter().map(move |r| r.from(offset))
    }

    /// How many ranges it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether it is the empty set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many offsets are in it.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.iter().map(OffsetRange::width).sum()
    }
}

impl FromIterator<OffsetRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = OffsetRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        set.extend(ranges);
        set
    }
}

impl Extend<OffsetRange> for RangeSet {
    fn extend<I: IntoIterator<Item = OffsetRange>>(&mut self, ranges: I) {
        ranges.into_iter().for_each(|range| self.insert(range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: i64, end: i64) -> OffsetRange {
        OffsetRange::new(Offset(start), Offset(end))
    }

    fn set(ranges: &[(i64, i64)]) -> RangeSet {
        ranges.iter().map(|&(start, end)| range(start, end)).collect()
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        let merged: Vec<_> =
            set(&[(5, 7), (7, 9), (1, 2), (20, 30), (2, 3), (8, 12), (25, 26)]).iter().collect();
        assert_eq!(merged, [range(1, 3), range(5, 12), range(20, 30)]);
        let bridged: Vec<_> = set(&[(1, 3), (5, 12), (20, 30), (0, 40)]).iter().collect();
        assert_eq!(bridged, [range(0, 40)]);
    }

    #[test]
    fn empty_ranges_leave_no_trace() {
        assert!(set(&[(3, 3), (4, 1)]).is_empty());
    }

    #[test]
    fn the_end_of_a_range_is_not_in_it() {
        let set = set(&[(1, 3), (5, 6)]);
        let inside: Vec<_> = (0..8).filter(|&at| set.contains(Offset(at))).collect();
        assert_eq!(inside, [1, 2, 5]);
        assert_eq!(set.width(), 3);
        assert_eq!(set.above(Offset(2)).collect::<Vec<_>>(), [range(2, 3), range(5, 6)]);
        assert_eq!(set.above(Offset(3)).collect::<Vec<_>>(), [range(5, 6)]);
    }
}
