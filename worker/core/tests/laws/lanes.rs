//! Laws of the lanes: order per key, one outstanding a key, nothing lost, nobody starved, whatever happens; with tails
//! that are spilled and refilled at any time.

use std::collections::{BTreeMap, VecDeque};

use keyweir_core::{LaneId, LaneKey, Lanes, Offset, Seq, ShardIndex, Spilled};
use proptest::prelude::*;

use super::laws;

/// Keys that records may have; one more stands for a record without an order, one for the shard as a whole.
const KEYS: u8 = 5;

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Take,
    Complete(usize),
    PutBack(usize),
    Wait(usize),
    Resume(usize),
    Hold(u8),
    Release(usize),
    Remove(u8),
    Spill(usize),
    Refill(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = 0..8_usize;
    let step = prop_oneof![
        8 => (0..KEYS + 2).prop_map(Step::Push),
        // One key is hot, so that its lane gets deep.
        4 => Just(Step::Push(0)),
        8 => Just(Step::Take),
        6 => any.clone().prop_map(Step::Complete),
        1 => any.clone().prop_map(Step::PutBack),
        2 => any.clone().prop_map(Step::Wait),
        2 => any.clone().prop_map(Step::Resume),
        1 => (0..KEYS).prop_map(Step::Hold),
        1 => any.clone().prop_map(Step::Release),
        2 => (0..4_usize).prop_map(Step::Spill),
        6 => any.prop_map(Step::Refill),
        1 => (0..10_u8).prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..300)
}

/// A record: its key and its number among all.
type Item = (u8, u32);

#[derive(Default)]
struct Model {
    /// What each ordered key has, the outstanding one included.
    queues: BTreeMap<u8, VecDeque<u32>>,
    /// Records without an order.
    loose: Vec<u32>,
    busy: Vec<(LaneId, Item)>,
    waiting: Vec<(LaneId, Item)>,
    held: Vec<(LaneId, u8)>,
    /// The key of each record that was pushed.
    pushed: Vec<u8>,
}

/// Where a record stands: at its number. One in seven can't be read again.
fn place(item: &Item) -> Option<Spilled> {
    let number = item.1;
    let (offset, seq) = (Offset(number.into()), Seq(number.into()));
    (number % 7 != 3).then_some(Spilled { shard: ShardIndex(0), offset, seq })
}

fn key_of(bytes: &[u8; 1]) -> LaneKey<'_> {
    match bytes[0] {
        KEYS => LaneKey::Own,
        other if other > KEYS => LaneKey::Shard(ShardIndex(0)),
        _ => LaneKey::Key { stream: 0, key: bytes },
    }
}

impl Model {
    fn push(&mut self, lanes: &mut Lanes<Item>, key: u8) {
        let (spot, item) = (lanes.find(key_of(&[key])), (key, self.pushed.len() as u32));
        match place(&item).filter(|_| lanes.spills(&spot)) {
            Some(place) => lanes.push_spilled(spot, place),
            // What can't be read again joins the loaded ones of a lane with a tail: it has no order there.
            None if lanes.spills(&spot) => return,
            None => lanes.push(spot, 0, item),
        }
        match key {
            KEYS => self.loose.push(item.1),
            key => self.queues.entry(key).or_default().push_back(item.1),
        }
        self.pushed.push(key);
    }

    /// What a lane that was taken must be: the oldest of its key, of which nothing is outstanding or held.
    fn taken(&mut self, lane: LaneId, (key, number): Item) {
        if key == KEYS {
            assert!(self.loose.contains(&number), "it is there");
        } else {
            assert_eq!(self.queues[&key].front(), Some(&number), "the oldest of its key");
            let outstanding = self.busy.iter().chain(&self.waiting).any(|(_, (other, _))| *other == key);
            assert!(!outstanding, "one outstanding a key");
            assert!(!self.held.iter().any(|(_, held)| *held == key), "a held key does not start");
        }
        self.busy.push((lane, (key, number)));
    }

    fn gone(&mut self, (key, number): Item) {
        match key {
            KEYS => self.loose.retain(|loose| *loose != number),
            key => self.queues.entry(key).or_default().retain(|other| *other != number),
        }
    }

