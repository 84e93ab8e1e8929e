//! What ownership asks of the pumps that do the work. Up: [ownership](super).

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use keyweir_core::{Offset, ShardId};

use crate::pump::{Command, Fate, Ownership, PumpEnded, PumpHandle, ReleaseMode, Released};

/// The pumps of one object in this process, as ownership sees them: one or several.
///
/// What implementers owe: what is asked one after another is done in that order; an answer comes as soon as the
/// pumps have taken it up, or with [`PumpEnded`] when they are no more.
pub trait Pumps: Send + Sync + 'static {
    /// Starts to read and handle a shard.
    fn own(&self, ownership: Ownership) -> BoxFuture<'_, Result<(), PumpEnded>>;

    /// Gives a shard up. The answer comes when nothing of it can start any more.
    fn release(&self, shard: ShardId, mode: ReleaseMode) -> BoxFuture<'_, Result<Released, PumpEnded>>;

    /// Records of a shard that executed elsewhere have ended there.
    fn ended_elsewhere(
        &self,
        shard: ShardId,
        records: Vec<(Offset, Fate)>,
    ) -> BoxFuture<'_, Result<(), PumpEnded>>;

    /// Starts nothing new from now on.
    fn freeze(&self) -> BoxFuture<'_, Result<(), PumpEnded>>;

    /// The lease is safe again.
    fn thaw(&self) -> BoxFuture<'_, Result<(), PumpEnded>>;

    /// Cancels what executes and forgets every shard, without a checkpoint. Nothing executes any more when the answer comes.
    fn abandon(&self) -> BoxFuture<'_, Result<(), PumpEnded>>;

    /// An item whenever all pumps have moved since the last one. It ends when a pump has ended.
    fn beats(&self) -> BoxStream<'static, ()>;
}

impl Pumps for PumpHandle {
    fn own(&self, ownership: Ownership) -> BoxFuture<'_, Result<(), PumpEnded>> {
        self.send(Command::Own(ownership)).boxed()
    }

    fn release(&self, shard: ShardId, mode: ReleaseMode) -> BoxFuture<'_, Result<Released, PumpEnded>> {
        Self::release(self, shard, mode).boxed()
    }

    fn ended_elsewhere(
        &self,
        shard: ShardId,
        records: Vec<(Offset, Fate)>,
    ) -> BoxFuture<'_, Result<(), PumpEnded>> {
        self.send(Command::EndedElsewhere { shard, records }).boxed()
    }

    fn freeze(&self) -> BoxFuture<'_, Result<(), PumpEnded>> {
        self.send(Command::Freeze).boxed()
    }

    fn thaw(&self) -> BoxFuture<'_, Result<(), PumpEnded>> {
        self.send(Command::Thaw).boxed()
    }

    fn abandon(&self) -> BoxFuture<'_, Result<(), PumpEnded>> {
        Self::abandon(self).boxed()
    }

    fn beats(&self) -> BoxStream<'static, ()> {
        // The pump publishes a snapshot every few ticks, whatever else it does.
        let snapshots = self.snapshots();
        let beats = stream::unfold(snapshots, |mut snapshots| async move {
            snapshots.changed().await.ok().map(|()| ((), snapshots))
        });
        beats.boxed()
    }
}
