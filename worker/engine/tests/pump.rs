//! The pump with fakes of every port and paused time.
#![allow(clippy::panic, reason = "a handler that panics is one of the cases")]

use std::sync::Arc;
use std::time::Duration;

use keyweir_contract::worker_config::{FixedConfig, LiveConfig};
use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Offset, ShardId};
use keyweir_engine::notices::Notices;
use keyweir_engine::ports::{Observer, StartAt};
use keyweir_engine::pump::{Command, DispatchLimit, Ownership, Parts, Ports, PumpHandle, PumpReport, pump};
use keyweir_engine::solo::Solo;
use keyweir_engine::testing::fakes::{FnHandler, MemoryCheckpoints, MemoryLog, MemoryParked, MemoryProducer};
use keyweir_engine::testing::oracle::Oracle;
use keyweir_engine::{Failure, NewRecord, Outcome};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[path = "pump/cancel.rs"]
mod cancel;
#[path = "pump/durable.rs"]
mod durable;
#[path = "pump/hooks.rs"]
mod hooks;
#[path = "pump/knobs.rs"]
mod knobs;
#[path = "pump/limit.rs"]
mod limit;
#[path = "pump/listing.rs"]
mod listing;
#[path = "pump/long.rs"]
mod long;
#[path = "pump/newest.rs"]
mod newest;
#[path = "pump/parked.rs"]
mod parked;
#[path = "pump/reading.rs"]
mod reading;
#[path = "pump/rest.rs"]
mod rest;
#[path = "pump/road.rs"]
mod road;
#[path = "pump/said.rs"]
mod said;
#[path = "pump/share.rs"]
mod share;
#[path = "pump/sim.rs"]
mod sim;
#[path = "pump/skew.rs"]
mod skew;
#[path = "pump/spill.rs"]
mod spill;
#[path = "pump/stop.rs"]
mod stop;
#[path = "pump/trial.rs"]
mod trial;
#[path = "pump/writes.rs"]
mod writes;

/// One worker of one object over fakes; the fakes outlive it.
struct Bench {
    log: MemoryLog,
    checkpoints: MemoryCheckpoints,
    parked: MemoryParked,
    producer: MemoryProducer,
    oracle: Oracle,
    /// Makes the hooks.
    observer: fn(&Oracle) -> Box<dyn Observer>,
    fixed: FixedConfig,
    live: LiveConfig,
    limit: DispatchLimit,
    notices: Notices,
}

/// A running worker.
struct Worker {
    pump: PumpHandle,
    shutdown: CancellationToken,
    hurry: CancellationToken,
    run: JoinHandle<PumpReport>,
    solo: Option<JoinHandle<()>>,
}

impl Bench {
    fn new() -> Self {
        let log = MemoryLog::default();
        let fixed = serde_json::json!({
            "source": {"embedded": {"topics": ["orders"], "group": "g", "partitions": 8, "startAt": "earliest",
                "retentionAge": "168h", "retentionBytes": "10Gi"}},
            "handler": {"handler": {"builtin": "drop"}, "options": {"maxResponseBytes": "1Mi"}},
            "onUndecodable": "skip",
            "onExhausted": {"deadLetter": {"topic": "orders.dlq"}},
        });
        let fixed: FixedConfig = serde_json::from_value(fixed).expect("the configuration reads");
        Self {
            producer: MemoryProducer::new(log.clone()),
            log,
            checkpoints: MemoryCheckpoints::default(),
            parked: MemoryParked::default(),
            oracle: Oracle::default(),
            observer: |oracle| Box::new(oracle.clone()),
            fixed,
            live: LiveConfig::default(),
            limit: DispatchLimit::default(),
            notices: Notices::default(),
        }
    }

    fn ports(&self) -> Ports {
        Ports {
            source: Arc::new(self.log.clone()),
            checkpoints: Arc::new(self.checkpoints.clone()),
            producer: Arc::new(self.producer.clone()),
            parked: Some(Arc::new(self.parked.clone())),
            recall: Some(Arc::new(self.log.clone())),
            notices: self.notices.clone(),
        }
    }

