//! What a slot knows of its keys: after all that was given, and after all that is complete. Up: [the source](super).
//!
//! ```text
//!            complete          given, not complete by the last notes
//!   ─────────────────────┬──────────────────────────────────────────┬────────▶ offsets
//!                    frontier                                     read to
//!       what notes say: known, without what is behind the frontier      known
//! ```
//! Notes say what was known at the frontier, so that whoever goes on there finds the same differences in the same order.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use keyweir_core::{Offset, RangeSet};

use super::notes::Notes;

/// A key and the revision of its last change; `None` = it is gone.
#[derive(Debug)]
struct Given {
    offset: Offset,
    key: Bytes,
    before: Option<u64>,
    after: Option<u64>,
}

/// A listing whose differences are given at its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listing {
    revision: u64,
    begins: Offset,
    /// `None` = it is not over.
    ends: Option<Offset>,
}

/// What a slot knows of its keys.
#[derive(Debug, Default)]
pub(super) struct Book {
    known: BTreeMap<Bytes, u64>,
    given: VecDeque<Given>,
    /// Those that the frontier has not passed; of the earlier ones not all was given.
    listings: VecDeque<Listing>,
}

impl Book {
    /// What was noted with a checkpoint.
    pub(super) fn noted(known: BTreeMap<Bytes, u64>) -> Self {
        Self { known, ..Self::default() }
    }

    /// The revision of the last change of a key that is known to stand.
    pub(super) fn revision(&self, key: &[u8]) -> Option<u64> {
        self.known.get(key).copied()
    }

    /// The first key behind that one; `None` = behind none.
    pub(super) fn behind(&self, key: Option<&Bytes>) -> Option<(&Bytes, u64)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = key.map_or(Unbounded, Excluded);
        self.known.range::<Bytes, _>((from, Unbounded)).next().map(|(key, revision)| (key, *revision))
    }

    /// A change that nobody is told of.
    pub(super) fn learn(&mut self, key: &Bytes, after: Option<u64>) -> Option<u64> {
        match after {
            Some(revision) => self.known.insert(key.clone(), revision),
            None => self.known.remove(key),
        }
    }

    /// A change that is given at that offset.
    pub(super) fn give(&mut self, offset: Offset, key: &Bytes, after: Option<u64>) {
        let before = self.learn(key, after);
        self.given.push_back(Given { offset, key: key.clone(), before, after });
    }

    /// What is given from here on are the differences that a listing finds; the same listing may begin again.
    pub(super) fn begin_listing(&mut self, revision: u64, begins: Offset) {
        if self.listings.back().is_none_or(|listing| listing.revision != revision) {
            // One that could not be brought to its end ends here.
            self.end_listing(begins);
            self.listings.push_back(Listing { revision, begins, ends: None });
        }
    }

    pub(super) fn end_listing(&mut self, ends: Offset) {
        if let Some(listing) = self.listings.back_mut().filter(|listing| listing.ends.is_none()) {
            listing.ends = Some(ends);
        }
    }

    /// What to note with a checkpoint. Below its frontier nothing is looked at any more.
    pub(super) fn notes(&mut self, read_to: Offset, frontier: Offset, completed: &RangeSet) -> Notes {
        while self.given.front().is_some_and(|given| given.offset < frontier) {
            self.given.pop_front();
        }
        while self.listings.front().is_some_and(|first| first.ends.is_some_and(|ends| ends <= frontier)) {
            self.listings.pop_front();
        }
        let mut known = self.known.clone();
        for Given { key, before, .. } in self.given.iter().rev() {
            match before {
                Some(revision) => known.insert(key.clone(), *revision),
                None => known.remove(key),
            };
        }
        let complete = self.given.iter().filter(|given| completed.contains(given.offset));
        Notes {
            read_to: read_to.0,
            listing: self
                .listings
                .front()
                .filter(|listing| listing.begins <= frontier)
                .map(|listing| listing.revision),
            known: Some(known),
            ahead: complete.map(|given| (given.key.clone(), given.after)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyweir_core::OffsetRange;

    use super::*;

    fn key(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn book() -> Book {
        let mut book = Book::noted([(key("a"), 1), (key("b"), 2)].into());
        book.give(Offset(10), &key("a"), Some(10));
        book.give(Offset(11), &key("b"), None);
        book.give(Offset(12), &key("c"), Some(12));
        book.give(Offset(13), &key("a"), Some(13));
        book
    }

    fn notes(frontier: i64, completed: &[i64]) -> Notes {
        let ranges = completed.iter().map(|at| OffsetRange::new(Offset(*at), Offset(at + 1)));
        book().notes(Offset(14), Offset(frontier), &ranges.collect())
    }

    #[test]
    fn notes_say_what_was_known_at_the_frontier_and_what_is_complete_above_it() {
        let known = |frontier| notes(frontier, &[]).known.unwrap_or_default();
        assert_eq!(known(10), [(key("a"), 1), (key("b"), 2)].into());
        assert_eq!(known(12), [(key("a"), 10)].into());
        assert_eq!(known(14), [(key("a"), 13), (key("c"), 12)].into());
        let ahead = notes(10, &[11, 13]).ahead;
        assert_eq!(ahead, [(key("a"), Some(13)), (key("b"), None)].into());
        assert_eq!(notes(14, &[]).ahead, BTreeMap::new());
    }

    #[test]
    fn a_listing_is_noted_until_the_frontier_has_passed_it() {
        let mut book = Book::default();
        let noted =
            |book: &mut Book, frontier| book.notes(Offset(9), Offset(frontier), &RangeSet::new()).listing;
        book.begin_listing(7, Offset(3));
        assert_eq!(noted(&mut book, 2), None, "what is before it is not a part of it");
        assert_eq!(noted(&mut book, 3), Some(7));
        book.begin_listing(7, Offset(5));
        book.end_listing(Offset(8));
        assert_eq!((noted(&mut book, 4), noted(&mut book, 8)), (Some(7), None));
        assert_eq!(noted(&mut book, 9), None);
    }

    /// Who goes on in the midst of a listing that was never brought to its end must not take it for a history.
    #[test]
    fn a_listing_that_was_given_up_is_noted_as_long_as_the_frontier_lies_in_it() {
        let mut book = Book::default();
        let noted =
            |book: &mut Book, frontier| book.notes(Offset(9), Offset(frontier), &RangeSet::new()).listing;
        book.begin_listing(7, Offset(3));
        book.begin_listing(9, Offset(6));
        assert_eq!([3, 5, 6].map(|frontier| noted(&mut book, frontier)), [Some(7), Some(7), Some(9)]);
    }
}
