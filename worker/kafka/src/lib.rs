//! Kafka behind the engine's ports.
//!
//! ```text
//!  reader.rs ──commands──▶ intake.rs (its own thread) ──▶ fetch.rs ──▶ librdkafka
//!      ▲                       │  record.rs: the vendor's borrow ends
//!      └──── bounded batches ──┘
//!
//!  source.rs ──▶ topics.rs  (which partitions, where they begin and end, who the cluster is)
//!           └──▶ offsets.rs (the group's offset: the mirror that tools read and reset)
//!  producer.rs, checkpoints.rs, parked.rs: durable writes
//!  provision.rs, purge.rs: topics made where they are missing; what a deleted object leaves
//!  recall.rs: records that are wanted again; look.rs reads for it and for parked.rs
//! ```
//!
//! Partitions are started and stopped by hand and the group is never joined: a group here is a name under which
//! offsets are kept. No type of the client library leaves this crate; `unsafe` lives in fetch.rs and
//! describe.rs alone, each a thin wrapper with its reasons beside it.

mod checkpoints;
mod cold;
mod config;
mod context;
mod describe;
mod error;
mod fetch;
mod intake;
mod look;
mod offsets;
mod parked;
mod producer;
mod provision;
mod purge;
mod reader;
mod recall;
mod record;
mod slots;
mod source;
mod topics;

pub use checkpoints::GroupCheckpoints;
pub use config::{ConfigError, Connection, refused_property};
pub use parked::KafkaParked;
pub use producer::KafkaProducer;
pub use provision::{ProvisionError, Provisioned, Provisioner};
pub use purge::purge;
pub use reader::KafkaReader;
pub use recall::KafkaRecall;
pub use source::{KafkaSource, Mirroring};
