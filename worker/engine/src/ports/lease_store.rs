//! `LeaseStore`: where members meet: keys under leases, guarded transactions, one list and one watch.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use keyweir_core::LeaseClock;

use super::renewals::{Pulse, Renewals};

/// A transaction holds at most so many writes and reads, and at most so many guards.
pub const MAX_OPERATIONS: usize = 100;

/// A transaction holds at most so many bytes of keys and values.
pub const MAX_TRANSACTION_BYTES: usize = 512 * 1024;

/// A store of keys under leases, as several processes see it.
///
/// What implementers owe:
/// - **One history.** Every transaction that changes something has a revision of its own, higher than all before
///   it. [`LeaseStore::list`] is what stands at one revision; [`LeaseStore::watch`] from the next one misses
///   nothing and repeats nothing. A key's create revision is that of the transaction that made it appear.
/// - **All or nothing.** A transaction writes all of it or nothing, and reads what stands at its revision.
/// - **Leases end by themselves.** All keys of a lease vanish with it, on expiry and on revocation, and watchers
///   are told. A write under a lease that is gone fails with [`StoreError::LeaseGone`].
/// - **Doubt is told.** [`StoreError::Unreachable`] on a write means that it may have happened; the caller reads
///   again before it believes anything. No call is repeated behind the caller's back unless it changes nothing.
/// - Every call has a deadline of its own and ends. Calls may run at the same time. Dropping a call's future is
///   safe, and leaves a write in doubt.
/// - A lost server, refused credentials, a full store are errors, never a panic and never a spin.
pub trait LeaseStore: Send + Sync + 'static {
    /// Makes a lease. The store may grant more time than was asked for; the clock counts from the sending.
    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Grant, StoreError>>;

    /// Renews a lease by itself until the answer is dropped, from a thread that nothing else can delay, a few
    /// times in each TTL, but only while `pulse` was felt within the last TTL.
    fn keep(&self, grant: Grant, pulse: Pulse) -> Renewals;

    /// Ends a lease and removes its keys. A lease that is gone already is no error.
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// All that stands under a prefix, in the order of the keys, at one revision.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing, StoreError>>;

    /// The present revision, if the store still keeps what stood under a key at that earlier one; 0 = whatever it keeps.
    /// A read that costs little. [`StoreError::Compacted`] = it is forgotten.
    fn keeps<'a>(&'a self, key: &'a str, since: u64) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// What changes under a prefix, beginning with that revision. An error ends the stream: whoever wants to go on
    /// lists again. [`StoreError::Compacted`] = the history no longer reaches back so far.
    fn watch(&self, prefix: &str, from: u64) -> BoxStream<'static, Result<Changes, StoreError>>;

    /// Carries out a transaction if all its guards hold.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StoreError>>;
}

/// Names a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// A lease that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub lease: LeaseId,
    /// The TTL that the store granted.
    pub ttl: Duration,
    /// How sure one may be of it until it is renewed.
    pub clock: LeaseClock,
}

/// A key that stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// The revision at which it appeared.
    pub create_revision: u64,
    /// The revision at which it was last written.
    pub mod_revision: u64,
    /// The lease with which it ends.
    pub lease: Option<LeaseId>,
}

/// What stood under a prefix at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The revision.
    pub revision: u64,
    /// The keys, ascending.
    pub entries: Vec<Entry>,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Put(Entry),
    /// It was deleted, or ended with its lease.
    Deleted {
        /// The key.
        key: String,
        /// When.
        revision: u64,
    },
}

impl Change {
    /// Whose change it is.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted { key, .. } => key,
        }
    }
}

/// Changes in the order of their revisions; a transaction is never split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// All changes up to this revision have been told with this.
    pub revision: u64,
    /// The changes.
    pub changes: Vec<Change>,
}

/// Writes that happen together, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// What must hold.
    pub guards: Vec<Guard>,
    /// What is written; no key twice.
    pub writes: Vec<Write>,
    /// Keys to read beside it: they are read as they stand after the writes.
    pub reads: Vec<String>,
}

