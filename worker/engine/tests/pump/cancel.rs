//! Handlers that are cut off: each call is dropped, so that its transport can tell the other side, and nobody is charged.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset, ShardId};
use keyweir_engine::ports::{Observer, RecordEvent, ShardEvent};
use keyweir_engine::pump::ReleaseMode;
use keyweir_engine::testing::fakes::FnHandler;
use keyweir_engine::{Outcome, Record};
use tokio::time::sleep;

use super::{Bench, Worker};

/// Counts calls, and those that were dropped before they had ended.
#[derive(Clone, Default)]
struct Calls {
    begun: Arc<AtomicUsize>,
    cut_off: Arc<AtomicUsize>,
}

/// Lives as long as a call.
struct Call(Option<Calls>);

impl Call {
    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(calls) = &self.0 {
            calls.cut_off.fetch_add(1, SeqCst);
        }
    }
}

impl Calls {
    /// A handler whose first call never ends; all later ones are done.
    fn handler(&self) -> FnHandler {
        let calls = self.clone();
        FnHandler::new(move |_| {
            let first = calls.begun.fetch_add(1, SeqCst) == 0;
            let call = Call(Some(calls.clone()));
            async move {
                if first {
                    std::future::pending::<()>().await;
                }
                call.end();
                Outcome::DONE
            }
        })
    }

    fn begun_and_cut_off(&self) -> (usize, usize) {
        (self.begun.load(SeqCst), self.cut_off.load(SeqCst))
    }
}

/// How the calls of records ended, as hooks were told.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<bool>>>);

impl Observer for Ends {
    fn record(&mut self, _: &Arc<ShardId>, _: Fence, _: Option<&[u8]>, _: &Record, event: RecordEvent<'_>) {
        if let RecordEvent::Ended(_, verdict) = event {
            self.0.lock().expect("no test panics with it").push(verdict.is_some());
        }
    }

    fn shard(&mut self, _: &Arc<ShardId>, _: Fence, _: ShardEvent) {}
}

/// A worker with one record that executes and never ends.
async fn held(bench: &Bench) -> (Worker, Calls, Ends) {
    let (calls, ends) = (Calls::default(), Ends::default());
    bench.send("k", "v");
    let worker = bench.start_observed(calls.handler(), vec![Box::new(ends.clone())]);
    worker.own(bench.shard(), Checkpoint::new(Fence::new(1, 1), Offset(0))).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(calls.begun_and_cut_off(), (1, 0));
    (worker, calls, ends)
}

/// It was cut off once, hooks were told so, and nothing of it counts.
fn assert_cut_off(bench: &Bench, calls: &Calls, ends: &Ends) {
    assert_eq!(calls.begun_and_cut_off(), (1, 1));
    assert_eq!(*ends.0.lock().expect("no test panics with it"), [false], "cancelled");
    let stored = bench.checkpoints.stored(&bench.shard());
    assert!(stored.is_none_or(|stored| stored.frontier == Offset(0) && stored.failed.is_empty()));
}

/// U50: a shard that is given up and whose record outlasts the drain time.
#[tokio::test(start_paused = true)]
async fn a_release_cuts_off_what_outlasts_it() {
    let bench = Bench::new();
    let (worker, calls, ends) = held(&bench).await;
    worker.pump.release(bench.shard(), ReleaseMode::Drain).await.expect("the pump runs");
    assert_cut_off(&bench, &calls, &ends);
    worker.stop().await;
}

/// U50: a lease that is lost. Nothing executes any more when the answer comes.
#[tokio::test(start_paused = true)]
async fn who_is_to_abandon_all_has_cut_off_all_when_he_says_so() {
    let bench = Bench::new();
    let (worker, calls, ends) = held(&bench).await;
    worker.pump.abandon().await.expect("the pump runs");
    assert_cut_off(&bench, &calls, &ends);
    worker.stop().await;
}

/// U50: a stop, and a second signal: of a shard that is owned, and of one that is another member's by now.
#[tokio::test(start_paused = true)]
async fn a_stop_cuts_off_what_outlasts_it_and_a_second_signal_all_at_once() {
    for (handed_over, hurried) in [(false, false), (false, true), (true, false), (true, true)] {
        let bench = Bench::new();
        let (worker, calls, ends) = held(&bench).await;
        if handed_over {
            worker.pump.release(bench.shard(), ReleaseMode::HandOver).await.expect("the pump runs");
        }
        if hurried {
            worker.hurry.cancel();
        }
        let begun = tokio::time::Instant::now();
        let report = worker.stop().await;
        assert_cut_off(&bench, &calls, &ends);
        assert_eq!((report.cancelled, report.unsaved.len()), (1, 0), "handed over: {handed_over}");
        let within = if hurried { Duration::from_secs(1) } else { Duration::from_secs(31) };
        assert!(begun.elapsed() < within, "handed over: {handed_over}: {:?}", begun.elapsed());
    }
}

/// The second signal while the shard is another member's already, which waits to hear of it.
#[tokio::test(start_paused = true)]
async fn a_second_signal_cuts_off_what_was_handed_over_before_the_drain() {
    let bench = Bench::new();
    let (worker, calls, ends) = held(&bench).await;
    worker.pump.release(bench.shard(), ReleaseMode::HandOver).await.expect("the pump runs");
    worker.hurry.cancel();
    sleep(Duration::from_secs(1)).await;
    assert_cut_off(&bench, &calls, &ends);
    worker.stop().await;
}
