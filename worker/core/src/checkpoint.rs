//! A shard's checkpoint: what survives a crash, a move, a restart.
//!
//! ```text
//!   ...complete...│ open │ complete │ open, failed twice │ complete │ open ...  not yet read
//!              frontier  └─range 1──┘  not before 12:00   └─range 2──┘
//! ```
//! Written as a compact, checked binary or as text. Decoding never panics, whatever the bytes, and never guesses:
//! a checkpoint that is damaged, foreign or too new is refused with a reason. Where it is stored, and whether its
//! fence still counts, is for others to decide. Up: the [crate map](crate).

mod decode;
mod encode;
mod text;
mod wire;

use thiserror::Error;

use crate::ids::{Attempt, Fence, Offset, UnixMillis};
use crate::ranges::RangeSet;

pub use encode::{EncodeError, Fitted};

/// The format that is written. Its successor is read too, so that a rolling update mixes safely.
pub const FORMAT: u8 = 2;

/// A longer reason is cut at a character border when it is written, to this many bytes.
pub const REASON_LIMIT: usize = 512;

/// All that a shard's next owner must know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// The tenure under which it was written.
    pub fence: Fence,
    /// Counts the writes of the shard; a later checkpoint has a higher one.
    pub sequence: u64,
    /// All below is complete.
    pub frontier: Offset,
    /// What is complete at and above the frontier. Ranges may cover offsets at which no record stands.
    pub completed: RangeSet,
    /// Records that failed and are not complete.
    pub failed: Vec<FailedRecord>,
    /// Why the shard was stopped; `None` while it runs.
    pub stopped: Option<String>,
    /// How many tenures in a row began with the frontier where it is now and did not end in order; the present one
    /// counts until it has ended in order.
    pub crash_takeovers: u32,
    /// The cluster whose offsets these are, where it has an id.
    pub cluster_id: Option<String>,
    /// The topic whose offsets these are, where it has an id: a topic made anew has another one.
    pub stream_id: Option<String>,
    /// What the source wants back when the shard is opened again; only the source understands it. Empty = nothing.
    /// It is never cut to a bound: a source keeps it small.
    pub notes: Vec<u8>,
}

/// What is known of a record whose attempts failed so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRecord {
    /// Which record.
    pub offset: Offset,
    /// The last attempt that failed.
    pub attempts: Attempt,
    /// When the next one may start.
    pub not_before: UnixMillis,
    /// Why it failed, at most [`REASON_LIMIT`] bytes of it.
    pub reason: String,
}

impl Checkpoint {
    /// A checkpoint of a shard at its start: nothing complete above the frontier, nothing failed.
    #[must_use]
    pub fn new(fence: Fence, frontier: Offset) -> Self {
        Self { fence, frontier, ..Self::default() }
    }

    /// Refuses a checkpoint whose offsets mean another log. An id that either side does not know refuses nothing.
    pub fn check_identity(
        &self,
        cluster_id: Option<&str>,
        stream_id: Option<&str>,
    ) -> Result<(), DecodeError> {
        if let (Some(found), Some(want)) = (self.cluster_id.as_deref(), cluster_id)
            && found != want
        {
            return Err(DecodeError::ForeignCluster { found: found.into(), want: want.into() });
        }
        if let (Some(found), Some(want)) = (self.stream_id.as_deref(), stream_id)
            && found != want
        {
            return Err(DecodeError::ForeignStream { found: found.into(), want: want.into() });
        }
        Ok(())
    }
}

/// Why bytes are not a checkpoint that may be used. None of these goes away by trying again.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// It does not begin as a checkpoint does.
    #[error("failed to recognise a checkpoint")]
    Unrecognised,
    /// A text with a character that no checkpoint's text has, or of a length that none has.
    #[error("failed to read the text of a checkpoint")]
    NotText,
    /// It was written by a program that is more than one format ahead.
    #[error("failed to read a checkpoint of format {found}: this program reads up to {newest}")]
    TooNew {
        /// Its format.
        found: u8,
        /// The newest one that can be read.
        newest: u8,
    },
    /// Its checksum does not match: it is damaged or cut short.
    #[error("failed to match the checksum of a checkpoint")]
    Checksum,
    /// Its checksum matches and its content makes no sense.
    #[error("failed to read the {part} of a checkpoint")]
    Malformed {
        /// Where the sense ends.
        part: &'static str,
    },
    /// Its completed ranges are not ascending, or leave the space of offsets.
    #[error("failed to accept the completed ranges of a checkpoint: they are not in order")]
    Unsorted,
    /// Its offsets are those of another cluster.
    #[error("failed to accept a checkpoint of cluster {found}: this is cluster {want}")]
    ForeignCluster {
        /// The cluster that it names.
        found: String,
        /// The cluster at hand.
        want: String,
    },
    /// Its offsets are those of another topic of the same name.
    #[error("failed to accept a checkpoint of topic id {found}: this topic has id {want}")]
    ForeignStream {
        /// The topic id that it names.
        found: String,
        /// The topic id at hand.
        want: String,
    },
}

impl DecodeError {
    /// The stable word for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unrecognised => "CheckpointUnrecognised",
            Self::NotText => "CheckpointNotText",
            Self::TooNew { .. } => "CheckpointTooNew",
            Self::Checksum => "CheckpointCorrupt",
            Self::Malformed { .. } => "CheckpointMalformed",
            Self::Unsorted => "CheckpointUnsorted",
            Self::ForeignCluster { .. } => "CheckpointOfOtherCluster",
            Self::ForeignStream { .. } => "CheckpointOfOtherTopic",
        }
    }
}

#[cfg(test)]
mod tests;
