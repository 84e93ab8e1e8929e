//! `Source`: the cold half of a source: which shards there are, where they begin and end, and the mirror that
//! other tools read.

use futures::future::BoxFuture;
use keyweir_core::{Fence, Offset, ShardId};

/// Where an object starts that has no checkpoint yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the first record that is kept.
    Earliest,
    /// Behind the last record.
    Latest,
    /// At the first record written at or after that time, in milliseconds since the epoch.
    Timestamp(i64),
}

/// First kept offset and the offset behind the last readable record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First offset that can still be read.
    pub first: Offset,
    /// One behind the last readable record.
    pub end: Offset,
}

/// What is written to the place that other tools read (Kafka's group offset), taken from a durable checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The shard.
    pub shard: ShardId,
    /// All below is complete.
    pub frontier: Offset,
    /// Whose checkpoint it was.
    pub fence: Fence,
    /// The checkpoint's sequence number.
    pub sequence: u64,
    /// Which log the frontier is of, where that has an id.
    pub log: Option<String>,
}

/// What was found at the place that other tools read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorState {
    /// Nothing was ever written.
    Absent,
    /// Ours: written from a checkpoint with that fence and sequence.
    Marked {
        /// The mirrored frontier.
        frontier: Offset,
        /// Whose checkpoint it was.
        fence: Fence,
        /// The checkpoint's sequence number.
        sequence: u64,
    },
    /// Somebody's reset: an offset without our mark. It wins over the checkpoint.
    Reset(Offset),
}

/// Whose offsets these are, kept with checkpoints so that foreign ones are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, where it has an id.
    pub cluster: Option<String>,
    /// One stream in it, where it has an id: a topic made anew has another one.
    pub stream: Option<String>,
}

/// The cold half of a source.
///
/// What implementers owe: every call has a deadline of its own and ends; an expected state (no such topic yet) is
/// a value or a retryable error, never a panic; calls may run at the same time.
pub trait Source: Send + Sync + 'static {
    /// All shards that exist now, in a stable order. A topic that is missing is [`SourceError::Missing`].
    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardId>, SourceError>>;

    /// The offset at which a shard without a checkpoint starts.
    fn resolve<'a>(&'a self, shard: &'a ShardId, at: StartAt) -> BoxFuture<'a, Result<Offset, SourceError>>;

    /// First and end offset of each of these shards, for lag and for checking a checkpoint against the log.
    fn bounds<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<Bounds>, SourceError>>;

    /// Whether offsets count records, so that the distance of two of them is a number of records.
    fn counts_records(&self) -> bool {
        true
    }

    /// What other tools wrote or were shown for these shards.
    fn mirrored<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<MirrorState>, SourceError>>;

    /// Shows durable frontiers to other tools. Called after the checkpoint is durable, never before. Somebody's reset
    /// is left as it is, except by the mirror that stands exactly there: the one that follows when it was taken. A frontier
    /// of a log that was made anew meanwhile is not shown in the new one.
    fn mirror(&self, mirrors: Vec<Mirror>) -> BoxFuture<'_, Result<(), SourceError>>;

    /// Identity of the cluster and of one stream in it, kept with checkpoints so that a foreign one is refused.
    fn identity<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Identity, SourceError>>;
}

/// Why a source could not do what it was asked. The variant says whether waiting helps.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nobody answers. Waiting helps.
    #[error("failed to reach the source {what}")]
    Unreachable {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The topic or path does not exist (yet). Waiting may help.
    #[error("failed to find {what}: create it, or correct its name")]
    Missing {
        /// The topic or path.
        what: String,
    },
    /// Nobody is let in with these credentials. A person must act; trying again is harmless.
    #[error("failed to log in to {what}")]
    Unauthenticated {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Whoever has these credentials may not do this. A person must act; trying again is harmless.
    #[error("failed to be let in to {what}")]
    Refused {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The offset is no longer (or not yet) there.
    #[error("failed to read {shard} at {offset}: the log holds another range")]
    OutOfRange {
        /// The shard.
        shard: ShardId,
        /// Where reading was to go on.
        offset: Offset,
    },
    /// The topic was deleted and made anew: its offsets mean other records now. A person must act.
    #[error(
        "failed to read {shard}: its topic was made anew; reset the group's offset to say where to go on"
    )]
    MadeAnew {
        /// The shard.
        shard: ShardId,
    },
    /// What was stored can't be read: a person must act.
    #[error("failed to read {what}: it is damaged")]
    Damaged {
        /// What was read.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SourceError {
    /// The stable word for conditions, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "Timeout",
            Self::Missing { .. } => "TopicMissing",
            Self::Unauthenticated { .. } => "AuthenticationFailed",
            Self::Refused { .. } => "NotAuthorized",
            Self::OutOfRange { .. } => "OffsetOutOfRange",
            Self::MadeAnew { .. } => "TopicMadeAnew",
            Self::Damaged { .. } => "Damaged",
        }
    }

    /// Whether the same call may succeed later without anybody acting.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Missing { .. })
    }
}