    fn step(&mut self, lanes: &mut Lanes<Item>, step: &Step) {
        match *step {
            Step::Push(key) => self.push(lanes, key),
            Step::Take => {
                if let Some(lane) = lanes.take(0) {
                    let head = *lanes.head(lane).expect("a lane that was taken has a head");
                    self.taken(lane, head);
                }
            }
            Step::Complete(which) if !self.busy.is_empty() => {
                let (lane, item) = self.busy.swap_remove(which % self.busy.len());
                assert_eq!(lanes.complete(lane), Some(item));
                self.gone(item);
            }
            Step::PutBack(which) if !self.busy.is_empty() => {
                let (lane, _) = self.busy.swap_remove(which % self.busy.len());
                lanes.put_back(lane);
            }
            Step::Wait(which) if !self.busy.is_empty() => {
                let taken = self.busy.swap_remove(which % self.busy.len());
                lanes.wait(taken.0);
                self.waiting.push(taken);
            }
            Step::Resume(which) if !self.waiting.is_empty() => {
                let (lane, _) = self.waiting.swap_remove(which % self.waiting.len());
                assert!(lanes.resume(lane), "it waited");
            }
            Step::Hold(key) => self.held.push((lanes.hold(key_of(&[key])), key)),
            Step::Release(which) if !self.held.is_empty() => {
                let (lane, _) = self.held.swap_remove(which % self.held.len());
                lanes.release(lane);
            }
            Step::Remove(tenth) => {
                let spilled = lanes.remove_spilled(|spilled| spilled.offset.0 % 10 == i64::from(tenth));
                for number in spilled.iter().map(|spilled| spilled.seq.0 as u32) {
                    self.gone((self.pushed[number as usize], number));
                }
                for item in lanes.remove_where(|(_, number)| number % 10 == u32::from(tenth)) {
                    self.gone(item);
                    // What waited for its next attempt is gone too: its lane no longer waits.
                    self.waiting.retain(|(_, waiting)| *waiting != item);
                    assert!(!self.busy.iter().any(|(_, busy)| *busy == item), "what is outstanding stays");
                }
            }
            Step::Spill(depth) => lanes.spill_beyond(depth, place, |_| ()),
            Step::Refill(which) => self.refill(lanes, which),
            _ => {}
        }
        let records: usize = self.queues.values().map(VecDeque::len).sum();
        assert_eq!(lanes.records() + lanes.spilled(), records + self.loose.len());
        assert_eq!(lanes.spilled(), lanes.tails().map(|tail| tail.spilled.len()).sum::<usize>());
        assert!(lanes.tails().all(|tail| !tail.spilled.is_empty()), "a tail that is through is none");
    }

    /// Some lane's first spilled record is read again.
    fn refill(&mut self, lanes: &mut Lanes<Item>, which: usize) {
        let tailed = lanes.tailed().max(1);
        let lane = lanes.tails().nth(which % tailed).map(|tail| tail.lane);
        if let Some((lane, first)) = lane.and_then(|lane| Some((lane, lanes.first_spilled(lane)?))) {
            let number = first.seq.0 as u32;
            lanes.refill(lane, 0, (self.pushed[number as usize], number));
        }
    }

    /// Everything goes on, and everything comes out.
    fn drain(&mut self, lanes: &mut Lanes<Item>) {
        while !self.held.is_empty() {
            self.step(lanes, &Step::Release(0));
        }
        while !self.waiting.is_empty() {
            self.step(lanes, &Step::Resume(0));
        }
        while !self.busy.is_empty() || lanes.has_ready(0) || lanes.spilled() > 0 {
            self.step(lanes, &Step::Take);
            self.step(lanes, &Step::Complete(0));
            self.step(lanes, &Step::Refill(0));
        }
        assert_eq!((lanes.records(), lanes.keys(), lanes.ready(0)), (0, 0, 0), "nothing is left");
    }
}

proptest! {
    #![proptest_config(laws(500))]

    #[test]
    fn a_key_has_one_outstanding_in_order_and_nothing_is_lost(steps in steps()) {
        let (mut lanes, mut model) = (Lanes::new(7, 1), Model::default());
        for step in &steps {
            model.step(&mut lanes, step);
        }
        model.drain(&mut lanes);
    }

    #[test]
    fn a_lane_runs_thirsty_before_it_is_dry_and_when_it_is(records in 10..200_u32, depth in 1..10_usize) {
        let mut lanes = Lanes::new(7, 1);
        for number in 0..records {
            let spot = lanes.find(LaneKey::Key { stream: 0, key: b"hot" });
            lanes.push(spot, 0, (0, number * 7));
        }
        lanes.spill_beyond(depth, place, |_| ());
        lanes.set_few(depth / 2);
        prop_assert_eq!((lanes.records(), lanes.spilled()), (depth, records as usize - depth));
        for loaded in (0..depth).rev() {
            let lane = lanes.take(0).expect("what is loaded is ready");
            lanes.complete(lane);
            prop_assert_eq!(lanes.take_thirst(), loaded == depth / 2 || loaded == 0);
        }
        prop_assert!(!lanes.has_ready(0), "a dry lane starts nothing");
        prop_assert_eq!(lanes.keys(), 1, "and is there");
    }

    #[test]
    fn nobody_waits_longer_than_two_rounds(hot in 1..5000_u32, others in 5..200_u8) {
        let mut lanes = Lanes::new(7, 1);
        let mut push = |key: u8| {
            let spot = lanes.find(LaneKey::Key { stream: 0, key: &[key] });
            lanes.push(spot, 0, key);
        };
        (0..hot).for_each(|_| push(0));
        (1..=others).for_each(&mut push);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2 * (usize::from(others) + 1) {
            if let Some(lane) = lanes.take(0) {
                seen.extend(lanes.complete(lane));
            }
        }
        prop_assert_eq!(seen.len(), usize::from(others) + 1, "each key had its turn");
    }
}
