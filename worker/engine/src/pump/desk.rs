//! Slow work beside the calls: writes of outputs, dead letters and parked records, checkpoints, mirrors, reads of
//! spilled records.
//!
//! Jobs are futures that the pump polls itself; each ends in a [`Job`] that says what it was about. How many there
//! are is bounded by the permits of the records that wait for them, and by the shards.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use keyweir_core::{Fence, LaneId, Offset, ShardIndex};

use super::command::Fate;
use super::owed::WriteId;
use super::recall::Asked;
use crate::error_chain;
use crate::ports::{BlockedKey, CheckpointError, Mirror, ParkedRecord, Recalled, SourceError};

/// Work under way beside the calls.
pub(super) type Desk = FuturesUnordered<BoxFuture<'static, Job>>;

/// A piece of slow work that has ended.
pub(super) enum Job {
    /// What a record owed before its completion is durable, or failed.
    Wrote { lane: LaneId, write: WriteId, failure: Option<WriteFailure> },
    /// A parked record that was handled again is forgotten; a failure repeats it some day.
    Forgot { failure: Option<WriteFailure> },
    /// The first parked record of each blocked key of a shard was found, or not; then these records, which executed
    /// elsewhere, have ended.
    Learned {
        tenure: Tenure,
        ended: Vec<(Offset, Fate)>,
        found: Result<Vec<(BlockedKey, Offset)>, WriteFailure>,
    },
    /// A parked record was forgotten where one was `done`, and the next one of its key looked for.
    NextBehind {
        tenure: Tenure,
        key: BlockedKey,
        done: Option<Offset>,
        found: Result<Option<Box<ParkedRecord>>, WriteFailure>,
    },
    /// Checkpoints were saved, or not.
    Saved { saved: Vec<SavedShard>, failure: Option<CheckpointError> },
    /// Spilled records were read again, or not.
    Recalled { asked: Asked, found: Result<Recalled, SourceError> },
    /// Frontiers were shown to other tools, or not.
    Mirrored { shown: Vec<Mirror>, failure: Option<SourceError> },
}

/// One shard under one fence: what is found out about it means nothing to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenure {
    pub(super) index: ShardIndex,
    pub(super) fence: Fence,
}

/// One shard's part in a save.
#[derive(Clone, Debug)]
pub(super) struct SavedShard {
    pub(super) shard: ShardIndex,
    pub(super) frontier: Offset,
    /// It was the shard's last one.
    pub(super) closing: bool,
    pub(super) mirror: Mirror,
}

/// A write that failed.
pub(super) struct WriteFailure {
    pub(super) about: String,
    pub(super) reason: &'static str,
    pub(super) text: String,
}

impl WriteFailure {
    pub(super) fn new(about: impl Into<String>, reason: &'static str, error: &dyn Error) -> Self {
        Self { about: about.into(), reason, text: error_chain(error) }
    }
}

/// Takes out all jobs that have ended.
pub(super) fn poll_jobs(desk: &mut Desk, cx: &mut Context<'_>, jobs: &mut Vec<Job>) {
    while let Poll::Ready(Some(job)) = Pin::new(&mut *desk).poll_next(cx) {
        jobs.push(job);
    }
}
