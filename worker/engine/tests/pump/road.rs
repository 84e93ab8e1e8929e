//! A record's road beyond its first attempt: retries, waits, time-outs, panics, batches, and where it ends.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyweir_contract::handler::Output as OutputConfig;
use keyweir_contract::policy::ExhaustedAction;
use keyweir_core::Offset;
use keyweir_engine::ports::{BatchLimits, ParkedStore as _, Request};
use keyweir_engine::pump::Activity;
use keyweir_engine::testing::fakes::FnHandler;
use keyweir_engine::{NewRecord, Outcome, Output, Verdict};
use tokio::time::Instant;

use super::{Bench, delay, failure};

/// What a handler was asked, in order: value and attempt, and when.
#[derive(Clone)]
struct Asked {
    began: Instant,
    calls: Arc<Mutex<Vec<(String, u32, u64)>>>,
}

impl Asked {
    fn new() -> Self {
        Self { began: Instant::now(), calls: Arc::default() }
    }

    fn note(&self, request: &Request) -> (String, u32) {
        let value = String::from_utf8_lossy(request.record.value().unwrap_or_default()).into_owned();
        let seconds = self.began.elapsed().as_secs();
        self.calls.lock().expect("nobody panics in it").push((value.clone(), request.attempt.0, seconds));
        (value, request.attempt.0)
    }

    /// A handler that notes what it was asked and answers by this function of value and attempt.
    fn handler(&self, answer: impl Fn(&str, u32) -> Outcome + Send + Sync + 'static) -> FnHandler {
        let (asked, answer) = (self.clone(), Arc::new(answer));
        FnHandler::new(move |request| {
            let (value, attempt) = asked.note(&request);
            let outcome = answer(&value, attempt);
            async move { outcome }
        })
    }

    /// Attempts of the records with that value, and the second of each.
    fn of(&self, value: &str) -> Vec<(u32, u64)> {
        let calls = self.calls.lock().expect("nobody panics in it");
        calls
            .iter()
            .filter(|(own, ..)| own == value)
            .map(|(_, attempt, second)| (*attempt, *second))
            .collect()
    }

