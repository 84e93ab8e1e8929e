//! A slot against a model of etcd: whatever changes, is compacted, breaks off or crashes, what was handled last of each
//! key is what stands.

use std::collections::{BTreeMap, BTreeSet};

use keyweir_core::{Charge, Ledger, Seq};

use super::*;

const KEYS: [&str; 5] = ["/a/0", "/a/1", "/a/2", "/a/3", "/a/4"];

/// Numbers that come out the same for a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// etcd, as far as one slot sees it.
#[derive(Default)]
struct Store {
    revision: u64,
    compacted: u64,
    /// What stood after each revision.
    states: BTreeMap<u64, BTreeMap<Bytes, Stored>>,
    changes: BTreeMap<u64, Vec<Change>>,
}

impl Store {
    fn state(&self, at: u64) -> BTreeMap<Bytes, Stored> {
        self.states.range(..=at).next_back().map(|(_, state)| state.clone()).unwrap_or_default()
    }

    /// One transaction.
    fn change(&mut self, chance: &mut Chance) {
        let mut state = self.state(self.revision);
        self.revision += 1;
        let mut changes = Vec::new();
        let keys: BTreeSet<_> = (0..=chance.below(3)).map(|_| KEYS[chance.below(5) as usize]).collect();
        for key in keys {
            let key = Bytes::from_static(key.as_bytes());
            let before = state.remove(&key);
            if chance.is(3) {
                if before.is_some() {
                    changes.push(Change::Deleted { key, revision: self.revision, before });
                }
                continue;
            }
            let now = Stored {
                key: key.clone(),
                value: Bytes::new(),
                created: before.as_ref().map_or(self.revision, |before| before.created),
                modified: self.revision,
                version: before.as_ref().map_or(1, |before| before.version + 1),
            };
            state.insert(key, now.clone());
            changes.push(Change::Put { now, before });
        }
        self.states.insert(self.revision, state);
        self.changes.insert(self.revision, changes);
    }
}

/// What survives a crash.
#[derive(Default)]
struct Saved {
    frontier: Offset,
    completed: RangeSet,
    notes: Vec<u8>,
}

/// A slot and what the pump makes of its records.
struct World {
    store: Store,
    slot: Slot,
    ledger: Ledger,
    /// Charged and not handled, by key, in order.
    waiting: BTreeMap<Vec<u8>, Vec<(Seq, Record)>>,
    saved: Saved,
    /// What was handled last of each key: its revision, `None` = its deletion.
    handled: BTreeMap<Vec<u8>, Option<u64>>,
    /// What was handled since the last checkpoint, and before a crash: nothing durable knows of it.
    unsaved: BTreeSet<Vec<u8>>,
    forgotten: BTreeSet<Vec<u8>>,
    /// Every change that was handled.
    seen: BTreeSet<(Vec<u8>, u64)>,
    repeats: bool,
    resyncs: usize,
}

impl World {
    fn new(saved: Saved) -> Self {
        let mut store = Store { revision: 1, ..Store::default() };
        store.states.insert(1, BTreeMap::new());
        Self {
            slot: Slot::open(ShardIndex(0), saved.frontier, Vec::new()),
            ledger: Ledger::new(saved.frontier),
            store,
            saved,
            waiting: BTreeMap::new(),
            handled: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            seen: BTreeSet::new(),
            repeats: false,
            resyncs: 0,
        }
    }

    /// Reads as far as it comes; `breaks` off somewhere if asked to.
    fn read(&mut self, chance: &mut Chance, breaks: bool) {
        let (mut arena, mut out) = (Arena::new(), Vec::new());
        let position = match self.slot.need() {
            Need::Follow(revision) => {
                self.follow(revision.saturating_sub(1).max(1), chance, breaks, &mut out)
            }
            Need::List(revision) if revision < self.store.compacted => {
                self.slot.compacted(revision + 1);
                None
            }
            Need::List(revision) => self.list(revision, false, chance, breaks, &mut arena, &mut out),
            Need::ListNow => {
                let revision = self.store.revision;
                self.list(revision, true, chance, breaks, &mut arena, &mut out)
            }
        };
        for record in out {
            self.charge(record);
        }
        if let Some(position) = position {
            self.ledger.advance(position);
        }
    }

    fn follow(
        &mut self,
        from: u64,
        chance: &mut Chance,
        breaks: bool,
        out: &mut Vec<Record>,
    ) -> Option<Offset> {
        if from < self.store.compacted {
            self.slot.compacted(self.store.compacted);
            return None;
        }
        let mut arena = Arena::new();
        for (revision, changes) in self.store.changes.range(from..) {
            if breaks && chance.is(4) {
                return None;
            }
            for (number, change) in (0..).zip(changes) {
                out.extend(self.slot.follow(change, number, &mut arena).unwrap());
            }
            self.slot.pass(*revision);
        }
        chance.is(3).then(|| self.slot.tell())
    }

