//! Ownership where there is only one process: it owns every shard there is, and every one that appears.
//!
//! The fence is (0, n), n one higher than any that was stored: a second process on the same store makes the first
//! one's checkpoints fail. What keeps two processes apart in the first place is the data directory's lock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, ShardId};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error_chain;
use crate::opening::{OpenError, Opening, open, reset_among};
use crate::ports::{CheckpointError, SourceError, StartAt};
use crate::pump::{Command, Ownership, Ports, PumpHandle, ReleaseMode};

/// How often somebody's reset of the group's offset is looked for.
const RESETS: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What a sole owner is told.
#[derive(Clone)]
pub struct Solo {
    /// The object's cold ports.
    pub ports: Ports,
    /// Where an object starts that has no checkpoint.
    pub start: StartAt,
    /// How often new shards are looked for.
    pub discovery: Duration,
}

/// What is owned, under which fence.
type Owned = HashMap<ShardId, Fence>;

/// Why the sole owner is not yet content; `None` = every known shard is owned.
pub type Hindrance = Option<Arc<SoloError>>;

/// Why shards could not be owned. All but a refused checkpoint are tried again.
#[derive(Debug, thiserror::Error)]
pub enum SoloError {
    /// The source did not say which shards there are.
    #[error("failed to list the shards")]
    List(#[source] SourceError),
    /// Stored checkpoints could not be read.
    #[error("failed to read the stored checkpoints")]
    Load(#[source] CheckpointError),
    /// A shard could not be opened.
    #[error("failed to open the shards")]
    Open(#[source] OpenError),
}

impl SoloError {
    /// What it is about: `source` or `checkpoints`.
    pub fn about(&self) -> &'static str {
        match self {
            Self::List(_) | Self::Open(OpenError::Source { .. }) => "source",
            Self::Load(_) | Self::Open(OpenError::Foreign { .. } | OpenError::Save(_)) => "checkpoints",
        }
    }

    /// The stable word for conditions, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::List(source) => source.reason(),
            Self::Load(CheckpointError::Unreadable { .. }) => "CheckpointUnreadable",
            Self::Load(_) => "CheckpointStoreUnreachable",
            Self::Open(source) => source.reason(),
        }
    }
}

impl Solo {
    /// Owns all shards, and those that appear, until cancelled. Says through `hindrance` what keeps it.
    pub async fn run(self, pump: PumpHandle, hindrance: watch::Sender<Hindrance>, cancel: CancellationToken) {
        let mut owned = HashMap::new();
        let mut wait = FIRST_WAIT;
        let mut list_at = Instant::now();
        loop {
            let lists = Instant::now() >= list_at;
            let round = tokio::select! {
                biased;
                // The end first: a broker that does not answer must not hold it up. What a round leaves undone is as
                // after a crash.
                () = cancel.cancelled() => return,
                round = self.round(&pump, &mut owned, lists) => round,
            };
            let pause = match round {
                Ok(()) => {
                    hindrance.send_replace(None);
                    wait = FIRST_WAIT;
                    if lists {
                        list_at = Instant::now() + self.discovery;
                    }
                    RESETS.min(list_at.saturating_duration_since(Instant::now()))
                }
                Err(error) => {
                    tracing::warn!(
                        reason = error.reason(),
                        error = error_chain(&error),
                        "shards are not owned yet"
                    );
                    hindrance.send_replace(Some(Arc::new(error)));
                    // What was released for a reset is found again by listing.
                    list_at = Instant::now();
                    wait = (wait * 2).min(LONGEST_WAIT);
                    wait
                }
            };
            tokio::select! {
                biased;
                // The end first: there may be nobody left to own for.
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Owns what is not owned yet, and anew what was reset.
    async fn round(&self, pump: &PumpHandle, owned: &mut Owned, lists: bool) -> Result<(), SoloError> {
        let mut fences = HashMap::new();
        for shard in self.resets(owned).await {
            tracing::info!(%shard, "the group offset was reset: opening the shard anew");
            if pump.release(shard.clone(), ReleaseMode::Drain).await.is_err() {
                return Ok(());
            }
            fences.extend(owned.remove_entry(&shard));
        }
        let mut new: Vec<ShardId> = fences.keys().cloned().collect();
        if lists {
            let shards = self.ports.source.shards().await.map_err(SoloError::List)?;
            new = shards.into_iter().filter(|shard| !owned.contains_key(shard)).collect();
        }
        if new.is_empty() {
            return Ok(());
        }
        let stored = self.ports.checkpoints.load(&new).await.map_err(SoloError::Load)?;
        let begun: HashSet<_> = new
            .iter()
            .zip(&stored)
            .filter(|(_, stored)| stored.is_some())
            .map(|(shard, _)| shard.stream.clone())
            .chain(owned.keys().map(|shard| shard.stream.clone()))
            .collect();
        let openings = new.into_iter().zip(stored).map(|(shard, stored)| {
            let stored_fence = stored.as_ref().map(|stored: &Checkpoint| stored.fence);
            // Where the checkpoint stood beside the group's offset, the reset took it away.
            let last = stored_fence.max(fences.get(&shard).copied()).map_or(0, |fence| fence.revision);
            // startAt is for the partitions of the first start; later ones start at their first offset.
            let start = if begun.contains(&shard.stream) { StartAt::Earliest } else { self.start };
            Opening { fence: Fence::new(0, last + 1), shard, stored, start }
        });
        let opened = open(&self.ports, openings.collect()).await.map_err(SoloError::Open)?;
        for (shard, checkpoint) in opened {
            let fence = checkpoint.fence;
            let ownership = Ownership { shard: shard.clone(), fence, checkpoint, executing: Vec::new() };
            if pump.send(Command::Own(ownership)).await.is_err() {
                return Ok(());
            }
            owned.insert(shard, fence);
        }
        Ok(())
    }

    /// Owned shards that somebody has reset. Who can't be asked now is asked again soon.
    async fn resets(&self, owned: &Owned) -> Vec<ShardId> {
        let shards: Vec<ShardId> = owned.keys().cloned().collect();
        match reset_among(self.ports.source.as_ref(), shards).await {
            Ok(reset) => reset,
            Err(error) => {
                tracing::debug!(error = error_chain(&error), "nobody said whether shards were reset");
                Vec::new()
            }
        }
    }
}
