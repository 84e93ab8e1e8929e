//! A vendor message becomes an engine record: the one copy on the way in.
//!
//! Here the borrow of the client library's memory ends. Up: [`crate::intake`].

use keyweir_core::{Offset, ShardIndex};
use keyweir_engine::{Arena, Origin, Record};

use crate::fetch::Fetched;

/// Copies a fetched message into a record of that shard.
#[inline]
pub(crate) fn record(arena: &mut Arena, shard: ShardIndex, message: &Fetched<'_>) -> Record {
    let origin = Origin { shard, offset: Offset(message.offset()), timestamp: message.timestamp() };
    arena.record(origin, message.key(), message.value(), message.headers())
}
