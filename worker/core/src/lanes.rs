//! Lanes: one key's queue each, one outstanding record a key, fair among keys.
//!
//! ```text
//!            push                    take                 complete
//!  record ─────────▶ lane (FIFO) ─────────▶ busy (head) ─────────▶ next of the lane is ready, or the lane is gone
//!                      ▲                     │   │
//!                      └──── put_back ───────┘   └─ wait ─▶ waiting ── resume ─▶ ready
//! ```
//!
//! A lane is in exactly one state; only a ready lane is in line, and it joins at the back, so each busy key gets its
//! turn and a hot one starves no other, nor is it left behind ([`ready`]). A record without an order has a lane of its own. Where
//! memory is short, a lane keeps of its last records only where they stand ([`tail`]). Nothing here knows time, handlers or
//! shards' ownership; `T` is whatever the pump needs to know of a record.
//! Up: the [crate map](crate).

mod key;
mod ready;
mod store;
mod tail;

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

pub use key::LaneKey;
use key::StoredKey;
use ready::Ready;
use store::{Entries, Link};
use tail::Tails;
pub use tail::{Spilled, Tail};

/// Handle of a lane. It stays valid while the lane is busy or waiting; a lane that was removed and whose place was
/// taken again has another generation, so that a late handle meets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId {
    place: u32,
    generation: u32,
}

/// A lane that was found and waits for its record; use it before anything else changes.
#[must_use]
#[derive(Debug)]
pub struct Spot(u32);

/// Which handler a record goes to: an index into the object's routes.
pub type Route = u16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the ready queue of its head's route.
    Ready,
    /// Its head is outstanding here.
    Busy,
    /// Its head waits for its next attempt.
    Waiting,
    /// A record of its key is outstanding elsewhere.
    Held,
    /// All its records are spilled.
    Dry,
    /// Free for reuse.
    Vacant,
}

#[derive(Debug)]
struct Lane {
    key: StoredKey,
    hash: u64,
    queue: Link,
    state: State,
    /// It has a tail of spilled records.
    spilled: bool,
    /// How many loaded records it has.
    length: u32,
    /// How many hand-overs hold this key; independent of the queue.
    holds: u32,
    generation: u32,
}

/// All lanes of one pump.
#[derive(Debug)]
pub struct Lanes<T> {
    hasher: FixedState,
    table: HashTable<u32>,
    lanes: Vec<Lane>,
    vacant: Vec<u32>,
    entries: Entries<T>,
    tails: Tails,
    ready: Vec<Ready>,
}

