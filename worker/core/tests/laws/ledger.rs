//! Laws of the ledger, against a plain model of a shard's log, across crashes.

use std::collections::BTreeMap;

use keyweir_core::{Charge, Checkpoint, Completion, Fence, Ledger, Offset, RangeSet, Seq};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::laws;

/// What happens to a shard. Numbers choose among what is possible at that moment.
#[derive(Debug, Clone)]
enum Step {
    /// So many records are read; new ones stand so far apart.
    Read { records: usize, apart: i64 },
    /// So many records are read, and each but every so-manieth completes at once: the others fall behind.
    Pass { records: usize, but_every: usize, apart: i64 },
    /// Of the outstanding ones, every so-manieth completes, from the bottom or from the top.
    Complete { every: usize, descending: bool },
    /// One outstanding record completes.
    CompleteOne(prop::sample::Index),
    /// A record that is complete completes again.
    CompleteAgain(prop::sample::Index),
    /// The source says that it has delivered all below an offset so far behind the end of its log.
    Advance(i64),
    /// A checkpoint becomes durable.
    Checkpoint,
    /// All is lost but the last durable checkpoint.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let apart = prop_oneof![6 => Just(1i64), 3 => 2i64..9, 1 => Just(1_000_000_000_000)];
    let but_every = prop_oneof![1usize..10, 10usize..2_000];
    prop_oneof![
        6 => (1usize..40, apart.clone()).prop_map(|(records, apart)| Step::Read { records, apart }),
        6 => (500usize..3_000, but_every, apart)
            .prop_map(|(records, but_every, apart)| Step::Pass { records, but_every, apart }),
        6 => (1usize..30, any::<bool>()).prop_map(|(every, descending)| Step::Complete { every, descending }),
        6 => any::<prop::sample::Index>().prop_map(Step::CompleteOne),
        1 => any::<prop::sample::Index>().prop_map(Step::CompleteAgain),
        1 => (0i64..5).prop_map(Step::Advance),
        3 => Just(Step::Checkpoint),
        2 => Just(Step::Crash),
    ]
}

/// A shard's log and what is true about its records, kept as plainly as can be, beside the ledger.
struct Shard {
    ledger: Ledger,
    log: Vec<i64>,
    /// Of each record of the log, whether it is complete.
    complete: Vec<bool>,
    /// Below it nothing is added to the log any more.
    end: i64,
    /// How many records of the log were read.
    read: usize,
    /// By place in the log.
    outstanding: BTreeMap<usize, Seq>,
    finished: Vec<Seq>,
    /// The last durable checkpoint, and what was complete when it was written.
    durable: (Vec<u8>, Vec<bool>),
}

impl Shard {
    fn new() -> Self {
        Self {
            ledger: Ledger::new(Offset::ZERO),
            log: Vec::new(),
            complete: Vec::new(),
            end: 0,
            read: 0,
            outstanding: BTreeMap::new(),
            finished: Vec::new(),
            durable: (Checkpoint::default().encode(), Vec::new()),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Read { records, apart } => {
                for _ in 0..*records {
                    self.read_one(*apart);
                }
            }
            Step::Pass { records, but_every, apart } => (0..*records).for_each(|n| {
                if let Some(place) = self.read_one(*apart)
                    && n % but_every != 0
                {
                    self.finish(place);
                }
            }),
            Step::Complete { every, descending } => {
                let mut chosen: Vec<usize> = self.outstanding.keys().copied().step_by(*every).collect();
                if *descending {
                    chosen.reverse();
                }
                chosen.into_iter().for_each(|place| self.finish(place));
            }
            Step::CompleteOne(index) => {
                if !self.outstanding.is_empty() {
                    let chosen = *self.outstanding.keys().nth(index.index(self.outstanding.len())).unwrap();
                    self.finish(chosen);
                }
            }
            Step::CompleteAgain(index) => {
                if !self.finished.is_empty() {
                    let seq = self.finished[index.index(self.finished.len())];
                    assert_eq!(self.ledger.complete(seq), Completion::Repeated);
                }
            }
            Step::Advance(behind) => {
                if self.read == self.log.len() {
                    self.end += behind;
                    self.ledger.advance(Offset(self.end));
                }
            }
            Step::Checkpoint => self.checkpoint(),
            Step::Crash => self.crash(),
        }
    }

    /// Reads the next record; its place, where it is to be handled.
    fn read_one(&mut self, apart: i64) -> Option<usize> {
        let place = self.read;
        if place == self.log.len() {
            self.log.push(self.end + apart - 1);
            self.end += apart;
            self.complete.push(false);
        }
        self.read += 1;
        let offset = self.log[place];
        match self.ledger.charge(Offset(offset)) {
            Charge::New(seq) => {
                assert!(!self.complete[place], "{offset} is complete and is delivered again");
                self.outstanding.insert(place, seq);
                Some(place)
            }
            Charge::AlreadyComplete => {
                assert!(self.complete[place], "{offset} is lost");
                None
            }
            Charge::Stale => panic!("{offset} is lost"),
        }
    }

    fn finish(&mut self, place: usize) {
        let seq = self.outstanding.remove(&place).unwrap();
        assert_eq!(self.ledger.complete(seq), Completion::Done);
        self.complete[place] = true;
        self.finished.push(seq);
    }

