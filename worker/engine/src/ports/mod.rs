//! The doors: one trait a file. Each trait's doc says what implementers owe; one conformance
//! suite each holds fakes and real adapters to it.
//!
//! Hot ports ([`Reader`], [`Handler`]) are generic and use native `async fn`; cold ports are object-safe and
//! chosen once, in the worker's wiring.

mod checkpoint_store;
mod handler;
mod lease_store;
mod observer;
mod parked_store;
mod producer;
mod reader;
mod recall;
mod renewals;
mod source;

pub use checkpoint_store::{CheckpointError, CheckpointStore};
pub use handler::{BatchLimits, Handler, Request};
pub use lease_store::{
    Change, Changes, Committed, Entry, Grant, Guard, LeaseId, LeaseStore, Listing, MAX_OPERATIONS,
    MAX_TRANSACTION_BYTES, StoreError, Transaction, Write,
};
pub use observer::{Aside, Observer, RecordEvent, ShardEvent};
pub use parked_store::{BlockedKey, ParkedError, ParkedId, ParkedRecord, ParkedStore};
pub use producer::{ProduceError, Producer};
pub use reader::{Batch, Intake, Reader};
pub use recall::{Recall, Recalled, Search, Wanted};
pub use renewals::{Pulse, Renewals, RenewalsTx};
pub use source::{Bounds, Identity, Mirror, MirrorState, Source, SourceError, StartAt};
