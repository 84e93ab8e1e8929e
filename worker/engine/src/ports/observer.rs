//! `Observer`: hooks into a record's life that can neither fail nor delay it.

use std::sync::Arc;

use keyweir_core::{Attempt, Fence, Offset, ShardId};

use crate::outcome::Verdict;
use crate::record::Record;

/// A step in a record's life.
#[derive(Clone, Copy, Debug)]
pub enum RecordEvent<'a> {
    /// It was read and charged. `replayed` = its completion is known from the checkpoint: it won't be handled.
    Polled {
        /// Known to be complete from the checkpoint.
        replayed: bool,
    },
    /// A handler was called with it.
    Started(Attempt),
    /// The handler answered, or was cancelled (`None`). A panic and a time-out are failed attempts, too, and say so by
    /// the failure's reason. Told before the outcome is charged.
    Ended(Attempt, Option<&'a Verdict>),
    /// Its road ends: what it owes is durable. Told before it is complete.
    SetAside(Aside),
}

/// Where the road of a record ends that was not handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// In a dead-letter topic.
    DeadLettered,
    /// Parked.
    Parked,
    /// Dropped, because the policy says so.
    Skipped,
    /// A newer record of its key came before its first attempt, and only the newest is wanted.
    Superseded,
}

/// A step in a shard's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardEvent {
    /// This member owns it from now on.
    Owned,
    /// It is being read and handled.
    Activated,
    /// Its release begins; records in flight may still end.
    WillRelease,
    /// Nothing of it is in flight any more and its last checkpoint is written.
    Released,
}

/// Hooks into a record's life: the event log, a user's own counters, tests.
///
/// What implementers owe: return at once. A panic is caught, counted and said; it reaches neither the record nor other
/// hooks.
pub trait Observer: Send + 'static {
    /// Called once, before anything else: the work of an object begins.
    fn start(&mut self) {}

    /// A step in a record's life. `key` is its ordering key; `None` = no order.
    fn record(
        &mut self,
        shard: &Arc<ShardId>,
        fence: Fence,
        key: Option<&[u8]>,
        record: &Record,
        event: RecordEvent<'_>,
    );

    /// A record that waited for others of its key is gone from the log: retention or compaction has removed it. Nobody
    /// can handle it any more. Told before it is complete.
    fn gone(&mut self, shard: &Arc<ShardId>, fence: Fence, key: Option<&[u8]>, offset: Offset) {
        let _ = (shard, fence, key, offset);
    }

    /// A step in a shard's life.
    fn shard(&mut self, shard: &Arc<ShardId>, fence: Fence, event: ShardEvent);

    /// Called on each tick of the pump and at its end: a place to write out what was gathered.
    fn tick(&mut self) {}
}