    fn count(&self) -> usize {
        self.calls.lock().expect("nobody panics in it").len()
    }
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    let retry = &mut bench.live.retry;
    retry.jitter_percent = 0;
    retry.max_attempts = 3;
    retry.initial_delay = Duration::from_secs(10);
    bench
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_only_its_key_blocked() {
    let bench = bench();
    for (key, value) in [("a", "bad"), ("a", "after"), ("b", "good"), ("c", "good"), ("b", "good")] {
        bench.send(key, value);
    }
    let asked = Asked::new();
    let answer = |value: &str, attempt| match (value, attempt) {
        ("bad", 1 | 2) => Outcome::retry("Busy", "not yet"),
        _ => Outcome::DONE,
    };
    let worker = bench.start(asked.handler(answer));
    seconds(5).await;
    let now = worker.pump.snapshot();
    assert_eq!((now.counters.completed, now.waiting, now.in_flight), (3, 1, 0));
    assert_eq!((asked.of("bad").len(), asked.of("after").len(), asked.of("good").len()), (1, 0, 3));
    worker.completed(5).await;
    assert_eq!(asked.of("bad"), [(1, 0), (2, 10), (3, 30)], "waits grow by the factor");
    assert_eq!(asked.of("after"), [(1, 30)]);
    let report = worker.stop().await;
    assert_eq!((report.last.counters.retries, report.last.counters.dead_lettered), (2, 0));
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn waits_are_capped_and_a_handlers_own_wait_counts() {
    let mut bench = bench();
    bench.live.retry.max_attempts = 5;
    bench.live.retry.max_delay = Duration::from_secs(15);
    bench.send("a", "capped");
    bench.send("b", "asks");
    let asked = Asked::new();
    let answer = |value: &str, attempt| match (value, attempt) {
        (_, 5) => Outcome::DONE,
        ("asks", _) => {
            let after = Some(Duration::from_secs(3));
            Outcome::from(Verdict::Retry { after, failure: failure("Busy") })
        }
        _ => Outcome::retry("Busy", "not yet"),
    };
    let worker = bench.start(asked.handler(answer));
    worker.completed(2).await;
    assert_eq!(asked.of("capped"), [(1, 0), (2, 10), (3, 25), (4, 40), (5, 55)]);
    assert_eq!(asked.of("asks"), [(1, 0), (2, 3), (3, 6), (4, 9), (5, 12)]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reason_that_deserves_no_retry_and_a_rejection_end_at_once() {
    let mut bench = bench();
    bench.live.retry.retry_on = vec!["Busy".to_owned()];
    for value in ["Busy", "Broken", "rejected"] {
        bench.send(value, value);
    }
    let asked = Asked::new();
    let answer = |value: &str, _| match value {
        "Busy" => Outcome::retry("Busy", "not yet"),
        "Broken" => Outcome::retry("Broken", "never"),
        _ => Outcome::reject("NoSuchCustomer", "never"),
    };
    let worker = bench.start(asked.handler(answer));
    worker.completed(3).await;
    assert_eq!((asked.of("Busy").len(), asked.of("Broken").len(), asked.of("rejected").len()), (3, 1, 1));
    let report = worker.stop().await;
    assert_eq!((report.last.counters.dead_lettered, report.last.counters.retries), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_record_with_a_dead_letter_is_complete_only_when_that_is_durable() {
    let bench = bench();
    bench.send("a", "bad");
    bench.send("a", "next");
    bench.producer.set_failing(true);
    let asked = Asked::new();
    let answer = |value: &str, _| match value {
        "bad" => Outcome::reject("Broken", "never"),
        _ => Outcome::DONE,
    };
    let worker = bench.start(asked.handler(answer));
    seconds(20).await;
    let now = worker.pump.snapshot();
    assert_eq!((now.counters.completed, now.counters.dead_lettered), (0, 0));
    assert_eq!(asked.of("next"), [], "its key waits for the write");
    assert_eq!(
        (now.troubles[0].about.as_str(), now.troubles[0].reason),
        ("topic/orders.dlq", "ProduceFailed")
    );
    assert_eq!(bench.checkpoints.stored(&bench.shard()).expect("a checkpoint").frontier, Offset(0));
    bench.producer.set_failing(false);
    worker.completed(2).await;
    let letters = bench.log.records("orders.dlq");
    assert_eq!(letters.len(), 1);
    assert_eq!(asked.of("bad").len(), 1, "only the write is repeated");
    let report = worker.stop().await;
    assert_eq!((report.last.counters.dead_lettered, report.last.troubles.len()), (1, 0));
    assert_eq!(bench.checkpoints.stored(&bench.shard()).expect("a checkpoint").frontier, Offset(2));
}

#[tokio::test(start_paused = true)]
async fn outputs_are_durable_before_their_record_is_complete() {
    let mut bench = bench();
    bench.fixed.outputs = vec![OutputConfig { name: "receipts".to_owned(), topic: "receipts".to_owned() }];
    bench.send("a", "paid");
    bench.send("b", "unknown");
    bench.producer.set_failing(true);
    let asked = Asked::new();
    let answer = |value: &str, _| {
        let name = if value == "paid" { "receipts" } else { "nowhere" }.to_owned();
        let record = NewRecord { value: Some(value.to_owned().into()), ..NewRecord::default() };
        Outcome { verdict: Verdict::Done, outputs: vec![Output { name, record }] }
    };
    let worker = bench.start(asked.handler(answer));
    seconds(20).await;
    assert_eq!(worker.pump.snapshot().counters.completed, 0);
    bench.producer.set_failing(false);
    worker.completed(2).await;
    assert_eq!((bench.log.records("receipts").len(), bench.log.records("orders.dlq").len()), (1, 1));
    assert_eq!(asked.count(), 2);
    assert_eq!(worker.stop().await.last.counters.outputs, 1);
}

#[tokio::test(start_paused = true)]
async fn parked_and_skipped_records_let_their_key_go_on() {
    for (action, aside) in [(ExhaustedAction::Park { blocks_key: false }, 1), (ExhaustedAction::Skip, 0)] {
        let mut bench = bench();
        bench.fixed.on_exhausted = action;
        bench.send("a", "bad");
        bench.send("a", "next");
        let asked = Asked::new();
        let answer = |value: &str, _| match value {
            "bad" => Outcome::retry("Broken", "never"),
            _ => Outcome::DONE,
        };
        let worker = bench.start(asked.handler(answer));
        worker.completed(2).await;
        assert_eq!((asked.of("bad").len(), asked.of("next")), (3, vec![(1, 30)]));
        let parked = bench.parked.list(None, 10).await.expect("memory");
        assert_eq!(parked.len(), aside);
        assert!(parked.iter().all(|parked| (parked.attempts, parked.reason.as_str()) == (3, "Broken")));
        let counters = worker.stop().await.last.counters;
        assert_eq!((counters.parked, counters.skipped), (aside as u64, 1 - aside as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn stop_leaves_the_record_undone_and_finishes_what_executes() {
    let mut bench = bench();
    bench.fixed.on_exhausted = ExhaustedAction::Stop;
    bench.live.retry.max_attempts = 1;
    for value in ["slow", "bad", "next"] {
        bench.send(if value == "next" { "bad" } else { value }, value);
    }
    let asked = Asked::new();
    let noting = asked.clone();
    let worker = bench.start(FnHandler::new(move |request| {
        let (value, _) = noting.note(&request);
        async move {
            if value == "slow" {
                seconds(5).await;
                return Outcome::DONE;
            }
            seconds(1).await;
            Outcome::retry("Broken", "never")
        }
    }));
    let report = tokio::time::timeout(Duration::from_secs(60), worker.run).await;
    let report = report.expect("it ends by itself").expect("it does not panic");
    assert_eq!(report.stopped.map(|failure| failure.reason), Some("Broken"));
    assert_eq!((report.cancelled, report.unsaved.len(), report.last.activity), (0, 0, Activity::Stopped));
    assert_eq!(asked.of("next"), []);
    let stored = bench.checkpoints.stored(&bench.shard()).expect("a checkpoint");
    assert_eq!((stored.frontier, stored.completed.len()), (Offset(1), 0), "slow is done, bad is not");
    assert_eq!(stored.failed, [], "who starts it again has seen to the cause");
}

#[tokio::test(start_paused = true)]
async fn unavailable_costs_no_attempt_and_single_records_probe() {
    let mut bench = bench();
    bench.live.retry.max_attempts = 1;
    for i in 0..50 {
        bench.send(&format!("k{i}"), "v");
    }
    let asked = Asked::new();
    let open = Arc::new(AtomicBool::new(false));
    let (gate, noting) = (Arc::clone(&open), asked.clone());
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (Arc::clone(&now), Arc::clone(&most));
    let worker = bench.start(FnHandler::new(move |request| {
        noting.note(&request);
        let (gate, running, peak) = (Arc::clone(&gate), Arc::clone(&running), Arc::clone(&peak));
        async move {
            peak.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            running.fetch_sub(1, SeqCst);
            if gate.load(SeqCst) { Outcome::DONE } else { Outcome::unavailable("Unreachable", "refused") }
        }
    }));
    seconds(5).await;
    let (first, snapshot) = (asked.count(), worker.pump.snapshot());
    assert_eq!(
        (snapshot.troubles[0].about.as_str(), snapshot.troubles[0].reason),
        ("handler/0", "Unreachable")
    );
    most.store(0, SeqCst);
    seconds(120).await;
    let probes = asked.count() - first;
    assert!((5..=30).contains(&probes), "few probes with growing pauses: {probes}");
    assert_eq!(most.load(SeqCst), 1, "one at a time");
    open.store(true, SeqCst);
    worker.completed(50).await;
    assert!(asked.of("v").iter().all(|(attempt, _)| *attempt == 1));
    let last = worker.stop().await.last;
    assert_eq!((last.counters.retries, last.counters.dead_lettered, last.troubles.len()), (0, 0, 0));
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_out_is_one_failed_attempt_and_drops_the_call() {
    let mut bench = bench();
    bench.fixed.handler.options.timeout = Some(Duration::from_secs(2));
    bench.send("a", "slow");
    bench.send("b", "quick");
    let asked = Asked::new();
    let dropped = Arc::new(AtomicUsize::new(0));
    let (noting, counted) = (asked.clone(), Arc::clone(&dropped));
    let worker = bench.start(FnHandler::new(move |request| {
        assert_eq!(request.time_left, Some(Duration::from_secs(2)), "the handler is told");
        let (value, attempt) = noting.note(&request);
        let guard = Dropped(Arc::clone(&counted));
        async move {
            let _guard = guard;
            if value == "slow" && attempt == 1 {
                std::future::pending::<()>().await;
            }
            Outcome::DONE
        }
    }));
    worker.completed(2).await;
    assert_eq!(asked.of("slow"), [(1, 0), (2, 12)]);
    assert_eq!(dropped.load(SeqCst), 3);
    let counters = worker.stop().await.last.counters;
    assert_eq!((counters.timeouts, counters.retries), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_one_failed_attempt_with_its_text() {
    let bench = bench();
    bench.send("a", "once");
    bench.send("b", "always");
    bench.send("c", "never");
    let asked = Asked::new();
    let answer = |value: &str, attempt| match (value, attempt) {
        ("always", _) | ("once", 1) => panic!("no {value}"),
        _ => Outcome::DONE,
    };
    let worker = bench.start(asked.handler(answer));
    worker.completed(3).await;
    assert_eq!((asked.of("once").len(), asked.of("always").len(), asked.of("never").len()), (2, 3, 1));
    let (_, _, letter) = bench.log.records("orders.dlq").remove(0);
    let header = |name: &str| {
        let found = letter.headers.iter().find(|(own, _)| own == name).and_then(|(_, value)| value.clone());
        found.map(|value| String::from_utf8_lossy(&value).into_owned())
    };
    assert_eq!(header("keyweir-reason").as_deref(), Some("HandlerPanicked"));
    assert_eq!(header("keyweir-text").as_deref(), Some("no always"));
    assert_eq!(worker.stop().await.last.counters.panics, 4);
}

fn batches(
    asked: &Asked,
    answer: impl Fn(Vec<(String, u32)>) -> Result<Vec<Outcome>, keyweir_engine::Failure> + Send + Sync + 'static,
) -> FnHandler {
    let limits = BatchLimits { max_records: 10, linger: Duration::from_millis(5) };
    let (noting, answer) = (asked.clone(), Arc::new(answer));
    asked.handler(|_, _| Outcome::DONE).with_batch(limits, move |requests| {
        let given: Vec<_> = requests.iter().map(|request| noting.note(request)).collect();
        let answered = answer(given);
        async move { answered }
    })
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_only_what_was_not_answered_is_tried_again() {
    let bench = bench();
    for i in 0..10 {
        bench.send(&format!("k{i}"), &format!("v{i}"));
    }
    let asked = Asked::new();
    // Seven answers for ten records, one of them a failure.
    let worker = bench.start(batches(&asked, |given| {
        let answer = |(value, attempt): &(String, u32)| match (value.as_str(), *attempt) {
            ("v3", 1) => Outcome::retry("Busy", "not yet"),
            _ => Outcome::DONE,
        };
        Ok(given.iter().take(7).map(answer).collect())
    }));
    worker.completed(10).await;
    let again: Vec<_> = (0..10).filter(|i| asked.of(&format!("v{i}")).len() == 2).collect();
    assert_eq!(again, [3, 7, 8, 9]);
    assert_eq!(worker.stop().await.last.counters.retries, 4);
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_as_a_whole_charges_nobody_and_runs_one_by_one() {
    let mut bench = bench();
    bench.live.retry.max_attempts = 1;
    for i in 0..10 {
        bench.send(&format!("k{i}"), &format!("v{i}"));
    }
    let asked = Asked::new();
    let worker = bench.start(batches(&asked, |_| Err(failure("Lost"))));
    worker.completed(10).await;
    for i in 0..10 {
        assert_eq!(
            asked.of(&format!("v{i}")),
            [(1, 0), (1, 0)],
            "in the batch and alone, as the first attempt"
        );
    }
    let counters = worker.stop().await.last.counters;
    assert_eq!((counters.retries, counters.dead_lettered), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn attempts_and_their_waits_survive_a_crash() {
    let bench = bench();
    bench.send("a", "bad");
    let asked = Asked::new();
    let answer = |_: &str, _| Outcome::retry("Broken", "never");
    let worker = bench.start(asked.handler(answer));
    seconds(15).await;
    assert_eq!(asked.of("bad"), [(1, 0), (2, 10)]);
    worker.kill(&bench.oracle).await;
    let worker = bench.start(asked.handler(answer));
    worker.completed(1).await;
    let third = asked.of("bad")[2..].to_vec();
    assert_eq!(third.len(), 1, "two attempts were used before the crash");
    assert_eq!(third[0].0, 3);
    assert_eq!(worker.stop().await.last.counters.dead_lettered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_during_an_attempt_charges_nothing() {
    let bench = bench();
    bench.send("a", "long");
    let worker = bench.start(delay(Duration::from_secs(600)));
    seconds(5).await;
    worker.kill(&bench.oracle).await;
    let asked = Asked::new();
    let worker = bench.start(asked.handler(|_, _| Outcome::DONE));
    worker.completed(1).await;
    assert_eq!(asked.of("long")[0].0, 1);
    worker.stop().await;
}
