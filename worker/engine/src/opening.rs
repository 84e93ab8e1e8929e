//! Where a shard starts under a new fence: its checkpoint, somebody's reset, the mirror, or `startAt`.
//!
//! ```text
//!   unmarked group offset (a reset)  ▶ wins over everything, drops the completed set
//!   stored checkpoint                ▶ else
//!   marked group offset              ▶ else: the checkpoint was lost
//!   startAt                          ▶ else: the object is new
//! ```
//! Whatever it is becomes a durable checkpoint under the new fence before the pump hears of the shard.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use keyweir_core::checkpoint::{Checkpoint, DecodeError};
use keyweir_core::{Fence, ShardId};

use crate::notices::Notices;
use crate::ports::{CheckpointError, Identity, Mirror, MirrorState, Source, SourceError, StartAt};
use crate::pump::Ports;

/// How many shards are looked up at a time.
const LOOKUPS: usize = 16;

/// A shard to be opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The shard.
    pub shard: ShardId,
    /// The fence of the new owner.
    pub fence: Fence,
    /// What is stored of it.
    pub stored: Option<Checkpoint>,
    /// Where it starts when nothing is known of it.
    pub start: StartAt,
}

/// Why a shard could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The source did not answer.
    #[error("failed to ask the source where {shard} starts")]
    Source {
        /// The shard.
        shard: ShardId,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// The stored checkpoint is of another cluster or topic. A person must act.
    #[error(
        "failed to accept the checkpoint of {shard}: remove it, or reset the group's offset, to start anew"
    )]
    Foreign {
        /// The shard.
        shard: ShardId,
        /// What differs.
        #[source]
        source: DecodeError,
    },
    /// The first checkpoint could not be saved.
    #[error("failed to save where the shards start")]
    Save(#[source] CheckpointError),
}

impl OpenError {
    /// The stable word for conditions, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Source { source, .. } => source.reason(),
            Self::Foreign { .. } => "ForeignCheckpoint",
            Self::Save(_) => "CheckpointStoreUnreachable",
        }
    }
}

/// Where a shard starts.
struct Resolved {
    shard: ShardId,
    checkpoint: Checkpoint,
    /// Somebody's reset says so.
    is_reset: bool,
    /// Other tools see nothing of it yet.
    is_unseen: bool,
}

/// Finds where each shard starts. Nothing is written.
async fn resolve(source: &dyn Source, openings: Vec<Opening>) -> Result<Vec<Resolved>, OpenError> {
    let Some(first) = openings.first().map(|opening| opening.shard.clone()) else {
        return Ok(Vec::new());
    };
    let shards: Vec<ShardId> = openings.iter().map(|opening| opening.shard.clone()).collect();
    let mirrors =
        source.mirrored(&shards).await.map_err(|source| OpenError::Source { shard: first, source })?;
    let mut identities = HashMap::new();
    for shard in &shards {
        if !identities.contains_key(&shard.stream) {
            let identity = source.identity(&shard.stream).await;
            let identity = identity.map_err(|source| OpenError::Source { shard: shard.clone(), source })?;
            identities.insert(shard.stream.clone(), identity);
        }
    }
    let identities = &identities;
    stream::iter(openings.into_iter().zip(mirrors))
        .map(|(opening, mirror)| async move {
            let identity = identities.get(&opening.shard.stream).cloned().unwrap_or_default();
            resolve_one(source, opening, mirror, identity).await
        })
        .buffered(LOOKUPS)
        .try_collect()
        .await
}

