//! Hooks: what they are told, and that a failing one costs nobody anything.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset, ShardId};
use keyweir_engine::ports::{Observer, RecordEvent, ShardEvent};
use keyweir_engine::testing::fakes::FnHandler;
use keyweir_engine::{Failure, Outcome, Record, Verdict};

use super::Bench;

/// What a hook was told, in order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn say(&self, what: String) {
        self.0.lock().expect("no test panics with it").push(what);
    }

    /// What it was told, ticks aside, and how many of those there were.
    fn all(&self) -> (Vec<String>, usize) {
        let told = self.0.lock().expect("no test panics with it").clone();
        let (ticks, told): (Vec<_>, Vec<_>) = told.into_iter().partition(|what| what == "tick");
        (told, ticks.len())
    }
}

impl Observer for Told {
    fn start(&mut self) {
        self.say("start".to_owned());
    }

    fn record(
        &mut self,
        shard: &Arc<ShardId>,
        _: Fence,
        key: Option<&[u8]>,
        record: &Record,
        event: RecordEvent<'_>,
    ) {
        let what = match event {
            RecordEvent::Polled { .. } => return,
            RecordEvent::Started(attempt) => format!("begin {}", attempt.0),
            RecordEvent::Ended(attempt, Some(Verdict::Done)) => format!("end {}", attempt.0),
            RecordEvent::Ended(attempt, verdict) => format!("end {}: {}", attempt.0, why(verdict)),
            RecordEvent::SetAside(aside) => format!("{aside:?}"),
        };
        let key = String::from_utf8_lossy(key.unwrap_or_default()).into_owned();
        self.say(format!("{shard}@{} {key}: {what}", record.offset));
    }

    fn shard(&mut self, shard: &Arc<ShardId>, _: Fence, event: ShardEvent) {
        self.say(format!("{shard} {event:?}"));
    }

    fn tick(&mut self) {
        self.say("tick".to_owned());
    }
}

fn why(verdict: Option<&Verdict>) -> String {
    match verdict {
        Some(Verdict::Retry { failure, .. } | Verdict::Reject(failure)) => failure.to_string(),
        other => format!("{other:?}"),
    }
}

/// Hooks of somebody who has made a mistake in each of them.
struct Clumsy;

impl Observer for Clumsy {
    fn start(&mut self) {
        panic!("no hook at all");
    }

    fn record(&mut self, _: &Arc<ShardId>, _: Fence, _: Option<&[u8]>, _: &Record, _: RecordEvent<'_>) {
        panic!("no hook at all");
    }

    fn gone(&mut self, _: &Arc<ShardId>, _: Fence, _: Option<&[u8]>, _: Offset) {
        panic!("no hook at all");
    }

    fn shard(&mut self, _: &Arc<ShardId>, _: Fence, _: ShardEvent) {
        panic!("no hook at all");
    }

    fn tick(&mut self) {
        panic!("no hook at all");
    }
}

/// Handles `bad` badly, in each way.
fn handler() -> FnHandler {
    FnHandler::new(|request| async move {
        match (request.record.value(), request.attempt.0) {
            (Some(b"bad"), 1) => Outcome::retry("Busy", "not now"),
            (Some(b"bad"), 2) => panic!("no way"),
            (Some(b"bad"), _) => Outcome::from(Verdict::Reject(Failure::new("Broken", "never"))),
            _ => Outcome::DONE,
        }
    })
}

/// U161: the start of the work, each begin and end with its failure, a panic, ticks; and hooks that panic in each of
/// these harm neither records nor the other hooks.
#[tokio::test(start_paused = true)]
async fn hooks_are_told_of_each_step_and_a_clumsy_one_harms_nobody() {
    let bench = Bench::new();
    for (key, value) in [("a", "bad"), ("a", "good")] {
        bench.send(key, value);
    }
    let told = Told::default();
    let hooks: Vec<Box<dyn Observer>> = vec![Box::new(Clumsy), Box::new(told.clone()), Box::new(Clumsy)];
    let worker = bench.start_observed(handler(), hooks);
    worker.own(bench.shard(), Checkpoint::new(Fence::new(1, 1), Offset(0))).await;
    worker.completed(2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let report = worker.stop().await;
    let (steps, ticks) = told.all();
    assert_eq!(
        steps,
        [
            "start",
            "orders/0 Owned",
            "orders/0 Activated",
            "orders/0@0 a: begin 1",
            "orders/0@0 a: end 1: Busy: not now",
            "orders/0@0 a: begin 2",
            "orders/0@0 a: end 2: HandlerPanicked: no way",
            "orders/0@0 a: begin 3",
            "orders/0@0 a: end 3: Broken: never",
            "orders/0@0 a: DeadLettered",
            "orders/0@1 a: begin 1",
            "orders/0@1 a: end 1",
            "orders/0 WillRelease",
            "orders/0 Released",
        ]
    );
    assert!(ticks > 10, "{ticks}");
    let counters = report.last.counters;
    assert_eq!((counters.attempts, counters.dead_lettered, counters.panics), (4, 1, 1));
    let calls = (steps.len() + ticks + 2) as u64;
    assert_eq!(counters.failed_hooks, 2 * calls, "each is counted, those of polled records too");
}