    fn checkpoint(&mut self) {
        let checkpoint = Checkpoint {
            completed: self.ledger.completed_above(),
            ..Checkpoint::new(Fence::default(), self.ledger.frontier())
        };
        self.durable = (checkpoint.encode(), self.complete.clone());
    }

    fn crash(&mut self) {
        let checkpoint = Checkpoint::decode(&self.durable.0).unwrap();
        self.ledger = Ledger::restore(checkpoint.frontier, &checkpoint.completed);
        self.complete.clone_from(&self.durable.1);
        self.complete.resize(self.log.len(), false);
        self.outstanding.clear();
        self.finished.clear();
        self.read = self.log.partition_point(|offset| *offset < checkpoint.frontier.0);
    }

    fn check(&self) {
        let (frontier, completed) = (self.ledger.frontier(), self.ledger.completed_above());
        assert_eq!(self.ledger.outstanding(), self.outstanding.len());
        let mut ranges = completed.iter().peekable();
        for (&offset, &complete) in self.log.iter().zip(&self.complete) {
            assert!(complete || frontier.0 <= offset, "the frontier {frontier} passes {offset}");
            while ranges.next_if(|range| range.end.0 <= offset).is_some() {}
            let known =
                offset < frontier.0 || ranges.peek().is_some_and(|range| range.contains(Offset(offset)));
            assert_eq!(known, complete, "{offset}: frontier {frontier}, completed {completed:?}");
        }
        for place in (0..self.read).step_by(7).chain(self.outstanding.keys().copied()) {
            let offset = Offset(self.log[place]);
            assert_eq!(self.ledger.is_complete(offset), self.complete[place], "{offset}");
        }
        drop(ranges);
        self.check_size(frontier, completed);
    }

    /// The estimate is an upper bound of what the set takes and counts its ranges; memory is for what is open.
    fn check_size(&self, frontier: Offset, completed: RangeSet) {
        let estimate = self.ledger.encoded_len_estimate();
        assert!(completed.is_empty() || estimate >= 2 * completed.len());
        let bare = Checkpoint::new(Fence::default(), frontier);
        let whole = Checkpoint { completed, ..bare.clone() };
        // A section's tag and length come on top of the ranges.
        let ranges = whole.encode().len().saturating_sub(bare.encode().len() + 6);
        assert!(ranges <= estimate && estimate <= 21 * (whole.completed.len() + 1));
    }
}

proptest! {
    #![proptest_config(laws(128))]

    /// The frontier passes no unfinished record and never goes back; frontier, completed set and outstanding records
    /// divide the log; after a crash exactly that is delivered again which the checkpoint did not know as complete.
    #[test]
    fn the_ledger_divides_the_log_into_complete_and_unfinished(steps in vec(step(), 1..50)) {
        let mut shard = Shard::new();
        let mut frontier = shard.ledger.frontier();
        for step in &steps {
            shard.take(step);
            shard.check();
            if matches!(step, Step::Crash) {
                frontier = shard.ledger.frontier();
            }
            prop_assert!(shard.ledger.frontier() >= frontier, "the frontier goes back");
            frontier = shard.ledger.frontier();
        }
    }

    /// Once all of the log is read and complete, the frontier stands behind it and nothing is kept.
    #[test]
    fn a_ledger_with_nothing_outstanding_is_its_frontier(steps in vec(step(), 1..50)) {
        let mut shard = Shard::new();
        steps.iter().for_each(|step| shard.take(step));
        while shard.read < shard.log.len() {
            shard.read_one(1);
        }
        shard.take(&Step::Advance(0));
        shard.take(&Step::Complete { every: 1, descending: true });
        prop_assert_eq!(shard.ledger.frontier(), shard.ledger.next_offset());
        prop_assert!(shard.ledger.completed_above().is_empty());
        prop_assert_eq!((shard.ledger.span(), shard.ledger.encoded_len_estimate()), (0, 0));
    }

    /// A frontier is taken if there is something new to write, and once.
    #[test]
    fn a_frontier_is_given_once_for_what_changed(steps in vec(step(), 1..30)) {
        let mut shard = Shard::new();
        for step in &steps {
            let known = shard.complete.iter().filter(|complete| **complete).count();
            shard.take(step);
            let news = shard.complete.iter().filter(|complete| **complete).count() != known;
            match shard.ledger.take_frontier() {
                Some(frontier) => prop_assert_eq!(frontier, shard.ledger.frontier()),
                None => prop_assert!(!news || matches!(step, Step::Crash)),
            }
            prop_assert_eq!(shard.ledger.take_frontier(), None);
        }
    }

    /// What passes a few stuck records costs no memory, whatever it is and however long they are stuck.
    #[test]
    fn memory_is_for_what_is_outstanding(stuck_every in 50usize..5_000, rounds in 1usize..40) {
        let mut shard = Shard::new();
        for _ in 0..rounds {
            shard.take(&Step::Pass { records: 5_000, but_every: stuck_every, apart: 1 });
            let outstanding = shard.outstanding.len();
            prop_assert!(shard.ledger.span() <= 2 * outstanding + 1_024 + 256, "{} for {outstanding}", shard.ledger.span());
        }
        shard.take(&Step::Complete { every: 2, descending: true });
        shard.take(&Step::Read { records: 1, apart: 1 });
        prop_assert!(shard.ledger.span() <= 2 * shard.outstanding.len() + 1_024 + 256);
    }
}
