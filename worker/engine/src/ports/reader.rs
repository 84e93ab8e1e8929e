//! `Reader`: the hot half of a source, owned by the pump.

use std::future::Future;

use keyweir_core::{Offset, RangeSet, ShardId, ShardIndex};

use super::source::SourceError;
use crate::record::Record;

/// What a reader has to say.
#[derive(Debug)]
pub enum Intake {
    /// Records, and how far each shard has been read.
    Batch(Batch),
    /// Trouble that the reader survives by itself, with back-off: to be shown, not acted upon. `None` = all shards.
    Trouble(Option<ShardIndex>, SourceError),
    /// The trouble is over. `None` = all shards.
    Recovered(Option<ShardIndex>),
    /// The history that a shard had still to read is no more: it was read anew from what stands now. Changes that
    /// nothing shows any more are lost to it if `lost`.
    Resynced {
        /// The shard.
        shard: ShardIndex,
        /// Whether something was to be delivered that can't be any more.
        lost: bool,
    },
}

/// Records of any of the open shards.
#[derive(Debug, Default)]
pub struct Batch {
    /// Ascending offsets within each shard; gaps are allowed.
    pub records: Vec<Record>,
    /// Everything below that offset has been delivered, where the reader knows more than the records say
    /// (transaction markers, compaction, the end of the log).
    pub positions: Vec<(ShardIndex, Offset)>,
}

/// The hot half of a source: opens shards at an offset and gives batches of their records.
///
/// What implementers owe:
/// - After `open(shard, from)` exactly the records at and above `from` arrive, in ascending order, once each.
/// - After `close` none of that shard arrives, and its handle may be opened again.
/// - `pause` stops a shard soon: a bounded number of its records may still come. `resume` loses none.
/// - `next` is cancel-safe: a dropped call loses nothing.
/// - What is read ahead is bounded by the byte budget given at construction, whatever the number of shards; when
///   nobody calls `next`, reading stops there and nothing else does (connections stay alive).
/// - A lost broker, a missing topic, a refused authorisation are survived with back-off and reported as
///   [`Intake::Trouble`], then [`Intake::Recovered`].
pub trait Reader: Send + 'static {
    /// Starts to read a shard at `from`. Does not wait.
    fn open(&mut self, shard: ShardIndex, id: &ShardId, from: Offset);

    /// Stops to read a shard and forgets what was read ahead of it.
    fn close(&mut self, shard: ShardIndex);

    /// Stops to fetch a shard that is above its share.
    fn pause(&mut self, shard: ShardIndex);

    /// Goes on where `pause` stopped.
    fn resume(&mut self, shard: ShardIndex);

    /// Which log a shard's offsets are of, where that has an id: of another one nothing may arrive for long, and it is
    /// told as [`SourceError::MadeAnew`]. Called right before `open`.
    fn expect(&mut self, shard: ShardIndex, log: &str) {
        let _ = (shard, log);
    }

    /// Gives back what [`Reader::notes`] gave for the checkpoint at which the shard is opened next. Called right before
    /// `open`, where there is something.
    fn remind(&mut self, shard: ShardIndex, notes: &[u8]) {
        let _ = (shard, notes);
    }

    /// What this source must know to go on at a checkpoint, besides its offsets: all below `frontier` is complete, and
    /// what is `completed` above it. Asked of open shards and of closed ones until [`Reader::forget`]. Empty = nothing.
    fn notes(&mut self, shard: ShardIndex, frontier: Offset, completed: &RangeSet) -> Vec<u8> {
        let _ = (shard, frontier, completed);
        Vec::new()
    }

    /// A closed shard's last checkpoint is written: nobody asks for its notes any more.
    fn forget(&mut self, shard: ShardIndex) {
        let _ = shard;
    }

    /// The next batch or trouble. Cancel-safe. Pends forever while nothing is open.
    fn next(&mut self) -> impl Future<Output = Intake> + Send;
}