    fn list(
        &mut self,
        revision: u64,
        now: bool,
        chance: &mut Chance,
        breaks: bool,
        arena: &mut Arena,
        out: &mut Vec<Record>,
    ) -> Option<Offset> {
        assert!(self.slot.begin_listing(revision, now));
        for found in self.store.state(revision).values() {
            if breaks && chance.is(4) {
                return None;
            }
            self.slot.list(found, arena, out).unwrap();
        }
        self.resyncs += usize::from(self.slot.end_listing(revision, true, arena, out).unwrap().resynced);
        Some(self.slot.tell())
    }

    fn charge(&mut self, record: Record) {
        match self.ledger.charge(record.offset) {
            Charge::New(seq) => {
                self.waiting.entry(record.key().unwrap().to_vec()).or_default().push((seq, record));
            }
            Charge::AlreadyComplete => {}
            Charge::Stale => panic!("{} was read twice", record.offset),
        }
    }

    /// Handles the next record of some key.
    fn handle(&mut self, chance: &mut Chance) {
        let keys: Vec<_> = self.waiting.keys().cloned().collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[chance.below(keys.len() as u64) as usize].clone();
        let queue = self.waiting.get_mut(&key).unwrap();
        let (seq, record) = queue.remove(0);
        if queue.is_empty() {
            self.waiting.remove(&key);
        }
        let number =
            |name| std::str::from_utf8(record.header(name).unwrap()).unwrap().parse::<u64>().unwrap();
        let revision = number("etcd-revision");
        self.repeats |= !self.seen.insert((key.clone(), revision));
        self.forgotten.remove(&key);
        self.unsaved.insert(key.clone());
        self.handled.insert(key, record.value().map(|_| revision));
        self.ledger.complete(seq);
    }

    fn save(&mut self) {
        let (frontier, completed) = (self.ledger.frontier(), self.ledger.completed_above());
        let notes = self.slot.notes(frontier, &completed);
        self.saved = Saved { frontier, completed, notes };
        self.unsaved.clear();
    }

    fn crash(&mut self) {
        let Saved { frontier, completed, notes } = &self.saved;
        self.slot = Slot::open(ShardIndex(0), *frontier, notes.clone());
        self.ledger = Ledger::restore(*frontier, completed);
        self.waiting.clear();
        self.forgotten.append(&mut self.unsaved);
    }

    fn settle(&mut self, chance: &mut Chance) {
        for _ in 0..4 {
            self.read(chance, false);
            while !self.waiting.is_empty() {
                self.handle(chance);
            }
        }
    }

    /// What was handled last of each key is what stands. Who is gone was told so, unless nothing durable knew it.
    fn judge(&self, seed: u64) {
        let stands = self.store.state(self.store.revision);
        for key in KEYS {
            let stands = stands.get(key.as_bytes()).map(|stored| stored.modified);
            let handled = self.handled.get(key.as_bytes()).copied().flatten();
            if stands.is_none() && self.forgotten.contains(key.as_bytes()) {
                continue;
            }
            assert_eq!(handled, stands, "{key} with seed {seed}");
        }
    }
}

/// U01, U04: as [`World`] says, with compactions at any time.
#[test]
fn whatever_happens_what_was_handled_last_is_what_stands() {
    let mut resyncs = 0;
    for seed in 0..10_000 {
        let mut chance = Chance(seed);
        let mut world = World::new(Saved { frontier: Place::at(1).offset(), ..Saved::default() });
        for _ in 0..60 {
            match chance.below(12) {
                0..=3 => world.store.change(&mut chance),
                4 if chance.is(3) => {
                    world.store.compacted = world.store.compacted.max(1 + chance.below(world.store.revision));
                }
                4..=6 => world.read(&mut chance, true),
                7..=9 => world.handle(&mut chance),
                10 => world.save(),
                _ => world.crash(),
            }
        }
        world.settle(&mut chance);
        world.judge(seed);
        resyncs += world.resyncs;
    }
    assert!(resyncs > 1_000, "compactions were met: {resyncs}");
}

