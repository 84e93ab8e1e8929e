//! What may be turned while it runs, what it holds then, and what failures leave of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyweir_contract::policy::{Concurrency, DecodeFormat, ExhaustedAction};
use keyweir_contract::worker_config::LiveConfig;
use keyweir_core::Offset;
use keyweir_engine::Outcome;
use keyweir_engine::pump::Command;
use keyweir_engine::testing::fakes::FnHandler;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::{Bench, Worker};

/// How many records a reader of the log in memory gives at once: so far a limit may be overshot.
const AT_ONCE: usize = 100;

/// A handler whose records wait for a permit each.
fn gated(gate: &Arc<Semaphore>) -> FnHandler {
    let gate = Arc::clone(gate);
    FnHandler::new(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.expect("nobody closes it").forget();
            Outcome::DONE
        }
    })
}

async fn tune(worker: &Worker, live: &LiveConfig) {
    worker.pump.send(Command::Tune(Box::new(live.clone()))).await.expect("the pump runs");
    sleep(Duration::from_secs(1)).await;
}

/// U42, U150: busy keys, records and bytes in sight, and calls at a time are bounded, and change while it runs, to both
/// sides; nothing is lost, handled twice or out of order.
#[tokio::test(start_paused = true)]
async fn limits_hold_and_change_while_it_runs() {
    const RECORDS: u64 = 20_000;
    let mut bench = Bench::new();
    let sent: Vec<Offset> =
        (0..RECORDS).map(|i| bench.send(&format!("k{}", i % 10_000), "a value")).collect();
    bench.live.execution.limits.keys = 300;
    let gate = Arc::new(Semaphore::new(0));
    let worker = bench.start(gated(&gate));
    let between = |seen: usize, limit: usize| (limit..limit + AT_ONCE).contains(&seen);

    sleep(Duration::from_secs(1)).await;
    let now = worker.pump.snapshot();
    assert!(between(now.busy_keys, 300) && now.intake_stopped, "{} keys", now.busy_keys);
    let mut live = bench.live.clone();
    live.execution.limits.keys = 1_000;
    tune(&worker, &live).await;
    let keys = worker.pump.snapshot().busy_keys;
    assert!(between(keys, 1_000), "{keys} keys");

    live.execution.limits.keys = 1_000_000;
    live.execution.limits.records = 2_000;
    tune(&worker, &live).await;
    let now = worker.pump.snapshot();
    assert!(between(now.in_sight, 2_000) && now.intake_stopped, "{} records", now.in_sight);
    let bytes = now.bytes_in_sight;
    live.execution.limits.records = 1_000_000;
    live.execution.limits.bytes = (bytes * 2).to_string().parse().expect("a size");
    tune(&worker, &live).await;
    let now = worker.pump.snapshot();
    let each = bytes / 2_000 + 1;
    assert!(
        (bytes * 2..bytes * 2 + each * AT_ONCE as u64).contains(&now.bytes_in_sight),
        "{}",
        now.bytes_in_sight
    );

    for concurrency in [7, 200] {
        live.execution.concurrency = Concurrency::Fixed(concurrency);
        let before = worker.pump.snapshot().in_flight;
        tune(&worker, &live).await;
        // What executes goes on to its end; no more than that many start.
        assert_eq!(worker.pump.snapshot().in_flight, before.max(concurrency as usize));
    }
    // Smaller than what is held: it is waited for, not dropped.
    live.execution.limits.keys = 10;
    live.execution.limits.records = 10;
    live.execution.concurrency = Concurrency::Fixed(3);
    tune(&worker, &live).await;
    gate.add_permits(RECORDS as usize);
    worker.completed(RECORDS).await;
    worker.stop().await;
    assert!(sent.iter().all(|offset| bench.oracle.done(&bench.shard(), *offset) == 1));
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
}

