//! The embedded store in one directory: opening, its keyspaces, and what its failures mean.
//!
//! Rows of the log's catalogue, checkpoints and parked records each have a keyspace; every segment of the log has one
//! of its own, so that dropping old records is dropping a keyspace. Only the [writer](crate::writer) writes. Up:
//! [crate].

mod acknowledged;
pub(crate) mod error;
pub(crate) mod keys;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::config::{CompressionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use nix::sys::statvfs::statvfs;

use acknowledged::Acknowledged;
use error::StoreError;

/// Memory for blocks that were read lately. Readers follow the writer closely, from memory.
const CACHE: u64 = 16 << 20;
/// How much of a segment is kept in memory before it goes to a table.
const MEMTABLE: u64 = 8 << 20;
/// Journals are bounded so that opening after a crash stays short.
const JOURNALS: u64 = 192 << 20;
/// Rows are small and few; a small table keeps them from holding back journals.
const ROWS_MEMTABLE: u64 = 4 << 20;

/// An open store.
pub(crate) struct Store {
    path: PathBuf,
    reserve: u64,
    database: Database,
    /// How many commits there are; only the writer adds.
    commits: AtomicU64,
    acknowledged: Acknowledged,
    /// Topics and segments.
    pub(crate) catalogue: Keyspace,
    /// Checkpoints by object and shard.
    pub(crate) checkpoints: Keyspace,
    /// Parked records by object, shard and offset.
    pub(crate) parked: Keyspace,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or creates the store in a directory. `reserve` bytes of the disk are left free.
    pub(crate) fn open(path: &Path, reserve: u64) -> Result<Self, StoreError> {
        // The store answers some kinds of damage with a panic; it must not take the process down.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = Database::builder(path)
                .cache_size(CACHE)
                .max_journaling_size(JOURNALS)
                .journal_compression(CompressionType::None)
                .worker_threads(2)
                .open()?;
            let rows = |name| database.keyspace(name, Self::rows);
            let (catalogue, checkpoints, parked) =
                (rows("catalogue")?, rows("checkpoints")?, rows("parked")?);
            let commits = catalogue.get(keys::COMMITS)?;
            Ok((database, catalogue, checkpoints, parked, commits))
        }));
        let damaged = || path.display().to_string();
        let (database, catalogue, checkpoints, parked, commits) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(source)) => return Err(StoreError::of("open", path, source)),
            Err(panic) => return Err(StoreError::damaged(damaged(), Panicked::from(panic))),
        };
        let commits =
            commits.and_then(|row| row.first_chunk().map(|row| u64::from_le_bytes(*row))).unwrap_or(0);
        let acknowledged = Acknowledged::open(Acknowledged::beside(path), commits)
            .map_err(|source| StoreError::of("open", path, source.into()))?
            .map_err(|lost| StoreError::damaged(damaged(), lost))?;
        let (path, commits) = (path.to_owned(), AtomicU64::new(commits));
        Ok(Self { path, reserve, database, commits, acknowledged, catalogue, checkpoints, parked })
    }

    fn rows() -> KeyspaceCreateOptions {
        KeyspaceCreateOptions::default().max_memtable_size(ROWS_MEMTABLE)
    }

    fn blocks() -> KeyspaceCreateOptions {
        // Blocks are found by range, so a filter would only cost memory.
        KeyspaceCreateOptions::default()
            .max_memtable_size(MEMTABLE)
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
            .filter_policy(FilterPolicy::all(FilterPolicyEntry::None))
    }

    /// The keyspace of a segment's blocks; created where there is none.
    pub(crate) fn segment(&self, topic: u32, segment: u64) -> Result<Keyspace, StoreError> {
        let name = format!("{SEGMENT}{topic}.{segment}");
        self.database.keyspace(&name, Self::blocks).map_err(|source| self.error("write", source))
    }

    /// Removes a segment's keyspace. Its files go when the last reader lets go of it.
    pub(crate) fn drop_segment(&self, keyspace: Keyspace) -> Result<(), StoreError> {
        self.database.delete_keyspace(keyspace).map_err(|source| self.error("write", source))
    }

    /// Removes keyspaces of segments that are in no row: what a crash left between two steps.
    pub(crate) fn drop_segments_except(&self, known: &[(u32, u64)]) -> Result<(), StoreError> {
        let known: Vec<String> = known.iter().map(|(topic, n)| format!("{SEGMENT}{topic}.{n}")).collect();
        for name in self.database.list_keyspace_names() {
            if name.starts_with(SEGMENT) && !known.iter().any(|known| *known == *name) {
                let keyspace = self.database.keyspace(&name, Self::blocks);
                self.drop_segment(keyspace.map_err(|source| self.error("write", source))?)?;
            }
        }
        Ok(())
    }

    /// A batch that is written as a whole or not at all.
    pub(crate) fn batch(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(PersistMode::SyncData))
    }

    /// Writes a batch durably. After an error the store must be opened anew: what it holds in memory may differ from
    /// what lies on the disk.
    pub(crate) fn commit(&self, mut batch: OwnedWriteBatch) -> Result<(), StoreError> {
        let commits = self.commits.load(Ordering::Relaxed) + 1;
        batch.insert(&self.catalogue, keys::COMMITS, &commits.to_le_bytes()[..]);
        batch.commit().map_err(|source| self.error("write", source))?;
        self.commits.store(commits, Ordering::Relaxed);
        // It only helps to find damage later: an error here loses nothing.
        if let Err(error) = self.acknowledged.set(commits) {
            tracing::debug!(%error, "the count of commits was not noted");
        }
        Ok(())
    }

    /// Refuses what would use up the reserve. Asked before each commit, because the store itself does not survive a
    /// full disk: its background work would stop for good.
    pub(crate) fn room_for(&self, bytes: usize) -> Result<(), StoreError> {
        let Ok(disk) = statvfs(&self.path) else { return Ok(()) };
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        if free < self.reserve.saturating_add(bytes as u64) {
            return Err(StoreError::DiskFull { path: self.path.clone() });
        }
        Ok(())
    }

    /// All rows whose key begins so, in order.
    pub(crate) fn rows_of(&self, keyspace: &Keyspace, prefix: &[u8]) -> Result<Vec<Row>, StoreError> {
        let rows = keyspace.prefix(prefix).map(|row| row.into_inner().map(|(k, v)| (k.to_vec(), v.to_vec())));
        rows.collect::<Result<_, _>>().map_err(|source| self.error("read", source))
    }

    /// One row.
    pub(crate) fn row(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Option<bytes::Bytes>, StoreError> {
        let row = keyspace.get(key).map_err(|source| self.error("read", source))?;
        Ok(row.map(Into::into))
    }

    /// Gives a failure of the store its meaning.
    pub(crate) fn error(&self, act: &'static str, source: fjall::Error) -> StoreError {
        StoreError::of(act, &self.path, source)
    }
}

/// A row's key and value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

const SEGMENT: &str = "log.";

/// The text of a panic inside the store.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Panicked(String);

impl From<Box<dyn std::any::Any + Send>> for Panicked {
    fn from(panic: Box<dyn std::any::Any + Send>) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Self(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown".to_owned()))
    }
}
