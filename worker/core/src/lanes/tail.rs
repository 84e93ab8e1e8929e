//! Spilled tails: what a lane keeps of records whose contents were given back.
//!
//! ```text
//!  lane:  loaded records (FIFO), the head first  │  tail: shard, offset and token of each, 24 bytes
//!  push ──────────────── no tail ──────▶ loaded  │  has a tail ──▶ push_spilled
//!                                          ▲     │        ▲
//!                                          └── refill     └── spill_beyond: from the loaded ones' end
//! ```
//!
//! A lane with a tail takes new records behind it only, so that order holds. Its first record always stays loaded. One
//! whose loaded records are all through is dry: it starts nothing until it is refilled. Who reads the contents again is
//! asked for by [`Lanes::take_thirst`]. Up: [`super`].

use std::collections::{BTreeMap, VecDeque};

use super::{LaneId, Lanes, Route, Spot, State};
use crate::ids::{Offset, Seq, ShardIndex};

/// A record of which only its place is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spilled {
    /// The shard it was read from.
    pub shard: ShardIndex,
    /// Its place there.
    pub offset: Offset,
    /// Its token in the shard's ledger.
    pub seq: Seq,
}

/// The tails of all lanes that have one.
#[derive(Debug, Default)]
pub(super) struct Tails {
    by_lane: BTreeMap<u32, VecDeque<Spilled>>,
    records: usize,
    /// How few loaded records of a lane with a tail are few.
    few: u32,
    /// A lane with a tail has come to few loaded records since this was last asked.
    thirsty: bool,
}

impl Tails {
    /// A lane with a tail has so many loaded records now.
    fn feel(&mut self, loaded: u32) {
        self.thirsty |= loaded == self.few || loaded == 0;
    }
}

/// A lane with a spilled tail.
#[derive(Clone, Copy, Debug)]
pub struct Tail<'a> {
    /// The lane.
    pub lane: LaneId,
    /// How many of its records are loaded, the outstanding one included.
    pub loaded: usize,
    /// The others, in order.
    pub spilled: &'a VecDeque<Spilled>,
}

impl<T> Lanes<T> {
    /// Whether a record for that lane must be spilled: it stands behind some that are.
    #[inline]
    pub fn spills(&self, Spot(place): &Spot) -> bool {
        self.lanes[*place as usize].spilled
    }

    /// How many records the lane that was just found has, loaded or not.
    pub fn length(&self, Spot(place): &Spot) -> usize {
        let tail = self.tails.by_lane.get(place).map_or(0, VecDeque::len);
        self.lanes[*place as usize].length as usize + tail
    }

    /// Queues a record behind the tail of the lane that was just found.
    pub fn push_spilled(&mut self, Spot(place): Spot, spilled: Spilled) {
        let lane = &mut self.lanes[place as usize];
        lane.spilled = true;
        if lane.state == State::Vacant {
            lane.state = State::Dry;
        }
        self.tails.by_lane.entry(place).or_default().push_back(spilled);
        self.tails.records += 1;
    }

    /// Spills what lanes have beyond their first `depth` records. `place` says where a record stands; what has no such
    /// place stays, and all that is before it. `dropped` gets what was spilled.
    pub fn spill_beyond(
        &mut self,
        depth: usize,
        place: impl Fn(&T) -> Option<Spilled>,
        mut dropped: impl FnMut(T),
    ) {
        let depth = depth.max(1);
        if self.entries.len() <= depth {
            return;
        }
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.length as usize <= depth {
                continue;
            }
            let mut spilled = VecDeque::new();
            let mut kept = depth;
            for (position, item) in self.entries.iter(&lane.queue).enumerate().skip(depth) {
                match place(item) {
                    Some(place) => spilled.push_back(place),
                    None => {
                        kept = position + 1;
                        spilled.clear();
                    }
                }
            }
            if spilled.is_empty() {
                continue;
            }
            self.entries.cut(&mut lane.queue, kept, &mut dropped);
            lane.length = kept as u32;
            lane.spilled = true;
            self.tails.records += spilled.len();
            let tail = self.tails.by_lane.entry(index as u32).or_default();
            spilled.append(tail);
            *tail = spilled;
        }
    }

    /// The same as [`Lanes::settle`] for a lane with a tail, which is deep whatever is loaded of it.
    #[cold]
    pub(super) fn settle_tailed(&mut self, id: LaneId, route: Option<Route>) {
        let lane = &mut self.lanes[id.place as usize];
        self.tails.feel(lane.length);
        if lane.holds > 0 {
            lane.state = State::Held;
        } else if let Some(route) = route {
            lane.state = State::Ready;
            self.ready[usize::from(route)].join(id, true);
        } else {
            lane.state = State::Dry;
        }
    }

    /// The first record of a lane's tail.
    pub fn first_spilled(&self, id: LaneId) -> Option<Spilled> {
        self.live(id)?;
        self.tails.by_lane.get(&id.place)?.front().copied()
    }

    /// The first record of a lane's tail was read again; it joins the loaded ones.
    pub fn refill(&mut self, id: LaneId, route: Route, item: T) {
        if self.live(id).is_none_or(|lane| !lane.spilled) {
            return;
        }
        if let Some(tail) = self.tails.by_lane.get_mut(&id.place) {
            self.tails.records -= usize::from(tail.pop_front().is_some());
            if tail.is_empty() {
                self.tails.by_lane.remove(&id.place);
                self.lanes[id.place as usize].spilled = false;
            }
        }
        self.push(Spot(id.place), route, item);
    }

    /// Takes out every spilled record that `unwanted` names.
    pub fn remove_spilled(&mut self, mut unwanted: impl FnMut(&Spilled) -> bool) -> Vec<Spilled> {
        let mut removed = Vec::new();
        let mut emptied = Vec::new();
        for (place, tail) in &mut self.tails.by_lane {
            tail.retain(|spilled| {
                let goes = unwanted(spilled);
                removed.extend(goes.then_some(*spilled));
                !goes
            });
            if tail.is_empty() {
                emptied.push(*place);
            }
        }
        self.tails.records -= removed.len();
        self.tails.thirsty |= !removed.is_empty();
        for place in emptied {
            self.tails.by_lane.remove(&place);
            let lane = &mut self.lanes[place as usize];
            lane.spilled = false;
            if lane.state == State::Dry {
                let id = LaneId { place, generation: lane.generation };
                self.settle(id);
            }
        }
        removed
    }

    /// The lanes that have a tail.
    pub fn tails(&self) -> impl Iterator<Item = Tail<'_>> {
        self.tails.by_lane.iter().map(|(place, spilled)| {
            let lane = &self.lanes[*place as usize];
            let id = LaneId { place: *place, generation: lane.generation };
            Tail { lane: id, loaded: lane.length as usize, spilled }
        })
    }

    /// How many lanes have a tail.
    #[inline]
    pub fn tailed(&self) -> usize {
        self.tails.by_lane.len()
    }

    /// How many records are spilled.
    #[inline]
    pub fn spilled(&self) -> usize {
        self.tails.records
    }

    /// From how few loaded records on a lane with a tail is thirsty.
    pub fn set_few(&mut self, few: usize) {
        self.tails.few = u32::try_from(few).unwrap_or(u32::MAX);
    }

    /// Whether a lane with a tail has become thirsty since this was last asked.
    #[inline]
    pub fn take_thirst(&mut self) -> bool {
        std::mem::take(&mut self.tails.thirsty)
    }
}
