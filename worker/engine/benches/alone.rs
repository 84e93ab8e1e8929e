//! The engine alone: records made in memory, a handler that does nothing, per-key order, 1,000 keys.
//!
//! `cargo bench -p keyweir-engine --bench alone -- [records]` prints CPU time a record, with and without what it
//! costs to make the records. Keys, values and rounds are fixed; compare within one run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyweir_contract::worker_config::{FixedConfig, LiveConfig};
use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset, ShardId, ShardIndex};
use keyweir_engine::ports::{Batch, Handler, Intake, Reader, Request};
use keyweir_engine::pump::{Command, DispatchLimit, Ownership, Parts, Ports, pump};
use keyweir_engine::testing::fakes::{MemoryCheckpoints, MemoryLog, MemoryProducer};
use keyweir_engine::{Arena, Origin, Outcome};
use tokio_util::sync::CancellationToken;

const KEYS: u64 = 1000;
const BATCH: i64 = 1000;

struct Nothing;

impl Handler for Nothing {
    async fn handle(&self, _: Request) -> Outcome {
        Outcome::DONE
    }
}

/// Makes records as a Kafka reader does: one copy into an arena.
struct Maker {
    open: bool,
    next: i64,
    end: i64,
    random: u64,
    arena: Arena,
}

impl Maker {
    fn new(end: i64) -> Self {
        Self { open: false, next: 0, end, random: 88_172_645_463_325_252, arena: Arena::new() }
    }

    fn batch(&mut self) -> Batch {
        let mut records = Vec::with_capacity(BATCH as usize);
        let value = [b'x'; 96];
        let mut key = *b"key-0000";
        for _ in 0..BATCH.min(self.end - self.next) {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let mut number = self.random % KEYS;
            for place in (4..8).rev() {
                key[place] = b'0' + (number % 10) as u8;
                number /= 10;
            }
            let origin = Origin { shard: ShardIndex(0), offset: Offset(self.next), timestamp: 0 };
            records.push(self.arena.record(origin, Some(&key), Some(&value), std::iter::empty()));
            self.next += 1;
        }
        Batch { records, positions: Vec::new() }
    }
}

impl Reader for Maker {
    fn open(&mut self, _: ShardIndex, _: &ShardId, _: Offset) {
        self.open = true;
    }

    fn close(&mut self, _: ShardIndex) {
        self.open = false;
    }

    fn pause(&mut self, _: ShardIndex) {}

    fn resume(&mut self, _: ShardIndex) {}

    async fn next(&mut self) -> Intake {
        if !self.open || self.next == self.end {
            return std::future::pending().await;
        }
        Intake::Batch(self.batch())
    }
}

fn cpu() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("usage");
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    of(usage.user_time()) + of(usage.system_time())
}

fn config() -> FixedConfig {
    serde_json::from_value(serde_json::json!({
        "source": {"embedded": {"topics": ["orders"], "group": "g", "partitions": 1, "startAt": "earliest",
            "retentionAge": "168h", "retentionBytes": "10Gi"}},
        "handler": {"handler": {"builtin": "drop"}, "options": {"maxResponseBytes": "1Mi"}},
        "onUndecodable": "skip",
        "onExhausted": "stop",
    }))
    .expect("the configuration reads")
}

async fn pumped(records: i64) -> (Duration, Duration) {
    let log = MemoryLog::default();
    let shutdown = CancellationToken::new();
    let (handle, run) = pump(Parts {
        reader: Maker::new(records),
        handlers: vec![Arc::new(Nothing)],
        ports: Ports {
            source: Arc::new(log.clone()),
            checkpoints: Arc::new(MemoryCheckpoints::default()),
            producer: Arc::new(MemoryProducer::new(log)),
            parked: None,
            recall: None,
            notices: Default::default(),
        },
        observers: Vec::new(),
        fixed: Arc::new(config()),
        live: LiveConfig::default(),
        cpus: 1,
        seed: 7,
        departed: None,
        limit: DispatchLimit::default(),
        shutdown: shutdown.clone(),
        hurry: CancellationToken::new(),
    });
    let run = tokio::spawn(run);
    let fence = Fence::new(0, 1);
    let (cpu_before, before) = (cpu(), Instant::now());
    let shard = ShardId::new("orders", 0);
    let checkpoint = Checkpoint::new(fence, Offset(0));
    let own = Ownership { shard, fence, checkpoint, executing: Vec::new() };
    handle.send(Command::Own(own)).await.expect("the pump runs");
    let mut snapshots = handle.snapshots();
    let all = snapshots.wait_for(|now| now.counters.completed >= records as u64).await;
    all.expect("the pump runs");
    let took = (cpu() - cpu_before, before.elapsed());
    shutdown.cancel();
    run.await.expect("the pump ends");
    took
}

fn main() {
    let records = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(5_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for round in 1..=3 {
        let before = cpu();
        let mut maker = Maker::new(records);
        while maker.next < maker.end {
            std::hint::black_box(maker.batch());
        }
        let made = cpu() - before;
        let (used, took) = runtime.block_on(pumped(records));
        let each = |time: Duration| time.as_secs_f64() * 1e6 / records as f64;
        println!(
            "round {round}: {:.3} us CPU a record, of which making it {:.3}; {:.0} records/s",
            each(used),
            each(made),
            records as f64 / took.as_secs_f64(),
        );
    }
}
