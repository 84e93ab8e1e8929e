//! Between the client library's values and the engine's. Up: the [crate](crate).

use bytes::Bytes;
use etcd_client::{Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse};
use keyweir_engine::ports::{Entry, Guard, LeaseId, Transaction, Write};

/// A key as the engine sees it. Keys that are no text are foreign: they keep a place but can't be named.
pub(crate) fn entry(found: &KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(found.key()).into_owned(),
        value: Bytes::copy_from_slice(found.value()),
        create_revision: revision(found.create_revision()),
        mod_revision: revision(found.mod_revision()),
        lease: (found.lease() != 0).then(|| LeaseId(found.lease())),
    }
}

/// etcd's revisions are signed and never negative.
pub(crate) fn revision(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or_default()
}

/// A revision as etcd wants it.
pub(crate) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// A transaction: when its guards hold the writes, then the reads; else a look at what the guards saw.
pub(crate) fn transaction(transaction: Transaction) -> Txn {
    let Transaction { guards, writes, reads } = transaction;
    let looks: Vec<TxnOp> = guards.iter().map(|guard| TxnOp::get(guard.key(), None)).collect();
    let operations = writes.into_iter().map(write).chain(reads.into_iter().map(|key| TxnOp::get(key, None)));
    Txn::new()
        .when(guards.into_iter().map(compare).collect::<Vec<_>>())
        .and_then(operations.collect::<Vec<_>>())
        .or_else(looks)
}

fn compare(guard: Guard) -> Compare {
    match guard {
        Guard::Absent(key) => Compare::create_revision(key, CompareOp::Equal, 0),
        Guard::Created(key, revision) => Compare::create_revision(key, CompareOp::Equal, signed(revision)),
        Guard::Written(key, revision) => Compare::mod_revision(key, CompareOp::Equal, signed(revision)),
    }
}

fn write(write: Write) -> TxnOp {
    match write {
        Write::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(key, value, options)
        }
        Write::Delete(key) => TxnOp::delete(key, None),
    }
}

/// The answers of the reads in a transaction's answer, in their order.
pub(crate) fn reads(answers: &[TxnOpResponse]) -> Vec<Option<Entry>> {
    let read = |answer: &TxnOpResponse| match answer {
        TxnOpResponse::Get(get) => Some(get.kvs().first().map(entry)),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    };
    answers.iter().filter_map(read).collect()
}
