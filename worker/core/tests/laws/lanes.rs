//! Laws of the lanes: order per key, one outstanding a key, nothing lost, nobody starved, whatever happens.

use std::collections::{BTreeMap, VecDeque};

use keyweir_core::{LaneId, LaneKey, Lanes, ShardIndex};
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
        1 => any.prop_map(Step::Release),
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
    pushed: u32,
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
        let spot = lanes.find(key_of(&[key]));
        lanes.push(spot, 0, (key, self.pushed));
        match key {
            KEYS => self.loose.push(self.pushed),
            key => self.queues.entry(key).or_default().push_back(self.pushed),
        }
        self.pushed += 1;
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
                for item in lanes.remove_where(|(_, number)| number % 10 == u32::from(tenth)) {
                    self.gone(item);
                    // What waited for its next attempt is gone too: its lane no longer waits.
                    self.waiting.retain(|(_, waiting)| *waiting != item);
                    assert!(!self.busy.iter().any(|(_, busy)| *busy == item), "what is outstanding stays");
                }
            }
            _ => {}
        }
        let records: usize = self.queues.values().map(VecDeque::len).sum();
        assert_eq!(lanes.records(), records + self.loose.len());
    }

    /// Everything goes on, and everything comes out.
    fn drain(&mut self, lanes: &mut Lanes<Item>) {
        while !self.held.is_empty() {
            self.step(lanes, &Step::Release(0));
        }
        while !self.waiting.is_empty() {
            self.step(lanes, &Step::Resume(0));
        }
        while !self.busy.is_empty() || lanes.has_ready(0) {
            self.step(lanes, &Step::Take);
            self.step(lanes, &Step::Complete(0));
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
