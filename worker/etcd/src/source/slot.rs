//! One open slot of a path: from listings and changes to records, each at its place. Up: [the source](super).
//!
//! ```text
//!              ┌─ Learning ──▶ what stood at its revision is known, nobody is told ─┐
//!   opened ────┤                                                                    ├──▶ Following: each change
//!              └─ Listing ───▶ what differs from what is known is given ────────────┘          │
//!                     ▲                                                                        │
//!                     └──────── the history it had still to read is compacted: what stands now ┘
//! ```
//! A listing keeps its revision until it is over or compacted: who goes on in its midst lists the same again, and finds
//! the rest of the differences at the same places.

use std::collections::BTreeMap;

use bytes::Bytes;
use keyweir_core::{Offset, RangeSet, ShardIndex};
use keyweir_engine::{Arena, Origin, Record};

use super::book::Book;
use super::change::{Change, Stored};
use super::notes::Notes;
use super::place::{LAST, Place};

/// How many revisions may pass before the position of a slot without changes is told: so far a new owner reads back.
const TOLD_EACH: u64 = 10_000;

/// What a slot is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What stands at that revision is to be known.
    Learning(u64),
    /// What differs at that revision from what is known is to be given; `None` = at the present one.
    Listing(Option<u64>),
    Following,
}

/// What a slot needs to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The path as it stood at that revision, then changes.
    List(u64),
    /// The path as it stands now, then changes.
    ListNow,
    /// Changes from that revision on.
    Follow(u64),
}

/// More differences at one revision than a slot has places for.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to number the changes of a slot at revision {revision}: it holds too many keys, raise spec.source.etcd.slots"
)]
pub(super) struct TooMany {
    revision: u64,
}

/// What a listing has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    /// It replaced a history that was compacted.
    pub(super) resynced: bool,
    /// Changes can no longer be given that had to be.
    pub(super) lost: bool,
}

/// One open slot.
#[derive(Debug)]
pub(super) struct Slot {
    handle: ShardIndex,
    phase: Phase,
    book: Book,
    /// All below was given.
    next: Place,
    /// The book knows all below; changes between here and `next` are only learned.
    booked: Place,
    /// Nobody has given anything at or behind this place.
    floor: Place,
    /// The last position that was told.
    told: Place,
    /// What it was opened with, until the book is made up.
    noted: Vec<u8>,
    /// Complete above the frontier, though the book does not say so.
    ahead: BTreeMap<Bytes, Option<u64>>,
    /// Changes below this revision were given, whatever the book says.
    given_below: u64,
    /// The book knows nothing of keys that were deleted meanwhile.
    has_gaps: bool,
    /// The listing under way replaces a history that is compacted.
    resyncing: bool,
    /// How far the listing under way has come, and how many differences it has given.
    cursor: Option<Bytes>,
    differences: usize,
}

impl Slot {
    /// A slot that goes on at an offset, with what was noted there.
    pub(super) fn open(handle: ShardIndex, from: Offset, noted: Vec<u8>) -> Self {
        let next = Place::of(from);
        let mut slot = Self {
            handle,
            phase: Phase::Following,
            book: Book::default(),
            next,
            booked: next,
            floor: next,
            told: next,
            noted: Vec::new(),
            ahead: BTreeMap::new(),
            given_below: 0,
            has_gaps: false,
            resyncing: false,
            cursor: None,
            differences: 0,
        };
        let Some(notes) = Notes::decode(&noted) else {
            slot.begin(from);
            return slot;
        };
        slot.floor = Place::of(Offset(notes.read_to)).max(next);
        slot.ahead = notes.ahead;
        match notes.known {
            Some(known) => {
                slot.book = Book::noted(known);
                if let Some(revision) = notes.listing {
                    slot.list_at(revision);
                }
            }
            // The keys did not fit, and nobody knows which of a listing were given: all of them again.
            None if notes.listing.is_some() => {
                slot.phase = Phase::Listing(None);
                slot.noted = noted;
                slot.has_gaps = true;
            }
            // The keys did not fit: what stood before this revision is asked for.
            None => {
                let stood = next.first_revision().saturating_sub(1).max(1);
                slot.booked = Place::after(stood);
                slot.phase = Phase::Learning(stood);
                slot.noted = noted;
            }
        }
        slot
    }