/// What must hold for a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The key does not stand.
    Absent(String),
    /// The key stands since that revision, without having vanished in between.
    Created(String, u64),
    /// The key was last written at that revision.
    Written(String, u64),
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Writes a key.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: Bytes,
        /// The lease with which it shall end.
        lease: Option<LeaseId>,
    },
    /// Deletes a key, if it stands.
    Delete(String),
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It happened.
    Done {
        /// Its revision; for a transaction that only reads, the present one.
        revision: u64,
        /// What was read, in the order of the reads.
        reads: Vec<Option<Entry>>,
    },
    /// A guard did not hold: nothing happened.
    Refused {
        /// The revision at which that was so.
        revision: u64,
        /// What stands under each guard's key, in their order.
        found: Vec<Option<Entry>>,
    },
}

impl Transaction {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires something.
    #[must_use]
    pub fn when(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Writes a key that ends with a lease, or with none.
    #[must_use]
    pub fn put(
        mut self,
        key: impl Into<String>,
        value: impl Into<Bytes>,
        lease: impl Into<Option<LeaseId>>,
    ) -> Self {
        self.writes.push(Write::Put { key: key.into(), value: value.into(), lease: lease.into() });
        self
    }

    /// Deletes a key.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete(key.into()));
        self
    }

    /// Reads a key.
    #[must_use]
    pub fn read(mut self, key: impl Into<String>) -> Self {
        self.reads.push(key.into());
        self
    }

    /// Refuses what no store takes at once.
    pub fn check_size(&self) -> Result<(), StoreError> {
        let operations = (self.writes.len() + self.reads.len()).max(self.guards.len());
        let bytes = self.bytes();
        let fits = operations <= MAX_OPERATIONS && bytes <= MAX_TRANSACTION_BYTES;
        if fits { Ok(()) } else { Err(StoreError::TooLarge { operations, bytes }) }
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let guards = self.guards.iter().map(|guard| guard.key().len());
        let writes = self.writes.iter().map(|write| match write {
            Write::Put { key, value, .. } => key.len() + value.len(),
            Write::Delete(key) => key.len(),
        });
        guards.chain(writes).chain(self.reads.iter().map(String::len)).sum()
    }
}

impl Guard {
    /// Whose guard it is.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::Created(key, _) | Self::Written(key, _) => key,
        }
    }

    /// Whether it holds for what stands under its key.
    #[must_use]
    pub fn holds(&self, found: Option<&Entry>) -> bool {
        match self {
            Self::Absent(_) => found.is_none(),
            Self::Created(_, revision) => found.is_some_and(|entry| entry.create_revision == *revision),
            Self::Written(_, revision) => found.is_some_and(|entry| entry.mod_revision == *revision),
        }
    }
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nobody answered in time, or the answer was lost. A write may have happened. Tried again after a look.
    #[error("failed to reach the store to {act}")]
    Unreachable {
        /// What was asked.
        act: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The credentials were refused. A person must act; trying again is harmless.
    #[error("failed to be let in by the store to {act}")]
    Refused {
        /// What was asked.
        act: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store can't take writes (its quota is used up). A person must act.
    #[error("failed to {act}: the store is full")]
    Full {
        /// What was asked.
        act: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such lease any more.
    #[error("failed to write under a lease that is gone")]
    LeaseGone,
    /// The history from that revision on is not kept any more: list again.
    #[error("failed to look back to revision {from}: the history begins later")]
    Compacted {
        /// How far back was asked for.
        from: u64,
    },
    /// No store takes so much at once.
    #[error("failed to fit a transaction: {operations} operations, {bytes} bytes")]
    TooLarge {
        /// Operations or guards, whichever are more.
        operations: usize,
        /// Bytes of keys and values.
        bytes: usize,
    },
}

impl StoreError {
    /// The stable word for conditions, metrics and logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "Unreachable",
            Self::Refused { .. } => "AuthenticationFailed",
            Self::Full { .. } => "StoreFull",
            Self::LeaseGone => "LeaseGone",
            Self::Compacted { .. } => "Compacted",
            Self::TooLarge { .. } => "TransactionTooLarge",
        }
    }
}