/// U07: without a compaction each change is handled, in order, and without a crash once.
#[test]
fn where_nothing_is_compacted_each_change_is_handled() {
    for seed in 0..2_000 {
        let mut chance = Chance(seed);
        let crashes = chance.is(2);
        let mut world = World::new(Saved { frontier: Place::at(1).offset(), ..Saved::default() });
        for _ in 0..60 {
            match chance.below(12) {
                0..=3 => world.store.change(&mut chance),
                4..=6 => world.read(&mut chance, true),
                7..=9 => world.handle(&mut chance),
                10 => world.save(),
                _ if crashes => world.crash(),
                _ => {}
            }
        }
        world.settle(&mut chance);
        world.judge(seed);
        let happened = world.store.changes.values().flatten();
        let happened: BTreeSet<_> =
            happened.map(|change| (change.key().to_vec(), change.revision())).collect();
        assert_eq!(world.seen, happened, "seed {seed}");
        assert!(crashes || !world.repeats, "seed {seed}");
        assert_eq!(world.resyncs, 0);
    }
}

/// Keys that do not fit are asked for again: as long as the history reaches back, nobody notices.
#[test]
fn a_slot_whose_keys_were_too_many_to_note_goes_on_all_the_same() {
    for seed in 0..1_000 {
        let mut chance = Chance(seed);
        let mut world = World::new(Saved { frontier: Place::at(1).offset(), ..Saved::default() });
        world.read(&mut chance, false);
        for _ in 0..60 {
            match chance.below(10) {
                0..=3 => world.store.change(&mut chance),
                4..=5 => world.read(&mut chance, true),
                6..=7 => world.handle(&mut chance),
                8 => {
                    world.save();
                    let noted = Notes::decode(&world.saved.notes).unwrap();
                    if noted.listing.is_none() {
                        world.saved.notes = Notes { known: None, ..noted }.encode();
                    }
                }
                _ => world.crash(),
            }
        }
        world.settle(&mut chance);
        world.judge(seed);
        assert_eq!(world.resyncs, 0);
    }
}

/// U08: what stood before the start is nobody's business, but its deletion is.
#[test]
fn a_slot_that_starts_now_learns_what_stands_and_tells_what_changes() {
    let mut chance = Chance(7);
    let from = Place { revision: 5, number: LAST }.offset();
    let mut world = World::new(Saved { frontier: from, ..Saved::default() });
    while world.store.revision < 5 {
        world.store.change(&mut chance);
    }
    let stood = world.store.state(5);
    world.read(&mut chance, false);
    assert!(world.waiting.is_empty() && !stood.is_empty());
    world.save();
    let noted = Notes::decode(&world.saved.notes).unwrap();
    assert_eq!(noted.known.unwrap().into_keys().collect::<Vec<_>>(), stood.into_keys().collect::<Vec<_>>());
    for _ in 0..20 {
        world.store.change(&mut chance);
        world.settle(&mut chance);
    }
    let after = world.store.changes.range(6..).flat_map(|(_, changes)| changes).count();
    assert_eq!(world.seen.len(), after);
}

/// Nobody knows any more what was given of the listing: all of it comes again, behind all that was ever given.
#[test]
fn a_slot_whose_keys_were_too_many_in_the_midst_of_its_listing_gives_all_again_and_says_so() {
    let mut chance = Chance(3);
    let mut world = World::new(Saved { frontier: Place::at(1).offset(), ..Saved::default() });
    for _ in 0..6 {
        world.store.change(&mut chance);
    }
    let read_to = Place { revision: 7, number: 3 }.offset();
    let notes = Notes { read_to: read_to.0, listing: Some(7), known: None, ahead: BTreeMap::new() }.encode();
    world.slot = Slot::open(ShardIndex(0), Place { revision: 7, number: 1 }.offset(), notes.clone());
    assert_eq!(world.slot.need(), Need::ListNow);
    assert_eq!(world.slot.notes(Offset(0), &RangeSet::new()), notes, "until then nothing else is known");
    let (mut arena, mut out) = (Arena::new(), Vec::new());
    assert!(world.slot.begin_listing(7, true));
    for found in world.store.state(7).values() {
        world.slot.list(found, &mut arena, &mut out).unwrap();
    }
    assert!(world.slot.end_listing(7, false, &mut arena, &mut out).unwrap().lost);
    assert_eq!(out.len(), world.store.state(7).len());
    assert!(out.iter().all(|record| record.offset >= read_to));
}

#[test]
fn more_keys_than_a_slot_has_places_for_are_refused() {
    let from = Place { revision: 5, number: LAST - 1 };
    let mut slot = Slot::open(
        ShardIndex(0),
        from.offset(),
        Notes { known: Some(BTreeMap::new()), ..Notes::default() }.encode(),
    );
    let now =
        Stored { key: Bytes::from_static(b"/a/k"), value: Bytes::new(), created: 5, modified: 5, version: 1 };
    let change = Change::Put { now, before: None };
    assert!(slot.follow(&change, LAST - 1, &mut Arena::new()).is_err());
}
