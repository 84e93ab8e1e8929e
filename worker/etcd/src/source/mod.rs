//! Changes under paths of etcd as a source.
//!
//! ```text
//!  /shop/orders/…  ──one watch, its listings──▶ task of the path ──▶ slots of this process ──▶ records
//!                                                 (follow)             (path, slot, book)
//! ```
//! - **Shards are slots.** A path is split by a hash of its keys into a fixed number of slots (`spec.source.etcd.slots`).
//!   A process has one task and one watch for each path, whatever the number of its slots.
//! - **Offsets** are the revision of a change and its number among the slot's changes of that revision (`place`). They
//!   come out the same for whoever reads the slot again.
//! - **Start.** A slot starts at a recorded revision. `ListThenFollow`: the path as it stood then, page by page at that one
//!   revision, each key once; then each change behind it, from a watch that was opened before. `Now`: only changes.
//! - **What a slot knows** (`book`): its keys and the revision of each one's last change, noted with each checkpoint. While
//!   the history reaches back to the frontier, a new owner reads it again, change by change.
//! - **Compaction.** Where it does not, the path is listed as it stands now, and what differs from what the slot knows
//!   is given: new and changed keys, and deletions. In between, changes are lost to `Every`, and are none of `Latest`'s
//!   business.
//!   What no listing can find is a key of which nothing is left anywhere: one that was created, handled and deleted since
//!   the last durable checkpoint, by a worker that crashed, where the history is compacted before the slot is read
//!   again. To tell its deletion, each key would have to be noted durably before it is first handled: a write to etcd
//!   for each, ahead of the handler. A crash goes back to the checkpoint, and there the key was never given.
//! - **Back-pressure.** What is read ahead of the engine is bounded by `watchBuffer` changes and a number of bytes; beyond
//!   it etcd keeps the changes. A slot that is paused is passed over and read again.
//! - **Paths** are what lies below them: the keys of `/a/b` begin with `/a/b/`.

mod book;
mod change;
mod follow;
mod notes;
mod path;
mod place;
mod reader;
mod slot;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::{Offset, ShardId};
use keyweir_engine::ports::{Bounds, Identity, Mirror, MirrorState, Source, SourceError, StartAt};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::client::Connection;
use path::source_error;
use place::{LAST, Place};
pub use reader::PrefixReader;

/// Slots that start at about the same time start at one revision, so that one listing serves them all.
const ONE_START: Duration = Duration::from_secs(5);

/// How a path is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Slots of each path.
    pub slots: u32,
    /// Each change is to be given, not only the newest.
    pub every: bool,
    /// Keys of a page of a listing.
    pub page_size: u32,
    /// Changes that wait to be taken.
    pub watch_buffer: u32,
    /// How long a page may take.
    pub deadline: Duration,
}

/// What all keys of a path begin with.
fn prefix_of(path: &str) -> String {
    format!("{}/", path.trim_end_matches('/'))
}

/// The cold half: which slots there are and where they start. It mirrors nothing: no other tool reads this progress.
#[derive(Debug)]
pub struct PrefixSource {
    connection: Connection,
    paths: Vec<Arc<str>>,
    slots: u32,
    /// The revision at which slots start, and since when. Held while it is asked for, so that many ask once.
    start: Mutex<Option<(Instant, u64)>>,
}

impl PrefixSource {
    /// The slots of these paths.
    #[must_use]
    pub fn new(connection: Connection, paths: Vec<String>, slots: u32) -> Self {
        let paths = paths.into_iter().map(Arc::from).collect();
        Self { connection, paths, slots, start: Mutex::new(None) }
    }

    async fn present(&self, path: &str) -> Result<(u64, u64), SourceError> {
        follow::present(&self.connection, &prefix_of(path)).await.map_err(|error| source_error(path, error))
    }

    async fn start(&self, path: &str) -> Result<u64, SourceError> {
        let mut start = self.start.lock().await;
        if let Some((_, revision)) = start.filter(|(since, _)| since.elapsed() < ONE_START) {
            return Ok(revision);
        }
        let (revision, _) = self.present(path).await?;
        *start = Some((Instant::now(), revision));
        Ok(revision)
    }
}

impl Source for PrefixSource {
    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardId>, SourceError>> {
        let slots = |path: &Arc<str>| {
            let path = Arc::clone(path);
            (0..self.slots).map(move |slot| ShardId::new(Arc::clone(&path), slot))
        };
        let shards = self.paths.iter().flat_map(slots).collect();
        async { Ok(shards) }.boxed()
    }

    /// etcd knows no times: a timestamp means all that stands.
    fn resolve<'a>(&'a self, shard: &'a ShardId, at: StartAt) -> BoxFuture<'a, Result<Offset, SourceError>> {
        async move {
            let revision = self.start(&shard.stream).await?;
            let number = if at == StartAt::Latest { LAST } else { 0 };
            Ok(Place { revision, number }.offset())
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<Bounds>, SourceError>> {
        async move {
            let Some(first) = shards.first() else { return Ok(Vec::new()) };
            let (revision, _) = self.present(&first.stream).await?;
            let bounds = Bounds { first: Offset::ZERO, end: Place::after(revision).offset() };
            Ok(vec![bounds; shards.len()])
        }
        .boxed()
    }

    fn counts_records(&self) -> bool {
        false
    }

    fn mirrored<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<MirrorState>, SourceError>> {
        async { Ok(vec![MirrorState::Absent; shards.len()]) }.boxed()
    }

    fn mirror(&self, _: Vec<Mirror>) -> BoxFuture<'_, Result<(), SourceError>> {
        async { Ok(()) }.boxed()
    }

    fn identity<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Identity, SourceError>> {
        async move {
            let (_, cluster) = self.present(stream).await?;
            Ok(Identity { cluster: Some(format!("{cluster:x}")), stream: None })
        }
        .boxed()
    }
}