async fn resolve_one(
    source: &dyn Source,
    opening: Opening,
    mirror: MirrorState,
    Identity { cluster: cluster_id, stream: stream_id }: Identity,
) -> Result<Resolved, OpenError> {
    let Opening { shard, fence, stored, start } = opening;
    // A tenure counts from its beginning: a crash writes nothing.
    let fresh =
        |frontier, sequence| Checkpoint { sequence, crash_takeovers: 1, ..Checkpoint::new(fence, frontier) };
    let sequence = stored.as_ref().map_or(0, |stored| stored.sequence);
    let is_reset = matches!(mirror, MirrorState::Reset(_));
    let is_unseen = mirror == MirrorState::Absent;
    let mut checkpoint = match (stored, mirror) {
        (_, MirrorState::Reset(offset)) => {
            tracing::info!(%shard, %offset, "the group offset was reset: starting there");
            fresh(offset, sequence)
        }
        (Some(stored), _) => {
            let checked = stored.check_identity(cluster_id.as_deref(), stream_id.as_deref());
            checked.map_err(|source| OpenError::Foreign { shard: shard.clone(), source })?;
            let crash_takeovers = stored.crash_takeovers.saturating_add(1);
            Checkpoint { fence, crash_takeovers, ..stored }
        }
        (None, MirrorState::Marked { frontier, sequence, .. }) => {
            tracing::warn!(%shard, %frontier, "no checkpoint: starting at the mirrored group offset");
            fresh(frontier, sequence)
        }
        (None, MirrorState::Absent) => {
            let resolved = source.resolve(&shard, start).await;
            fresh(resolved.map_err(|source| OpenError::Source { shard: shard.clone(), source })?, 0)
        }
    };
    checkpoint.cluster_id = cluster_id;
    checkpoint.stream_id = stream_id;
    checkpoint.stopped = None;
    Ok(Resolved { shard, checkpoint, is_reset, is_unseen })
}

/// Finds where each shard starts and makes that durable, in one save. A reset is taken once it bears our mark: else
/// it would be found again. Where nothing was mirrored yet the start is shown at once: whoever measures the lag of an
/// object that is then asleep knows by it that the object has begun, and where.
pub async fn open(ports: &Ports, openings: Vec<Opening>) -> Result<Vec<(ShardId, Checkpoint)>, OpenError> {
    let resolved = resolve(ports.source.as_ref(), openings).await?;
    let mirrors_of = |wanted: fn(&Resolved) -> bool| -> Vec<Mirror> {
        resolved.iter().filter(|resolved| wanted(resolved)).map(Resolved::mirror).collect()
    };
    let resets = mirrors_of(|resolved| resolved.is_reset);
    let unseen = mirrors_of(|resolved| resolved.is_unseen);
    let opened: Vec<(ShardId, Checkpoint)> =
        resolved.into_iter().map(|resolved| (resolved.shard, resolved.checkpoint)).collect();
    if !opened.is_empty() {
        ports.checkpoints.save(opened.clone()).await.map_err(OpenError::Save)?;
    }
    if let Some(shard) = resets.first().map(|reset| reset.shard.clone()) {
        let taken: Vec<String> =
            resets.iter().map(|reset| format!("{} starts at {}", reset.shard, reset.frontier)).collect();
        let marked = ports.source.mirror(resets).await;
        marked.map_err(|source| OpenError::Source { shard, source })?;
        for text in taken {
            ports.notices.tell(Notices::OFFSET_RESET, text);
        }
    }
    if !unseen.is_empty()
        && let Err(error) = ports.source.mirror(unseen).await
    {
        // The first checkpoint is mirrored too: nothing waits for this one.
        tracing::warn!(error = crate::error_chain(&error), "the start is not mirrored yet");
    }
    Ok(opened)
}

/// Which of these shards somebody has reset since they were opened.
pub(crate) async fn reset_among(
    source: &dyn Source,
    shards: Vec<ShardId>,
) -> Result<Vec<ShardId>, SourceError> {
    let found = source.mirrored(&shards).await?;
    let is_reset = |(_, found): &(ShardId, MirrorState)| matches!(found, MirrorState::Reset(_));
    Ok(shards.into_iter().zip(found).filter(is_reset).map(|(shard, _)| shard).collect())
}

impl Resolved {
    fn mirror(&self) -> Mirror {
        Mirror {
            shard: self.shard.clone(),
            frontier: self.checkpoint.frontier,
            fence: self.checkpoint.fence,
            sequence: self.checkpoint.sequence,
            log: self.checkpoint.stream_id.clone(),
        }
    }
}
