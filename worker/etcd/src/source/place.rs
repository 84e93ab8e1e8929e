//! Where a change stands in its slot: the revision at which it happened, and its number among the slot's changes of that
//! revision. Both together are the record's offset. Up: [the source](super).
//!
//! ```text
//!   bit 63   62 … 20     19                                      18 … 0
//!      0     revision    0 = a change of it, 1 = what a listing found   number
//! ```
//! What a listing at a revision finds stands behind all changes of that revision and before those of the next one, in the
//! order of the keys. A further listing at the same revision goes on behind it.

use keyweir_core::Offset;

const BITS: u32 = 20;

/// The first number of what a listing finds.
const LISTED: u32 = 1 << (BITS - 1);

/// The last number of a change: no change has it. Whoever starts there begins behind all that the revision brings.
pub(super) const LAST: u32 = LISTED - 1;

/// The last number of all.
const MAX: u32 = (1 << BITS) - 1;

/// Where a change stands in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) revision: u64,
    pub(super) number: u32,
}

impl Place {
    /// Before all that a revision brings.
    #[cfg(test)]
    pub(super) const fn at(revision: u64) -> Self {
        Self { revision, number: 0 }
    }

    /// Behind all changes of a revision: where a listing at it begins.
    pub(super) const fn after(revision: u64) -> Self {
        Self { revision, number: LISTED }
    }

    pub(super) fn of(offset: Offset) -> Self {
        let bits = offset.0.max(0).unsigned_abs();
        Self { revision: bits >> BITS, number: bits as u32 & MAX }
    }

    /// A revision that no etcd reaches has the last offset of all.
    pub(super) fn offset(self) -> Offset {
        let fits = self.revision < 1 << (63 - BITS);
        let offset = (self.revision << BITS | u64::from(self.number)).cast_signed();
        if fits { Offset(offset) } else { Offset(i64::MAX) }
    }

    /// The next place of the same sort at the same revision; `None` = no slot holds so much.
    pub(super) fn next(self) -> Option<Self> {
        let number = self.number + 1;
        (number != LAST && number < MAX).then_some(Self { number, ..self })
    }

    /// The first revision that has changes here or behind.
    pub(super) const fn first_revision(self) -> u64 {
        if self.number < LAST { self.revision } else { self.revision + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_offsets_in_their_order() {
        let places = [
            Place::at(1),
            Place { revision: 1, number: LAST },
            Place::after(1),
            Place::at(2),
            Place::at(1 << 42),
        ];
        assert!(places.is_sorted());
        assert!(places.map(Place::offset).is_sorted());
        assert_eq!(places.map(|place| Place::of(place.offset())), places);
        assert_eq!(places.map(Place::first_revision), [1, 2, 2, 2, 1 << 42]);
        assert_eq!(Place::at(7).offset(), Offset(7 << 20));
        assert_eq!(Place::at(u64::MAX).offset(), Offset(i64::MAX));
    }

    #[test]
    fn a_revision_has_so_many_places_and_no_more() {
        let change = Place { revision: 3, number: LAST - 2 };
        assert_eq!(change.next().and_then(Place::next), None);
        let listed = Place { revision: 3, number: MAX - 2 };
        assert_eq!(listed.next().and_then(Place::next), None);
        assert!(listed.next().is_some_and(|next| next < Place::at(4)));
    }
}
