//! A seeded simulation with paused time: random handlers, failures, releases, tunings and crashes; order, loss and
//! the frontier are checked after each step.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyweir_contract::policy::Concurrency;
use keyweir_core::Offset;
use keyweir_engine::ports::CheckpointStore;
use keyweir_engine::pump::{Command, ReleaseMode};
use keyweir_engine::testing::fakes::FnHandler;
use keyweir_engine::{Outcome, Verdict};

use super::{Bench, Worker};

const STEPS: usize = 40;
const SEEDS: u64 = 60;

/// Small and seeded: the same run for the same seed.
#[derive(Clone)]
pub(super) struct Dice(Arc<Mutex<u64>>);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock().expect("no test panics with it");
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) % bound
    }
}

/// A handler that is quick, slow, failing, unavailable or panicking, as the dice say.
fn moody(dice: &Dice) -> FnHandler {
    let dice = dice.clone();
    FnHandler::new(move |_| {
        let (mood, wait) = (dice.below(20), Duration::from_millis(dice.below(300)));
        async move {
            if mood > 6 {
                tokio::time::sleep(wait).await;
            }
            match mood {
                0 => Outcome::unavailable("Busy", "later"),
                1 | 2 => Outcome::retry("Moody", "not now"),
                3 => panic!("in a bad mood"),
                4 => Outcome::from(Verdict::Retry { after: Some(wait), failure: super::failure("Later") }),
                _ => Outcome::DONE,
            }
        }
    })
}

struct Sim {
    bench: Bench,
    dice: Dice,
    sent: Vec<Offset>,
    worker: Option<Worker>,
    /// Records that were read again after they had been spilled.
    recalled: u64,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::new();
        bench.live.retry.max_attempts = 1000;
        bench.live.execution.limits.records = 50;
        // So that lanes spill often.
        bench.live.execution.limits.records_per_key = 2;
        bench.live.drain_timeout = Duration::from_millis(100);
        Self { bench, dice: Dice::new(seed), sent: Vec::new(), worker: None, recalled: 0 }
    }

    async fn step(&mut self) {
        match self.dice.below(10) {
            0..4 => self.send(),
            4 => self.end_worker().await,
            5 => self.tune().await,
            6 => self.release().await,
            7 => self.bench.log.skip("orders", 0, self.dice.below(5) as i64),
            8 => self.bench.checkpoints.set_failing(self.dice.below(3) == 0),
            _ => {}
        }
        if self.worker.is_none() {
            self.worker = Some(self.bench.start(moody(&self.dice)));
        }
        tokio::time::sleep(Duration::from_millis(self.dice.below(2000))).await;
        self.check();
        self.recalled += self.worker.as_ref().map_or(0, |worker| worker.pump.snapshot().counters.recalled);
    }

    fn send(&mut self) {
        for _ in 0..self.dice.below(60) {
            // Half of the records are of one key.
            let key = format!("k{}", self.dice.below(14).saturating_sub(7));
            self.sent.push(self.bench.send(&key, "v"));
        }
    }

    async fn end_worker(&mut self) {
        let Some(worker) = self.worker.take() else {
            return;
        };
        if self.dice.below(2) == 0 {
            worker.kill(&self.bench.oracle).await;
        } else {
            worker.stop().await;
            self.bench.oracle.crashed();
        }
    }

    async fn tune(&mut self) {
        let execution = &mut self.bench.live.execution;
        execution.concurrency = Concurrency::Fixed(1 + self.dice.below(16) as u32);
        execution.limits.records = 10 + self.dice.below(50);
        execution.limits.keys = 1 + self.dice.below(20);
        // So that lanes spill often.
        execution.limits.records_per_key = 1 + self.dice.below(3);
        if let Some(worker) = &self.worker {
            let _ = worker.pump.send(Command::Tune(Box::new(self.bench.live.clone()))).await;
        }
    }

    /// Gives the shard up and takes it again, as a move would, under a newer fence.
    async fn release(&mut self) {
        let Some(worker) = &self.worker else {
            return;
        };
        self.bench.checkpoints.set_failing(false);
        let released = worker.pump.release(self.bench.shard(), ReleaseMode::Drain).await;
        if let Some(mut checkpoint) = released.ok().and_then(|released| released.checkpoint) {
            checkpoint.fence.revision += 1;
            let durable = vec![(self.bench.shard(), checkpoint.clone())];
            self.bench.checkpoints.save(durable).await.expect("the store works");
            worker.own(self.bench.shard(), checkpoint).await;
        }
    }

    /// No order violation, and no frontier beyond a record that was never done.
    fn check(&self) {
        assert_eq!(self.bench.oracle.violations(), Vec::<String>::new());
        let Some(stored) = self.bench.checkpoints.stored(&self.bench.shard()) else {
            return;
        };
        for offset in self
            .sent
            .iter()
            .filter(|offset| **offset < stored.frontier || stored.completed.contains(**offset))
        {
            let done = self.bench.oracle.done(&self.bench.shard(), *offset);
            assert!(done > 0, "{offset} counts as complete and was never done");
        }
    }

    /// Until everything is done: nothing may be lost.
    async fn finish(mut self) -> HashMap<Offset, u32> {
        self.bench.checkpoints.set_failing(false);
        if let Some(worker) = self.worker.take() {
            worker.stop().await;
            self.bench.oracle.crashed();
        }
        let worker = self.bench.start(moody(&self.dice));
        let all_done =
            || self.sent.iter().all(|offset| self.bench.oracle.done(&self.bench.shard(), *offset) > 0);
        for _ in 0..10_000 {
            if all_done() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(all_done(), "records are lost");
        self.check();
        worker.stop().await;
        let times = |offset: &Offset| (*offset, self.bench.oracle.done(&self.bench.shard(), *offset));
        self.sent.iter().map(times).collect()
    }
}

#[test]
fn whatever_happens_nothing_is_lost_and_order_is_kept() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload().downcast_ref::<&str>().copied().unwrap_or_default();
        if text != "in a bad mood" {
            eprintln!("{panic}");
        }
    }));
    let mut recalled = 0;
    for seed in 0..SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut sim = Sim::new(seed);
            for _ in 0..STEPS {
                sim.step().await;
            }
            recalled += sim.recalled;
            let times = sim.finish().await;
            println!("seed {seed}: {} records, {} times done", times.len(), times.values().sum::<u32>());
        });
    }
    assert!(recalled > 1_000, "lanes spill and are refilled: {recalled}");
}
