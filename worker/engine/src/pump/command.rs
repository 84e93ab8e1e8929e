//! What may be asked of a running pump, and the handle to ask it by.

use std::collections::HashSet;
use std::sync::Arc;

use keyweir_contract::worker_config::LiveConfig;
use keyweir_core::checkpoint::{Checkpoint, FailedRecord};
use keyweir_core::{Fence, Offset, ShardId};
use tokio::sync::{mpsc, oneshot, watch};

use super::stats::Snapshot;
use crate::ports::{BlockedKey, ParkedId, ParkedRecord};

/// How many commands wait at most; whoever sends more waits.
const QUEUE: usize = 64;

/// What may be asked of a running pump.
#[derive(Debug)]
pub enum Command {
    /// Own a shard from now on: start behind the checkpoint's frontier.
    Own(Ownership),
    /// Give a shard up. The answer comes when nothing of it can start any more and its last checkpoint is known.
    Release {
        /// The shard.
        shard: ShardId,
        /// Whether to wait for what is executing.
        mode: ReleaseMode,
        /// Gets what the next owner needs.
        reply: oneshot::Sender<Released>,
    },
    /// Records of a shard that executed elsewhere when it was taken over have ended there.
    EndedElsewhere {
        /// The shard.
        shard: ShardId,
        /// Offset of each, and how it ended.
        records: Vec<(Offset, Fate)>,
    },
    /// Start nothing new, but keep everything: the lease is in doubt.
    Freeze,
    /// The lease is safe again.
    Thaw,
    /// Nothing counts any more: cancel every call and forget every shard, without a checkpoint.
    Abandon {
        /// Told once nothing executes.
        done: oneshot::Sender<()>,
    },
    /// Take up changed settings.
    Tune(Box<LiveConfig>),
    /// Handle a parked record again: out of its order, or with all that follows it, in order, where it blocks its key.
    Replay {
        /// The record.
        parked: Box<ParkedRecord>,
        /// Gets what becomes of it.
        reply: oneshot::Sender<Replay>,
    },
    /// A parked record that blocked its key was forgotten: what follows it is handled again, in order.
    Skipped {
        /// Its name.
        id: ParkedId,
        /// What it blocked.
        key: BlockedKey,
        /// Gets what becomes of the records behind it.
        reply: oneshot::Sender<Replay>,
    },
}

/// How a record ended whose shard had been given up meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is complete.
    Complete,
    /// It failed: the owner makes the next attempt.
    Failed(FailedRecord),
    /// It did not run to its end, and nobody is charged for that: the owner handles it.
    Unfinished,
}

/// What becomes of parked records that are to be handled again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The record is handled again, by itself.
    Alone,
    /// The records of its key are handled again, one after the other.
    InOrder,
    /// That record of its key comes first.
    After(ParkedId),
    /// Its shard is not owned here.
    NotOwned,
}

/// A shard to be owned.
#[derive(Clone, Debug)]
pub struct Ownership {
    /// The shard.
    pub shard: ShardId,
    /// The owner's fence.
    pub fence: Fence,
    /// Where to start: durable under this fence before the pump hears of it.
    pub checkpoint: Checkpoint,
    /// Records that still execute at the old owner, with their keys: those keys wait.
    pub executing: Vec<(Offset, Option<Vec<u8>>)>,
}

/// Whether a release waits for what is executing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseMode {
    /// Wait for it, up to the drain time; then cancel the rest.
    Drain,
    /// Name it and let it go on here; its outcome is told later.
    HandOver,
}

/// What the next owner needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Released {
    /// The last checkpoint, not yet saved when the mode was `HandOver`; `None` = the shard was not owned.
    pub checkpoint: Option<Checkpoint>,
    /// What still executes here, with keys.
    pub executing: Vec<(Offset, Option<Vec<u8>>)>,
}

/// A running pump, from outside.
#[derive(Clone, Debug)]
pub struct PumpHandle {
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

/// The pump has ended: nothing can be asked of it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to reach the pump: it has ended")]
pub struct PumpEnded;

impl PumpHandle {
    /// A handle and the pump's side of it.
    pub(super) fn new(snapshots: watch::Receiver<Arc<Snapshot>>) -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(QUEUE);
        (Self { commands, snapshots }, receiver)
    }

    /// Asks the pump; waits while its queue is full.
    pub async fn send(&self, command: Command) -> Result<(), PumpEnded> {
        self.commands.send(command).await.map_err(|_| PumpEnded)
    }

    /// Gives a shard up and waits for the answer.
    pub async fn release(&self, shard: ShardId, mode: ReleaseMode) -> Result<Released, PumpEnded> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Release { shard, mode, reply }).await?;
        answer.await.map_err(|_| PumpEnded)
    }

    /// Cancels every call and forgets every shard; nothing executes any more when it returns.
    pub async fn abandon(&self) -> Result<(), PumpEnded> {
        let (done, told) = oneshot::channel();
        self.send(Command::Abandon { done }).await?;
        told.await.map_err(|_| PumpEnded)
    }

    /// What the pump last said of itself.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Says when the next snapshot is there.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// The shards that the pump owned when it last said so.
    pub fn owned(&self) -> HashSet<ShardId> {
        self.snapshot().shards.iter().map(|shard| (*shard.id).clone()).collect()
    }
}
