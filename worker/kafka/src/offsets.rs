//! The group's offsets: where tools read progress and where they reset it.
//!
//! Each offset we commit carries a mark in its metadata, made of the checkpoint's fence and sequence number. An
//! offset without a mark was written by somebody else: a reset. Blocking calls, made through [`crate::cold`].
//! Up: [`crate::source`],
//! [`crate::checkpoints`].

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use keyweir_core::checkpoint::{Checkpoint, DecodeError};
use keyweir_core::{Fence, Offset, ShardId};
use keyweir_engine::ports::MirrorState;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use thiserror::Error;

use crate::cold::ColdClient;
use crate::config::CALL_TIMEOUT;
use crate::topics::partition;

/// How long a coordinator is left alone before the next question.
const AGAIN: Duration = Duration::from_millis(50);

/// What begins the metadata of an offset that is ours.
const OURS: &str = "keyweir/1";

/// Whose checkpoint an offset was taken from. Written `keyweir/1 FENCE SEQUENCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) fence: Fence,
    pub(crate) sequence: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OURS} {} {}", self.fence, self.sequence)
    }
}

/// The text is no mark of ours.
#[derive(Debug, Error)]
#[error("failed to read a mark: want {OURS} FENCE SEQUENCE")]
pub(crate) struct NotOurs;

impl FromStr for Mark {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let mut words = text.split(' ');
        if words.next() != Some(OURS) {
            return Err(NotOurs);
        }
        let fence = words.next().and_then(|word| word.parse().ok()).ok_or(NotOurs)?;
        let sequence = words.next().and_then(|word| word.parse().ok()).ok_or(NotOurs)?;
        Ok(Self { fence, sequence })
    }
}

/// An offset of the group and what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: Offset,
    pub(crate) metadata: String,
}

impl Committed {
    /// Ours, with a mark or a whole checkpoint beside it, or somebody's reset.
    pub(crate) fn state(&self) -> Result<MirrorState, DecodeError> {
        let mark = if Checkpoint::is_text(&self.metadata) {
            let Checkpoint { fence, sequence, .. } = Checkpoint::decode_text(&self.metadata)?;
            Some(Mark { fence, sequence })
        } else {
            self.metadata.parse().ok()
        };
        Ok(match mark {
            Some(Mark { fence, sequence }) => MirrorState::Marked { frontier: self.offset, fence, sequence },
            None => MirrorState::Reset(self.offset),
        })
    }
}

/// The group's offsets of these shards, in their order.
pub(crate) fn committed(client: &ColdClient, shards: &[ShardId]) -> KafkaResult<Vec<Option<Committed>>> {
    let mut list = TopicPartitionList::with_capacity(shards.len());
    for shard in shards {
        list.add_partition(&shard.stream, partition(shard));
    }
    of_coordinator(|| {
        let found = client.committed_offsets(list.clone(), CALL_TIMEOUT)?;
        // What a coordinator on its way answers may stand beside each partition.
        shards.iter().map(|shard| committed_of(&found, shard)).collect()
    })
}

fn committed_of(found: &TopicPartitionList, shard: &ShardId) -> KafkaResult<Option<Committed>> {
    let Some(found) = found.find_partition(&shard.stream, partition(shard)) else { return Ok(None) };
    found.error()?;
    Ok(match found.offset() {
        KafkaOffset::Offset(offset) => {
            Some(Committed { offset: Offset(offset), metadata: found.metadata().to_owned() })
        }
        _ => None,
    })
}

/// Commits offsets with their metadata; durable when it returns. An offset of a partition that is gone is left out
/// without an error as long as another one is taken.
pub(crate) fn commit(client: &ColdClient, offsets: &[(ShardId, Committed)]) -> KafkaResult<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (shard, committed) in offsets {
        let mut place = list.add_partition(&shard.stream, partition(shard));
        place.set_offset(KafkaOffset::Offset(committed.offset.0))?;
        place.set_metadata(&committed.metadata);
    }
    of_coordinator(|| client.commit(&list, CommitMode::Sync))
}

/// Asks again while the group's coordinator is still to be found, as it is after a broker's start.
fn of_coordinator<T>(ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    let deadline = Instant::now() + CALL_TIMEOUT;
    loop {
        match ask() {
            Err(error) if is_coordinator_on_its_way(&error) && Instant::now() < deadline => {
                std::thread::sleep(AGAIN);
            }
            done => return done,
        }
    }
}

fn is_coordinator_on_its_way(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::WaitingForCoordinator
        )
    )
}

/// Whether an error says that somebody consumes with this group as a subscriber.
pub(crate) fn is_in_use(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::StaleMemberEpoch
        )
    )
}

/// The group is somebody else's as long as its members live: brokers refuse our offsets.
#[derive(Debug, Error)]
#[error(
    "failed to commit for group {group}: it has live members that subscribe; stop them or choose another group"
)]
pub(crate) struct GroupInUse {
    pub(crate) group: String,
    #[source]
    pub(crate) source: KafkaError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_is_written() {
        let mark = Mark { fence: Fence::new(3, 1287), sequence: 42 };
        assert_eq!(mark.to_string(), "keyweir/1 3.1287 42");
        let read: Mark = mark.to_string().parse().unwrap();
        assert_eq!(read, mark);
        let longer: Mark = format!("{mark} more").parse().unwrap();
        assert_eq!(longer, mark);
    }

    #[test]
    fn an_offset_without_our_mark_is_a_reset() {
        for metadata in ["", "something", "keyweir/1", "keyweir/1 3 4", "keyweir/2 3.1 4"] {
            let committed = Committed { offset: Offset(7), metadata: metadata.into() };
            assert_eq!(committed.state(), Ok(MirrorState::Reset(Offset(7))), "{metadata}");
        }
    }
}
