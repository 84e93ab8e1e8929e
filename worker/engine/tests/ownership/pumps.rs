//! Pumps that only remember what they own, and the truth that judges them all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset, ShardId};
use keyweir_engine::ownership::Pumps;
use keyweir_engine::pump::{Fate, Ownership, PumpEnded, ReleaseMode, Released};
use tokio::time::{Instant, sleep};

/// What really happened, in all processes.
#[derive(Clone, Default)]
pub(crate) struct Truth(Arc<Mutex<Facts>>);

#[derive(Default)]
pub(crate) struct Facts {
    /// Who handles each shard, under which fence.
    pub(crate) active: BTreeMap<ShardId, HashMap<usize, Fence>>,
    tenures: HashMap<(ShardId, Fence), usize>,
    newest: HashMap<ShardId, Fence>,
    /// Since when a shard is handled by nobody, and how long each such gap was.
    idle_since: HashMap<ShardId, Instant>,
    pub(crate) longest_gap: Duration,
    /// Shards whose owner has changed since the last time this was reset.
    pub(crate) moved: HashSet<ShardId>,
    pub(crate) frozen: HashSet<usize>,
    pub(crate) violations: Vec<String>,
}

impl Truth {
    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().expect("no test panics with it")
    }

    /// Starts to count moves and gaps anew.
    pub(crate) fn reset(&self) {
        let mut facts = self.facts();
        facts.moved.clear();
        facts.longest_gap = Duration::ZERO;
    }

    /// How many shards each process handles.
    pub(crate) fn loads(&self) -> BTreeMap<usize, usize> {
        let mut loads = BTreeMap::new();
        for owner in self.facts().active.values().flat_map(HashMap::keys) {
            *loads.entry(*owner).or_default() += 1;
        }
        loads
    }

    /// Nothing of that process works any more.
    pub(crate) fn died(&self, process: usize) {
        let mut facts = self.facts();
        let shards: Vec<ShardId> = facts.active.keys().cloned().collect();
        for shard in shards {
            facts.stopped(&shard, process);
        }
        facts.frozen.remove(&process);
    }
}

impl Facts {
    fn began(&mut self, shard: &ShardId, fence: Fence, process: usize) {
        let others: Vec<usize> =
            self.active.get(shard).into_iter().flatten().map(|(other, _)| *other).collect();
        if !others.is_empty() {
            self.violations.push(format!("{process} began {shard} at {fence} while {others:?} handled it"));
        }
        if let Some(other) = self.tenures.insert((shard.clone(), fence), process) {
            self.violations.push(format!("{process} began {shard} at {fence}, the fence of {other}"));
        }
        if let Some(newest) = self.newest.insert(shard.clone(), fence)
            && newest >= fence
        {
            self.violations.push(format!("{process} began {shard} at {fence} after {newest}"));
        }
        if let Some(since) = self.idle_since.remove(shard) {
            self.longest_gap = self.longest_gap.max(since.elapsed());
        }
        self.active.entry(shard.clone()).or_default().insert(process, fence);
        self.moved.insert(shard.clone());
    }

    fn stopped(&mut self, shard: &ShardId, process: usize) {
        let owners = self.active.entry(shard.clone()).or_default();
        if owners.remove(&process).is_some() && owners.is_empty() {
            self.idle_since.insert(shard.clone(), Instant::now());
        }
    }
}

/// The pumps of one process.
#[derive(Clone)]
pub(crate) struct MemoryPumps {
    pub(crate) process: usize,
    pub(crate) truth: Truth,
    /// The pump stands still: it neither beats nor answers.
    pub(crate) stuck: Arc<std::sync::atomic::AtomicBool>,
    owned: Arc<Mutex<HashMap<ShardId, Checkpoint>>>,
}

impl MemoryPumps {
    pub(crate) fn new(process: usize, truth: Truth) -> Self {
        Self { process, truth, stuck: Arc::default(), owned: Arc::default() }
    }

    fn owned(&self) -> MutexGuard<'_, HashMap<ShardId, Checkpoint>> {
        self.owned.lock().expect("no test panics with it")
    }

    fn answer<T: Send + 'static>(&self, answer: T) -> BoxFuture<'_, Result<T, PumpEnded>> {
        async move { Ok(answer) }.boxed()
    }
}

impl Pumps for MemoryPumps {
    fn own(&self, ownership: Ownership) -> BoxFuture<'_, Result<(), PumpEnded>> {
        let Ownership { shard, fence, checkpoint, .. } = ownership;
        self.truth.facts().began(&shard, fence, self.process);
        self.owned().insert(shard, checkpoint);
        self.answer(())
    }

    fn release(&self, shard: ShardId, _: ReleaseMode) -> BoxFuture<'_, Result<Released, PumpEnded>> {
        self.truth.facts().stopped(&shard, self.process);
        let checkpoint = self.owned().remove(&shard).map(|checkpoint| Checkpoint {
            sequence: checkpoint.sequence + 1,
            frontier: checkpoint.frontier.next(),
            ..checkpoint
        });
        self.answer(Released { checkpoint, executing: Vec::new() })
    }

    fn ended_elsewhere(&self, _: ShardId, _: Vec<(Offset, Fate)>) -> BoxFuture<'_, Result<(), PumpEnded>> {
        self.answer(())
    }

    fn freeze(&self) -> BoxFuture<'_, Result<(), PumpEnded>> {
        self.truth.facts().frozen.insert(self.process);
        self.answer(())
    }

    fn thaw(&self) -> BoxFuture<'_, Result<(), PumpEnded>> {
        self.truth.facts().frozen.remove(&self.process);
        self.answer(())
    }

    fn abandon(&self) -> BoxFuture<'_, Result<(), PumpEnded>> {
        let shards: Vec<ShardId> = self.owned().drain().map(|(shard, _)| shard).collect();
        for shard in shards {
            self.truth.facts().stopped(&shard, self.process);
        }
        self.answer(())
    }

    fn beats(&self) -> BoxStream<'static, ()> {
        let stuck = Arc::clone(&self.stuck);
        stream::unfold(stuck, |stuck| async move {
            sleep(Duration::from_millis(200)).await;
            while stuck.load(std::sync::atomic::Ordering::Relaxed) {
                sleep(Duration::from_millis(50)).await;
            }
            Some(((), stuck))
        })
        .boxed()
    }
}
