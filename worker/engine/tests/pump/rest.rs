//! A pump that can't start anything waits: it does not spin. In paused time one that spins lets no time pass at all.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use keyweir_contract::policy::RateLimit;
use keyweir_contract::worker_config::RunState;
use keyweir_engine::Outcome;
use keyweir_engine::ports::BatchLimits;
use keyweir_engine::pump::{Command, ReleaseMode};
use keyweir_engine::testing::fakes::FnHandler;
use tokio::time::sleep;

use super::Bench;

/// How long a minute of paused time takes at the most, where nothing spins.
const HANGS: Duration = Duration::from_secs(60);

/// Runs a test in paused time on a thread of its own, so that a pump that spins fails it instead of hanging it.
fn comes_to_its_end<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (ended, end) = mpsc::channel();
    let run = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(test());
        let _ = ended.send(());
    });
    if end.recv_timeout(HANGS) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("no time passes: the pump spins");
    }
    run.join().expect("the test does not panic");
}

fn limited(per_second: u32) -> Bench {
    let mut bench = Bench::new();
    bench.live.execution.rate_limit = Some(RateLimit { records_per_second: per_second });
    bench
}

#[test]
fn an_object_with_a_rate_waits_while_its_lease_is_in_doubt() {
    comes_to_its_end(|| async {
        let bench = limited(2);
        for i in 0..10 {
            bench.send(&format!("k{i}"), "v");
        }
        let worker = bench.start(FnHandler::new(|_| async { Outcome::DONE }));
        sleep(Duration::from_millis(600)).await;
        worker.pump.send(Command::Freeze).await.expect("the pump runs");
        sleep(Duration::from_secs(60)).await;
        let done = worker.pump.snapshot().counters.completed;
        assert!((1..=3).contains(&done), "{done}");
        worker.pump.send(Command::Thaw).await.expect("the pump runs");
        worker.completed(10).await;
        worker.stop().await;
    });
}

#[test]
fn an_object_with_a_rate_waits_when_its_shard_has_gone() {
    comes_to_its_end(|| async {
        let bench = limited(2);
        for i in 0..10 {
            bench.send(&format!("k{i}"), "v");
        }
        let worker = bench.start(FnHandler::new(|_| async { Outcome::DONE }));
        sleep(Duration::from_millis(600)).await;
        worker.pump.release(bench.shard(), ReleaseMode::HandOver).await.expect("the pump runs");
        sleep(Duration::from_secs(60)).await;
        worker.stop().await;
    });
}

#[test]
fn a_handler_that_is_away_is_waited_for_while_the_object_is_paused() {
    comes_to_its_end(|| async {
        let bench = Bench::new();
        bench.send("a", "v");
        let worker =
            bench.start(FnHandler::new(|_| async { Outcome::unavailable("Unreachable", "refused") }));
        sleep(Duration::from_millis(50)).await;
        let mut live = bench.live.clone();
        live.state = RunState::Paused;
        worker.pump.send(Command::Tune(Box::new(live))).await.expect("the pump runs");
        sleep(Duration::from_secs(60)).await;
        worker.stop().await;
    });
}

/// A batch that waits for more records while its handler turns out to be away.
#[test]
fn a_batch_that_gathers_waits_for_a_handler_that_is_away() {
    comes_to_its_end(|| async {
        let bench = Bench::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let away = move || {
            let call = counted.fetch_add(1, SeqCst);
            async move {
                sleep(Duration::from_millis(20)).await;
                if call < 3 { Outcome::unavailable("Unreachable", "refused") } else { Outcome::DONE }
            }
        };
        let limits = BatchLimits { max_records: 10, linger: Duration::from_millis(10) };
        let handler =
            FnHandler::new(move |_| away()).with_batch(limits, |_| async { unreachable!("one by one") });
        let worker = bench.start(handler);
        bench.send("a", "v");
        sleep(Duration::from_millis(25)).await;
        // It gathers until the first one's answer is there: nobody is.
        bench.send("b", "v");
        worker.completed(2).await;
        assert_eq!(calls.load(SeqCst), 5);
        worker.stop().await;
    });
}
