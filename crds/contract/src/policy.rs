//! What a user decides about a record's way: order, key, limits, retries, and where the road ends.
//!
//! Every type here is a plain value with its documented default; nothing here acts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// Which records wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Ordering {
    /// Records of one key in one shard are handled one after the other, in their order.
    #[default]
    Key,
    /// Records of one partition are handled one after the other.
    Partition,
    /// No record waits for another.
    None,
}

/// Which member executes a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Routing {
    /// The member that owns the record's shard.
    #[default]
    Partition,
    /// The member that the record's key maps to, so that more members than shards are useful.
    Key,
}

/// How the bytes of a record's value are read before the handler sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DecodeFormat {
    /// Bytes as they are; nothing can be undecodable.
    #[default]
    Raw,
    /// A JSON document.
    #[serde(rename = "JSON")]
    Json,
    /// UTF-8 text.
    String,
    /// A streamback envelope, whose inner value the handler sees.
    Streamback,
}

/// How values are decoded and where a record's type stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decode {
    /// How values are read.
    pub format: DecodeFormat,
    /// The header that names a record's type for routes.
    pub record_type_header: String,
}

impl Default for Decode {
    fn default() -> Self {
        Self { format: DecodeFormat::Raw, record_type_header: DEFAULT_RECORD_TYPE_HEADER.to_owned() }
    }
}

/// The header that names a record's type unless the manifest says otherwise.
pub const DEFAULT_RECORD_TYPE_HEADER: &str = "__grt__";

/// What becomes of records that have no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum NullKey {
    /// Each is on its own and waits for nobody.
    #[default]
    Unordered,
    /// All of a shard share one lane.
    Ordered,
}

/// Where a record's key is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeySelector {
    /// The record's own key.
    #[default]
    RecordKey,
    /// The bytes of the first header of this name; a record without it has no key.
    Header(String),
    /// What this JSON pointer finds in the value; a record where it finds nothing has no key.
    JsonPointer(String),
}

/// Where keys come from and what a missing one means.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyPolicy {
    /// Where a record's key is taken from.
    pub selector: KeySelector,
    /// What becomes of records that have no key.
    pub null_key: NullKey,
}

/// When another attempt is made, and how many there are.
///
/// Attempt n+1 comes `initial_delay × factor^(n-1)`, at most `max_delay`, after attempt n failed,
/// give or take `jitter_percent`. Only the record's key waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// The wait after the first failed attempt.
    #[serde(with = "crate::duration")]
    pub initial_delay: Duration,
    /// By what each further wait grows; 1 keeps it constant.
    pub factor: u32,
    /// The longest wait.
    #[serde(with = "crate::duration")]
    pub max_delay: Duration,
    /// How far a wait may stray to either side, in percent of it; 0 to 100.
    pub jitter_percent: u32,
    /// The reasons that deserve another attempt; empty means all. A reason that is not listed
    /// exhausts the record at once.
    #[serde(default)]
    pub retry_on: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 6,
            initial_delay: Duration::from_millis(100),
            factor: 2,
            max_delay: Duration::from_secs(30),
            jitter_percent: 20,
            retry_on: Vec::new(),
        }
    }
}

/// What becomes of a record that no further attempt can save. Whatever it is, the record is complete after it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExhaustedAction {
    /// Written to a topic of the source's broker or log, with its origin in headers.
    DeadLetter {
        /// The topic.
        topic: String,
    },
    /// Kept aside, visible, until a person releases or skips it.
    #[serde(rename_all = "camelCase")]
    Park {
        /// Whether later records of the key follow it there, in order.
        blocks_key: bool,
    },
    /// Dropped, counted and logged.
    Skip,
    /// Not completed: the object stops taking records and keeps its checkpoint.
    Stop,
}

/// What becomes of a record that no route takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnUnknown {
    /// The object's own handler handles it.
    #[default]
    Default,
    /// It goes the way of an exhausted record.
    Exhaust(ExhaustedAction),
}

/// What a member holds at most. Reading pauses at these and never stops for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Records taken and not completed whose content is kept.
    pub records: u64,
    /// Their bytes: key, value and headers.
    pub bytes: ByteSize,
    /// Keys that have records waiting or executing.
    pub keys: u64,
    /// Records of one lane whose content is kept while the budget is short; beyond it a lane keeps offsets only.
    pub records_per_key: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { records: 100_000, bytes: ByteSize::mebibytes(64), keys: 10_000, records_per_key: 1_000 }
    }
}

/// How many records a member executes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Concurrency {
    /// That many.
    Fixed(u32),
    /// That many for each CPU the worker may use: its cgroup's quota, else its CPU request, else one.
    PerCpu(u32),
}

impl Concurrency {
    /// The number for a worker that may use this many CPUs, never 0.
    pub fn resolve(self, cpus: u32) -> u32 {
        match self {
            Self::Fixed(count) => count,
            Self::PerCpu(count) => count.saturating_mul(cpus.max(1)),
        }
        .max(1)
    }
}

impl Default for Concurrency {
    fn default() -> Self {
        Self::Fixed(64)
    }
}

/// How fast records may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Records started each second, per member.
    pub records_per_second: u32,
}