    /// Nothing is known of it: it begins behind all that stands at its revision, or with it.
    fn begin(&mut self, from: Offset) {
        let Place { revision, number } = Place::of(from);
        if number == LAST {
            self.phase = Phase::Learning(revision);
            self.booked = Place::after(revision);
        } else {
            self.list_at(revision);
        }
    }

    fn list_at(&mut self, revision: u64) {
        self.phase = Phase::Listing(Some(revision));
        self.book.begin_listing(revision, self.next.offset());
        self.next = self.next.max(Place::after(revision));
        self.booked = self.next;
    }

    pub(super) fn handle(&self) -> ShardIndex {
        self.handle
    }

    /// What it needs to go on.
    pub(super) fn need(&self) -> Need {
        match self.phase {
            Phase::Learning(revision) | Phase::Listing(Some(revision)) => Need::List(revision),
            Phase::Listing(None) => Need::ListNow,
            Phase::Following => Need::Follow(self.next.min(self.booked).first_revision()),
        }
    }

    /// A listing at that revision begins, the present one if `now`. Says whether this slot takes part.
    pub(super) fn begin_listing(&mut self, revision: u64, now: bool) -> bool {
        if now && self.phase == Phase::Listing(None) {
            // Whatever was given before, by whomever, stands below.
            self.next = self.next.max(self.floor);
            self.list_at(revision);
        }
        self.cursor = None;
        self.need() == Need::List(revision)
    }

    /// The next key of a listing.
    pub(super) fn list(
        &mut self,
        found: &Stored,
        arena: &mut Arena,
        out: &mut Vec<Record>,
    ) -> Result<(), TooMany> {
        self.miss_until(Some(&found.key), arena, out)?;
        self.cursor = Some(found.key.clone());
        let known = self.book.revision(&found.key);
        if known == Some(found.modified) {
            return Ok(());
        }
        if found.modified < self.given_below || matches!(self.phase, Phase::Learning(_)) {
            self.book.learn(&found.key, Some(found.modified));
            return Ok(());
        }
        self.differ(&Change::Put { now: found.clone(), before: None }, arena, out)
    }

    /// What is known to stand between the last key of the listing and that one is gone; `None` = to the end.
    fn miss_until(
        &mut self,
        key: Option<&Bytes>,
        arena: &mut Arena,
        out: &mut Vec<Record>,
    ) -> Result<(), TooMany> {
        while let Some((missing, _)) = self.book.behind(self.cursor.as_ref()) {
            if key.is_some_and(|key| missing >= key) {
                break;
            }
            let missing = missing.clone();
            if matches!(self.phase, Phase::Learning(_)) {
                self.book.learn(&missing, None);
                continue;
            }
            let revision = self.next.revision;
            self.differ(&Change::Deleted { key: missing, revision, before: None }, arena, out)?;
        }
        Ok(())
    }

    /// Gives a difference that a listing has found, at the next place of its revision.
    fn differ(&mut self, change: &Change, arena: &mut Arena, out: &mut Vec<Record>) -> Result<(), TooMany> {
        let behind = self.next.next().ok_or(TooMany { revision: self.next.revision })?;
        out.push(self.give(change, self.next, arena));
        self.next = behind;
        self.booked = behind;
        self.differences += 1;
        Ok(())
    }

    fn give(&mut self, change: &Change, place: Place, arena: &mut Arena) -> Record {
        let offset = place.offset();
        let origin = Origin { shard: self.handle, offset, timestamp: -1 };
        let record = change.record(arena, origin, self.book.revision(change.key()));
        // What this offset or a later one brought is the book's to say from here on.
        let caught_up = |after: &Option<u64>| match (*after, change.leaves()) {
            (Some(ahead), Some(given)) => given >= ahead,
            (ahead, given) => ahead == given,
        };
        if self.ahead.get(change.key()).is_some_and(caught_up) {
            self.ahead.remove(change.key());
        }
        self.book.give(offset, change.key(), change.leaves());
        record
    }