/// U42: how many records of a key are kept while others wait for the budget, changed while it runs.
#[tokio::test(start_paused = true)]
async fn the_depth_of_a_keys_queue_changes_while_it_runs() {
    let mut bench = Bench::new();
    bench.live.execution.limits.records = 1_600;
    let gate = Arc::new(Semaphore::new(0));
    let slow = Arc::clone(&gate);
    let worker = bench.start(FnHandler::new(move |request| {
        let slow = Arc::clone(&slow);
        async move {
            if request.record.key() == Some(b"slow") {
                slow.acquire().await.expect("nobody closes it").forget();
            }
            Outcome::DONE
        }
    }));
    let mut kept = Vec::new();
    for depth in [50, 5] {
        let mut live = bench.live.clone();
        live.execution.limits.records_per_key = depth;
        tune(&worker, &live).await;
        for i in 0..5_000 {
            bench.send(if i % 10 == 0 { "quick" } else { "slow" }, "v");
        }
        sleep(Duration::from_secs(5)).await;
        let now = worker.pump.snapshot();
        kept.push(now.in_sight - now.spilled);
        gate.add_permits(4_500);
        sleep(Duration::from_secs(60)).await;
    }
    assert!(kept[0] <= 51 && kept[1] <= 6, "{kept:?}");
    worker.completed(10_000).await;
    worker.stop().await;
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
}

/// How many calls were open at most.
#[derive(Clone, Default)]
struct Most {
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// An open call.
struct Open(Most);

impl Most {
    fn open(&self) -> Open {
        self.most.fetch_max(self.open.fetch_add(1, SeqCst) + 1, SeqCst);
        Open(self.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

/// Panics when it is dropped, as what a cancelled handler holds may.
struct Sulks;

impl Drop for Sulks {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("in a bad mood");
        }
    }
}

/// U51, U160: whatever fails, however often (panics at once, later and when cancelled, time-outs, refusals, records that
/// can't be read, all of them skipped), as many records run at a time afterwards as before, in the same process.
#[tokio::test(start_paused = true)]
async fn failures_of_all_kinds_leave_as_many_permits_as_there_were() {
    let mut bench = Bench::new();
    bench.fixed.decode.format = DecodeFormat::Json;
    bench.fixed.on_undecodable = ExhaustedAction::Skip;
    bench.fixed.on_exhausted = ExhaustedAction::Skip;
    bench.fixed.handler.options.timeout = Some(Duration::from_secs(2));
    bench.live.execution.concurrency = Concurrency::Fixed(4);
    bench.live.retry.max_attempts = 2;
    let most = Most::default();
    let reasons = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let (counted, noted) = (most.clone(), Arc::clone(&reasons));
    let worker = bench.start(FnHandler::new(move |request| {
        let value = String::from_utf8_lossy(request.record.value().unwrap_or_default()).into_owned();
        *noted.lock().expect("nobody panics with it").entry(value.clone()).or_default() += 1;
        let open = counted.open();
        assert_ne!(value, r#""at once""#, "on purpose");
        async move {
            let _open = open;
            sleep(Duration::from_millis(10)).await;
            match value.as_str() {
                r#""later""# => panic!("on purpose"),
                r#""stuck""# => {
                    let _sulks = Sulks;
                    std::future::pending::<()>().await;
                }
                r#""refused""# => return Outcome::reject("Broken", "never"),
                _ => {}
            }
            Outcome::DONE
        }
    }));
    let kinds = [r#""at once""#, r#""later""#, r#""stuck""#, r#""refused""#, "{no json", r#""good""#];
    for i in 0..300 {
        bench.send(&format!("k{}", i % 70), kinds[i % kinds.len()]);
    }
    worker.completed(300).await;
    let counters = worker.pump.snapshot().counters;
    assert_eq!(
        (counters.skipped, counters.panics, counters.timeouts, counters.undecodable),
        (250, 200, 100, 50)
    );
    assert_eq!(reasons.lock().expect("nobody panics with it")[r#""refused""#], 50);

    // As many as before, and no more.
    most.most.store(0, SeqCst);
    for i in 0..100 {
        bench.send(&format!("k{i}"), r#""good""#);
    }
    worker.completed(400).await;
    assert_eq!((most.most.load(SeqCst), most.open.load(SeqCst)), (4, 0));
    let now = worker.pump.snapshot();
    assert_eq!((now.concurrency, now.in_flight, now.writing), (4, 0, 0));
    worker.stop().await;
}