    /// A worker that owns every shard there is.
    fn start(&self, handler: FnHandler) -> Worker {
        let mut worker = self.start_idle(handler);
        let solo = Solo { ports: self.ports(), start: StartAt::Earliest, discovery: Duration::from_secs(60) };
        let (hindrance, _) = watch::channel(None);
        worker.solo = Some(tokio::spawn(solo.run(worker.pump.clone(), hindrance, worker.shutdown.clone())));
        worker
    }

    /// A worker that owns what it is told to.
    fn start_idle(&self, handler: FnHandler) -> Worker {
        self.start_observed(handler, vec![(self.observer)(&self.oracle)])
    }

    /// The same with hooks of its own.
    fn start_observed(&self, handler: FnHandler, observers: Vec<Box<dyn Observer>>) -> Worker {
        let (shutdown, hurry) = (CancellationToken::new(), CancellationToken::new());
        let (handle, run) = pump(Parts {
            reader: self.log.reader(),
            handlers: vec![Arc::new(handler)],
            ports: self.ports(),
            observers,
            fixed: Arc::new(self.fixed.clone()),
            live: self.live.clone(),
            cpus: 1,
            seed: 7,
            departed: None,
            limit: self.limit.clone(),
            shutdown: shutdown.clone(),
            hurry: hurry.clone(),
        });
        Worker { pump: handle, shutdown, hurry, run: tokio::spawn(run), solo: None }
    }

    fn send(&self, key: &str, value: &str) -> Offset {
        self.log.append("orders", 0, record(key, value))
    }

    fn shard(&self) -> ShardId {
        ShardId::new("orders", 0)
    }
}

impl Worker {
    /// Waits until that many records have completed and nothing is in sight.
    async fn completed(&self, count: u64) {
        let mut snapshots = self.pump.snapshots();
        let done = snapshots.wait_for(|now| now.counters.completed >= count && now.in_sight == 0);
        tokio::time::timeout(Duration::from_secs(3600), done).await.expect("in time").expect("the pump runs");
    }

    async fn own(&self, shard: ShardId, checkpoint: Checkpoint) {
        self.own_with(shard, checkpoint, Vec::new()).await;
    }

    /// Owns a shard of which some records still execute elsewhere.
    async fn own_with(
        &self,
        shard: ShardId,
        checkpoint: Checkpoint,
        executing: Vec<(Offset, Option<Vec<u8>>)>,
    ) {
        let ownership = Ownership { shard, fence: checkpoint.fence, checkpoint, executing };
        self.pump.send(Command::Own(ownership)).await.expect("the pump runs");
    }

    /// Stops it gracefully.
    async fn stop(self) -> PumpReport {
        self.shutdown.cancel();
        let report = self.run.await.expect("the pump does not panic");
        if let Some(solo) = self.solo {
            solo.await.expect("the owner does not panic");
        }
        report
    }

    /// Ends it as kill -9 would.
    async fn kill(self, oracle: &Oracle) {
        self.run.abort();
        if let Some(solo) = self.solo {
            solo.abort();
        }
        let _ = self.run.await;
        oracle.crashed();
    }
}

fn record(key: &str, value: &str) -> NewRecord {
    NewRecord {
        key: Some(key.to_owned().into()),
        value: Some(value.to_owned().into()),
        timestamp: Some(1),
        ..NewRecord::default()
    }
}

fn failure(reason: &'static str) -> Failure {
    Failure::new(reason, "on purpose")
}

/// A handler that is done after a while.
fn delay(duration: Duration) -> FnHandler {
    FnHandler::new(move |_| async move {
        tokio::time::sleep(duration).await;
        Outcome::DONE
    })
}

#[tokio::test(start_paused = true)]
async fn every_record_is_handled_once_and_the_frontier_follows() {
    let bench = Bench::new();
    let offsets: Vec<_> = (0..1000).map(|i| bench.send(&format!("k{}", i % 10), "v")).collect();
    let worker = bench.start(delay(Duration::from_millis(10)));
    worker.completed(1000).await;
    let report = worker.stop().await;
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
    assert!(offsets.iter().all(|offset| bench.oracle.done(&bench.shard(), *offset) == 1));
    assert_eq!((report.cancelled, report.unsaved.len()), (0, 0));
    let stored = bench.checkpoints.stored(&bench.shard()).expect("a checkpoint");
    assert_eq!((stored.frontier.0, stored.completed.len()), (1000, 0));
}
