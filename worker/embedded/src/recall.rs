//! Reads single records of the log again: block by block, straight to the ones that are wanted.
//!
//! The file I/O happens where blocking is allowed. What is given is a copy: a record must not keep in memory the block
//! that it lies in. Up: [`crate::source`].

use std::sync::Arc;

use keyweir_engine::ports::{Recalled, Search, SourceError, Wanted};

use crate::log::BlockError;
use crate::log::block::Block;
use crate::log::read;
use crate::log::topic::View;
use crate::source::{find_shard, source_error};
use crate::store::error::StoreError;

/// Reads them on a thread that may block. The store answers some kinds of damage with a panic: it ends there.
pub(crate) async fn recall(view: Arc<View>, wanted: Wanted) -> Result<Recalled, SourceError> {
    let what = wanted.id.to_string();
    let work = tokio::task::spawn_blocking(move || read_again(&view, &wanted));
    work.await.unwrap_or_else(|panic| Err(SourceError::Damaged { what, source: Box::new(panic) }))
}

fn read_again(view: &View, wanted: &Wanted) -> Result<Recalled, SourceError> {
    let id = &*wanted.id;
    let (store, topic) = find_shard(view, id)?;
    if wanted.log.as_ref().is_some_and(|log| *log != topic.row.id.to_string()) {
        return Err(SourceError::MadeAnew { shard: id.clone() });
    }
    let bounds = topic.bounds(id.index);
    let damaged = |error| source_error(id, StoreError::damaged(id.to_string(), error));
    let mut search = Search::new(wanted);
    search.pass(bounds.first);
    while let Some(next) = search.next() {
        if next >= bounds.end {
            if search.has_decided() {
                break;
            }
            return Err(SourceError::OutOfRange { shard: id.clone(), offset: next });
        }
        let blocks =
            read::blocks(&store, &topic, id.index, next, 1).map_err(|error| source_error(id, error))?;
        let block = blocks.first().ok_or_else(|| damaged(BlockError::Place))?;
        look_through(&mut search, block, wanted, next).map_err(damaged)?;
    }
    Ok(search.found())
}

fn look_through(
    search: &mut Search<'_>,
    block: &Block,
    wanted: &Wanted,
    from: keyweir_core::Offset,
) -> Result<(), BlockError> {
    block.records(wanted.shard, from, |record| {
        search.meet(record.offset, |_, arena| arena.copy(&record));
    })
}
