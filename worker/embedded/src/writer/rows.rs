//! Rows of the cold stores as one group sees them: what it wrote before, then what the store holds.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use fjall::OwnedWriteBatch;

use crate::store::Store;
use crate::store::error::StoreError;

/// A keyspace of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    /// Checkpoints by object and shard.
    Checkpoints,
    /// Parked records by object, shard and offset.
    Parked,
}

impl Table {
    fn keyspace(self, store: &Store) -> &fjall::Keyspace {
        match self {
            Self::Checkpoints => &store.checkpoints,
            Self::Parked => &store.parked,
        }
    }
}

/// Rows as one group sees them. A group's changes are durable together.
pub(crate) struct Rows {
    store: Arc<Store>,
    changed: HashMap<(Table, Vec<u8>), Option<Bytes>>,
    weight: usize,
}

impl Rows {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, changed: HashMap::new(), weight: 0 }
    }

    /// A row, with what this group changed.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.changed.get(&(table, key.to_vec())) {
            Some(changed) => Ok(changed.clone()),
            None => self.store.row(table.keyspace(&self.store), key),
        }
    }

    /// Writes a row.
    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Bytes) {
        self.weight += key.len() + value.len();
        self.changed.insert((table, key), Some(value));
    }

    /// Removes a row.
    pub(crate) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.weight += key.len();
        self.changed.insert((table, key), None);
    }

    /// About how many bytes were changed.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Moves the changes into a batch.
    pub(crate) fn finish(self, batch: &mut OwnedWriteBatch) {
        for ((table, key), value) in self.changed {
            let keyspace = table.keyspace(&self.store);
            match value {
                Some(value) => batch.insert(keyspace, key, value),
                None => batch.remove(keyspace, key),
            }
        }
    }
}