impl<T> Lanes<T> {
    /// No lanes yet. `seed` varies the hash between processes, so that keys can't be chosen to collide.
    pub fn new(seed: u64, routes: usize) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            table: HashTable::new(),
            lanes: Vec::new(),
            vacant: Vec::new(),
            entries: Entries::default(),
            tails: Tails::default(),
            ready: (0..routes.max(1)).map(|_| Ready::default()).collect(),
        }
    }

    /// Finds or makes the lane of a key, so that what holds the key can then be moved into it.
    #[inline]
    pub fn find(&mut self, key: LaneKey<'_>) -> Spot {
        Spot(self.lane_of(key))
    }

    /// Queues a record in the lane that was just found.
    #[inline]
    pub fn push(&mut self, Spot(place): Spot, route: Route, item: T) {
        let lane = &mut self.lanes[place as usize];
        let first = lane.queue.is_empty();
        lane.length += 1;
        self.entries.push(&mut lane.queue, route, item);
        if first && matches!(lane.state, State::Vacant | State::Dry) {
            lane.state = State::Ready;
            let id = LaneId { place, generation: lane.generation };
            self.ready[usize::from(route)].join(id, false);
        }
    }

    /// Puts a record in the place of the last one of the lane that was just found and gives that one, where it has the
    /// same route, has not begun and `gives_way`. Otherwise queues the record behind it.
    pub fn push_or_replace(
        &mut self,
        Spot(place): Spot,
        route: Route,
        item: T,
        gives_way: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let lane = &self.lanes[place as usize];
        let spared = usize::from(matches!(lane.state, State::Busy | State::Waiting));
        if lane.length as usize > spared
            && let Some(last) = self.entries.back_mut(&lane.queue, route).filter(|last| gives_way(last))
        {
            return Some(std::mem::replace(last, item));
        }
        self.push(Spot(place), route, item);
        None
    }

    /// The next ready lane of a route; it is busy from now on, until one of [`Lanes::complete`],
    /// [`Lanes::put_back`] or [`Lanes::wait`].
    #[inline]
    pub fn take(&mut self, route: Route) -> Option<LaneId> {
        let id = self.ready[usize::from(route)].next()?;
        self.lanes[id.place as usize].state = State::Busy;
        Some(id)
    }

    /// The record at the head of a lane that is busy or waiting.
    #[inline]
    pub fn head(&self, id: LaneId) -> Option<&T> {
        let lane = self.live(id)?;
        self.entries.front(&lane.queue)
    }

    /// The same, to be changed.
    #[inline]
    pub fn head_mut(&mut self, id: LaneId) -> Option<&mut T> {
        let lane = self.lanes.get(id.place as usize).filter(|lane| lane.generation == id.generation)?;
        self.entries.front_mut(&lane.queue)
    }

    /// Shows every record of a lane that is not outstanding, to be changed.
    pub fn each_mut(&mut self, id: LaneId, show: impl FnMut(&mut T)) {
        if let Some(lane) = self.live(id) {
            let (queue, spared) = (lane.queue, usize::from(lane.state == State::Busy));
            self.entries.each_mut(&queue, spared, show);
        }
    }

    /// The ordering key of a lane; `None` where there is no order or the partition is the key.
    pub fn key(&self, id: LaneId) -> Option<&[u8]> {
        self.live(id)?.key.bytes()
    }

    /// The head has ended: takes it out; the next record of the key becomes ready.
    #[inline]
    pub fn complete(&mut self, id: LaneId) -> Option<T> {
        self.live(id).filter(|lane| matches!(lane.state, State::Busy | State::Waiting))?;
        let lane = &mut self.lanes[id.place as usize];
        let item = self.entries.pop(&mut lane.queue);
        lane.length -= u32::from(item.is_some());
        self.settle(id);
        item
    }

    /// The head could not be handled now and no time has to pass: the lane is ready again, at the front, so that a
    /// probe of an unavailable handler takes the oldest record.
    pub fn put_back(&mut self, id: LaneId) {
        if self.state(id) != Some(State::Busy) {
            return;
        }
        let lane = &mut self.lanes[id.place as usize];
        lane.state = if lane.holds > 0 { State::Held } else { State::Ready };
        if lane.state == State::Ready
            && let Some(route) = self.entries.front_route(&lane.queue)
        {
            self.ready[usize::from(route)].put_back(id);
        }
    }

    /// The head waits for its next attempt: the key is blocked, nothing else.
    pub fn wait(&mut self, id: LaneId) {
        if self.state(id) == Some(State::Busy) {
            self.lanes[id.place as usize].state = State::Waiting;
        }
    }

    /// The wait is over. `false` = that lane no longer waits.
    pub fn resume(&mut self, id: LaneId) -> bool {
        let waits = self.state(id) == Some(State::Waiting);
        if waits {
            self.settle(id);
        }
        waits
    }

    /// A record of this key is outstanding elsewhere: nothing of the key starts before [`Lanes::release`].
    /// A record of it that is busy here stays so.
    pub fn hold(&mut self, key: LaneKey<'_>) -> LaneId {
        let place = self.lane_of(key);
        let lane = &mut self.lanes[place as usize];
        lane.holds += 1;
        let id = LaneId { place, generation: lane.generation };
        match lane.state {
            State::Ready => {
                lane.state = State::Held;
                self.ready.iter_mut().for_each(|ready| ready.leave(id));
            }
            State::Vacant | State::Dry => lane.state = State::Held,
            State::Busy | State::Waiting | State::Held => {}
        }
        id
    }

    /// The record that was outstanding elsewhere has ended, or its member is gone.
    pub fn release(&mut self, id: LaneId) {
        if self.live(id).is_none_or(|lane| lane.holds == 0) {
            return;
        }
        let lane = &mut self.lanes[id.place as usize];
        lane.holds -= 1;
        if lane.holds == 0 && lane.state == State::Held {
            self.settle(id);
        }
    }

    /// Takes out every loaded record that `unwanted` names, except heads that are busy. For a shard that is released.
    pub fn remove_where(&mut self, mut unwanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        for place in 0..self.lanes.len() {
            let lane = &mut self.lanes[place];
            if lane.state == State::Vacant {
                continue;
            }
            let id = LaneId { place: place as u32, generation: lane.generation };
            let spared = usize::from(lane.state == State::Busy);
            let before = removed.len();
            let head_goes = self.entries.remove_where(&mut lane.queue, spared, &mut unwanted, &mut removed);
            lane.length -= (removed.len() - before) as u32;
            if head_goes && matches!(lane.state, State::Ready | State::Waiting) {
                if lane.state == State::Ready {
                    self.ready.iter_mut().for_each(|ready| ready.leave(id));
                }
                self.settle(id);
            }
        }
        removed
    }

    /// Whether a lane of that route is ready.
    #[inline]
    pub fn has_ready(&self, route: Route) -> bool {
        !self.ready[usize::from(route)].is_empty()
    }

    /// How many lanes of that route are ready.
    pub fn ready(&self, route: Route) -> usize {
        self.ready[usize::from(route)].len()
    }

    /// How many keys have a record here or are held.
    #[inline]
    pub fn keys(&self) -> usize {
        self.lanes.len() - self.vacant.len()
    }

    /// How many loaded records are here, the outstanding ones included.
    #[inline]
    pub fn records(&self) -> usize {
        self.entries.len()
    }

    fn state(&self, id: LaneId) -> Option<State> {
        self.live(id).map(|lane| lane.state)
    }

    fn live(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.get(id.place as usize).filter(|lane| lane.generation == id.generation)
    }

    /// After the head has gone or its wait is over: ready, held, dry or removed.
    fn settle(&mut self, id: LaneId) {
        let (records, keys) = (self.entries.len(), self.keys());
        let lane = &mut self.lanes[id.place as usize];
        let route = self.entries.front_route(&lane.queue);
        if lane.spilled {
            self.settle_tailed(id, route);
        } else if lane.holds > 0 {
            lane.state = State::Held;
        } else if let Some(route) = route {
            lane.state = State::Ready;
            self.ready[usize::from(route)].join(id, ready::is_deep(lane.length, records, keys));
        } else {
            self.remove(id.place);
        }
    }

    fn remove(&mut self, place: u32) {
        let lane = &mut self.lanes[place as usize];
        if lane.key.is_shared()
            && let Ok(entry) = self.table.find_entry(lane.hash, |other| *other == place)
        {
            entry.remove();
        }
        lane.state = State::Vacant;
        lane.key = StoredKey::Own;
        lane.generation = lane.generation.wrapping_add(1);
        self.vacant.push(place);
    }

    /// The lane of a key, made if there is none; a new one is vacant and must leave that state at once.
    fn lane_of(&mut self, key: LaneKey<'_>) -> u32 {
        let LaneKey::Own = key else {
            let hash = self.hasher.hash_one(key);
            let lanes = &self.lanes;
            if let Some(place) = self.table.find(hash, |place| lanes[*place as usize].key.is(key)) {
                return *place;
            }
            let place = self.vacate(StoredKey::from(key), hash);
            let lanes = &self.lanes;
            self.table.insert_unique(hash, place, |place| lanes[*place as usize].hash);
            return place;
        };
        self.vacate(StoredKey::Own, 0)
    }

    fn vacate(&mut self, key: StoredKey, hash: u64) -> u32 {
        if let Some(place) = self.vacant.pop() {
            let lane = &mut self.lanes[place as usize];
            lane.key = key;
            lane.hash = hash;
            return place;
        }
        self.lanes.push(Lane {
            key,
            hash,
            queue: Link::EMPTY,
            state: State::Vacant,
            spilled: false,
            length: 0,
            holds: 0,
            generation: 0,
        });
        (self.lanes.len() - 1) as u32
    }
}
