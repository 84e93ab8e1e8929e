//! Where a change stands in its slot: the revision at which it happened, and its number among the slot's changes of that
//! revision. Both together are the record's offset. Up: [the source](super).
//!
//! ```text
//!   bit 63   62 … 20     19 … 0
//!      0     revision    number
//! ```
//! A listing at a revision is read as if all it brings had happened at that revision, in the order of the keys.

use keyweir_core::Offset;

const BITS: u32 = 20;

/// The last number of a revision: behind all that it brings to a slot.
pub(super) const LAST: u32 = (1 << BITS) - 1;

/// Where a change stands in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) revision: u64,
    pub(super) number: u32,
}

impl Place {
    /// Before all that a revision brings.
    pub(super) const fn at(revision: u64) -> Self {
        Self { revision, number: 0 }
    }

    /// Behind all that a revision brings.
    pub(super) const fn after(revision: u64) -> Self {
        Self::at(revision + 1)
    }

    pub(super) fn of(offset: Offset) -> Self {
        let bits = offset.0.max(0).unsigned_abs();
        Self { revision: bits >> BITS, number: bits as u32 & LAST }
    }

    /// A revision that no etcd reaches has the last offset of all.
    pub(super) fn offset(self) -> Offset {
        let fits = self.revision < 1 << (63 - BITS);
        let offset = (self.revision << BITS | u64::from(self.number)).cast_signed();
        if fits { Offset(offset) } else { Offset(i64::MAX) }
    }

    /// The next place of the same revision; `None` = no slot holds so much.
    pub(super) fn next(self) -> Option<Self> {
        (self.number < LAST - 1).then(|| Self { number: self.number + 1, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_offsets_in_their_order() {
        let places = [Place::at(1), Place { revision: 1, number: LAST }, Place::after(1), Place::at(1 << 42)];
        assert!(places.is_sorted());
        assert!(places.map(Place::offset).is_sorted());
        assert_eq!(places.map(|place| Place::of(place.offset())), places);
        assert_eq!(Place::at(7).offset(), Offset(7 << 20));
        assert_eq!(Place::at(u64::MAX).offset(), Offset(i64::MAX));
    }

    #[test]
    fn a_revision_has_so_many_places_and_no_more() {
        let last = Place { revision: 3, number: LAST - 2 };
        assert_eq!(last.next().and_then(Place::next), None);
        assert!(last.next().is_some_and(|next| next < Place { revision: 3, number: LAST }));
    }
}
