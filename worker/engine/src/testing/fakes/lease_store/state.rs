//! The store itself: keys, history and leases, with time passed in. Part of [the fake](super).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::ports::{
    Change, Changes, Committed, Entry, Guard, LeaseId, Listing, StoreError, Transaction, Write,
};

/// What a server would hold.
#[derive(Debug, Default)]
pub(super) struct State {
    revision: u64,
    entries: BTreeMap<String, Entry>,
    leases: HashMap<LeaseId, Lease>,
    last_lease: i64,
    history: Vec<(u64, Change)>,
    /// Changes below are forgotten.
    compacted: u64,
    /// The object's writes: transactions that changed something.
    pub(super) writes: u64,
    /// Refused transactions.
    pub(super) refused: u64,
    /// Watches opened before this are cut.
    pub(super) cuts: u64,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Instant,
}

impl State {
    pub(super) fn grant(&mut self, ttl: Duration, now: Instant) -> LeaseId {
        self.last_lease += 1;
        let lease = LeaseId(self.last_lease);
        self.leases.insert(lease, Lease { ttl, ends: now + ttl });
        lease
    }

    /// The TTL of a lease that was renewed; `None` = there is none.
    pub(super) fn renew(&mut self, lease: LeaseId, now: Instant) -> Option<Duration> {
        let lease = self.leases.get_mut(&lease)?;
        lease.ends = now + lease.ttl;
        Some(lease.ttl)
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) {
        if self.leases.remove(&lease).is_some() {
            self.end_keys_of(&[lease]);
        }
    }

    /// Ends leases whose time is over; says whether keys vanished.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut over: Vec<LeaseId> =
            self.leases.iter().filter(|(_, lease)| lease.ends <= now).map(|(id, _)| *id).collect();
        over.sort();
        for lease in &over {
            self.leases.remove(lease);
        }
        let before = self.revision;
        for lease in over {
            self.end_keys_of(&[lease]);
        }
        self.revision > before
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.ends).min()
    }

    fn end_keys_of(&mut self, leases: &[LeaseId]) {
        let held = |entry: &&Entry| entry.lease.is_some_and(|lease| leases.contains(&lease));
        let keys: Vec<String> = self.entries.values().filter(held).map(|entry| entry.key.clone()).collect();
        if keys.is_empty() {
            return;
        }
        self.revision += 1;
        for key in keys {
            self.delete(key);
        }
    }

    pub(super) fn list(&self, prefix: &str) -> Listing {
        let entries = self.entries.range(prefix.to_owned()..);
        let entries = entries.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, entry)| entry.clone());
        Listing { revision: self.revision, entries: entries.collect() }
    }

    /// What changed under a prefix since `from`, if anything did.
    pub(super) fn changes(&self, prefix: &str, from: u64) -> Result<Option<Changes>, StoreError> {
        if from < self.compacted {
            return Err(StoreError::Compacted { from });
        }
        let start = self.history.partition_point(|(revision, _)| *revision < from);
        let concerned = self.history[start..].iter().filter(|(_, change)| change.key().starts_with(prefix));
        let changes: Vec<Change> = concerned.map(|(_, change)| change.clone()).collect();
        Ok((!changes.is_empty()).then_some(Changes { revision: self.revision, changes }))
    }

    /// The present revision, if that earlier one is not forgotten.
    pub(super) fn keeps(&self, since: u64) -> Result<u64, StoreError> {
        let is_kept = since == 0 || since >= self.compacted;
        if is_kept { Ok(self.revision) } else { Err(StoreError::Compacted { from: since }) }
    }

    pub(super) fn compact(&mut self) {
        self.compacted = self.revision;
        let compacted = self.compacted;
        self.history.retain(|(revision, _)| *revision >= compacted);
    }

    pub(super) fn commit(&mut self, transaction: Transaction) -> Result<Committed, StoreError> {
        transaction.check_size()?;
        let found = |guard: &Guard| self.entries.get(guard.key()).cloned();
        let found: Vec<Option<Entry>> = transaction.guards.iter().map(found).collect();
        let holds = transaction.guards.iter().zip(&found).all(|(guard, found)| guard.holds(found.as_ref()));
        if !holds {
            self.refused += 1;
            return Ok(Committed::Refused { revision: self.revision, found });
        }
        let leases = transaction.writes.iter().filter_map(|write| match write {
            Write::Put { lease, .. } => *lease,
            Write::Delete(_) => None,
        });
        if leases.into_iter().any(|lease| !self.leases.contains_key(&lease)) {
            return Err(StoreError::LeaseGone);
        }
        self.write(transaction.writes);
        let reads = transaction.reads.iter().map(|key| self.entries.get(key).cloned()).collect();
        Ok(Committed::Done { revision: self.revision, reads })
    }

    fn write(&mut self, writes: Vec<Write>) {
        let changes = writes.iter().any(|write| match write {
            Write::Put { .. } => true,
            Write::Delete(key) => self.entries.contains_key(key),
        });
        if !changes {
            return;
        }
        self.revision += 1;
        self.writes += 1;
        for write in writes {
            match write {
                Write::Put { key, value, lease } => self.put(key, value, lease),
                Write::Delete(key) => self.delete(key),
            }
        }
    }

    fn put(&mut self, key: String, value: bytes::Bytes, lease: Option<LeaseId>) {
        let create_revision = self.entries.get(&key).map_or(self.revision, |entry| entry.create_revision);
        let entry = Entry { key: key.clone(), value, create_revision, mod_revision: self.revision, lease };
        self.history.push((self.revision, Change::Put(entry.clone())));
        self.entries.insert(key, entry);
    }

    fn delete(&mut self, key: String) {
        if self.entries.remove(&key).is_some() {
            self.history.push((self.revision, Change::Deleted { key, revision: self.revision }));
        }
    }
}