    /// A listing at that revision is over. `every` = each change was to be given.
    pub(super) fn end_listing(
        &mut self,
        revision: u64,
        every: bool,
        arena: &mut Arena,
        out: &mut Vec<Record>,
    ) -> Result<Listed, TooMany> {
        self.miss_until(None, arena, out)?;
        let behind = Place::after(revision);
        self.next = self.next.max(behind);
        self.booked = self.booked.max(behind);
        self.told = self.next;
        self.book.end_listing(self.next.offset());
        self.phase = Phase::Following;
        self.noted.clear();
        self.given_below = 0;
        let differs = std::mem::take(&mut self.differences) > 0;
        let has_gaps = std::mem::take(&mut self.has_gaps);
        let resynced = std::mem::take(&mut self.resyncing);
        Ok(Listed { resynced, lost: has_gaps || (resynced && every && differs) })
    }

    /// A change of the path, the `number`-th of this slot at its revision. `None` = it was given already.
    pub(super) fn follow(
        &mut self,
        change: &Change,
        number: u32,
        arena: &mut Arena,
    ) -> Result<Option<Record>, TooMany> {
        let place = Place { revision: change.revision(), number };
        if self.phase != Phase::Following || place < self.booked {
            return Ok(None);
        }
        let behind = place.next().ok_or(TooMany { revision: place.revision })?;
        self.booked = behind;
        if place < self.next {
            self.book.learn(change.key(), change.leaves());
            return Ok(None);
        }
        let record = self.give(change, place, arena);
        self.next = behind;
        self.told = behind;
        Ok(Some(record))
    }

    /// All changes of the path up to that revision were shown.
    pub(super) fn pass(&mut self, revision: u64) {
        if self.phase == Phase::Following {
            self.next = self.next.max(Place::after(revision));
            self.booked = self.booked.max(self.next);
            if self.next >= self.floor {
                self.ahead.clear();
            }
        }
    }

    /// The position, where it has to be told again, so that no new owner reads back too far.
    pub(super) fn position(&mut self) -> Option<Offset> {
        let follows = self.phase == Phase::Following;
        (follows && self.next.revision - self.told.revision >= TOLD_EACH).then(|| self.tell())
    }

    /// The position.
    pub(super) fn tell(&mut self) -> Offset {
        self.told = self.next;
        self.next.offset()
    }

    pub(super) fn is_following(&self) -> bool {
        self.phase == Phase::Following
    }

    /// History up to and with that revision is gone, and listings before it.
    pub(super) fn compacted(&mut self, revision: u64) {
        match self.phase {
            Phase::Following if self.next.min(self.booked).first_revision() <= revision => {
                self.resyncing = true
            }
            // Nobody can say any more what stood there: only what has changed since.
            Phase::Learning(at) if at < revision => {
                self.given_below = self.booked.first_revision();
                self.resyncing = true;
                self.has_gaps = true;
            }
            Phase::Listing(Some(at)) if at < revision => {}
            _ => return,
        }
        self.phase = Phase::Listing(None);
        // Nobody will show these changes again: what is complete of them is known from here on.
        for (key, after) in std::mem::take(&mut self.ahead) {
            if after.is_none() || after > self.book.revision(&key) {
                self.book.learn(&key, after);
            }
        }
    }

    /// What to note with a checkpoint.
    pub(super) fn notes(&mut self, frontier: Offset, completed: &RangeSet) -> Vec<u8> {
        let unmade =
            matches!(self.phase, Phase::Learning(_)) || (self.has_gaps && self.phase == Phase::Listing(None));
        if unmade {
            return self.noted.clone();
        }
        let read_to = self.next.max(self.floor).offset();
        let mut notes = self.book.notes(read_to, frontier, completed);
        // What was complete above the frontier when the slot was opened, and was not read again yet, still is.
        notes.ahead.extend(self.ahead.iter().map(|(key, after)| (key.clone(), *after)));
        notes.encode()
    }
}

#[cfg(test)]
mod tests;
