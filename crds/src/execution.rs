//! How much is done at a time, what is held at most, and how often it is tried.

use keyweir_contract::policy::{DEFAULT_RECORD_TYPE_HEADER, DecodeFormat, NullKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    quantities::{BytesText, DurationText, TopicName},
    rules::{self, rule},
};

/// How values are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecodeSpec {
    /// Raw bytes, a JSON document, text, or a streamback envelope.
    #[serde(default)]
    pub format: DecodeFormat,
    /// Header that names a record's type, for routes.
    #[serde(default = "record_type_header")]
    #[schemars(length(min = 1, max = 128))]
    pub record_type_header: String,
}

fn record_type_header() -> String {
    DEFAULT_RECORD_TYPE_HEADER.to_owned()
}

impl Default for DecodeSpec {
    fn default() -> Self {
        Self { format: DecodeFormat::default(), record_type_header: record_type_header() }
    }
}

/// Where a record's key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("(has(self.from) && self.from == 'Header') == has(self.header)",
        "set header together with from: Header, and only then"),
    rule("(has(self.from) && self.from == 'JSONPointer') == has(self.jsonPointer)",
        "set jsonPointer together with from: JSONPointer, and only then"),
]))]
pub struct KeySpec {
    /// The record's own key, a header, or a place in its JSON value.
    #[serde(default)]
    pub from: KeyFrom,
    /// For Header: the header's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// For JSONPointer: the place, such as /customer/id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = "^(/([^~]|~[01])*)*$"))]
    pub json_pointer: Option<String>,
    /// What becomes of records without a key: each on its own, or all of a partition in order.
    #[serde(default)]
    pub null_key: NullKey,
}

/// Where a record's key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum KeyFrom {
    /// The record's own key.
    #[default]
    RecordKey,
    /// A header.
    Header,
    /// A place in the JSON value.
    #[serde(rename = "JSONPointer")]
    JsonPointer,
}

/// How much one replica does at a time. A running replica takes up changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "!(has(self.concurrency) && has(self.profile))",
    "set concurrency or profile, not both",
)]))]
pub struct ExecutionSpec {
    /// Records executed at a time. Absent: 64, or what the profile says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub concurrency: Option<u32>,
    /// Concurrency by the number of CPUs: 1, 4, 16 or 32 for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// What is held at most.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// How fast records may be started. Absent: as fast as they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitSpec>,
}

/// What a handler spends its time on: 1, 4, 16 or 32 records at a time for each CPU of the worker's CPU limit; without one
/// of its CPU request, rounded up; without either for one. On a laptop for each CPU of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Profile {
    /// Computing: 1 record for each CPU.
    Compute,
    /// Waiting for something near: 4.
    FastNetwork,
    /// Waiting for something slow: 16.
    SlowNetwork,
    /// Waiting for something far: 32.
    WideNetwork,
}

/// What one replica holds at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Records read and not complete whose content is kept. Of more behind a slow or hot key only the places are.
    #[serde(default = "records")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub records: u32,
    /// Their bytes: keys, values and headers.
    #[serde(default = "bytes")]
    #[schemars(extend("x-kubernetes-validations" = rules::sized("64Ki", "1Ti")))]
    pub bytes: BytesText,
    /// Keys that have records waiting or executing.
    #[serde(default = "keys")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub keys: u32,
    /// Records of one key whose content is kept when memory gets short; of more only the places are, and the content is
    /// read again in time. Absent: 1000, or what the profile says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub records_per_key: Option<u32>,
}

fn records() -> u32 {
    100_000
}

fn bytes() -> BytesText {
    "64Mi".into()
}

fn keys() -> u32 {
    10_000
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self { records: records(), bytes: bytes(), keys: keys(), records_per_key: None }
    }
}

/// How fast records may be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitSpec {
    /// Records started each second, per replica.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub records_per_second: u32,
}

/// When a failed record is tried again. Only its key waits. A running replica takes up changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "!has(self.initialDelay) || !has(self.maxDelay) || duration(self.initialDelay) <= duration(self.maxDelay)",
    "initialDelay must not be above maxDelay",
)]))]
pub struct RetrySpec {
    /// Attempts in all.
    #[serde(default = "max_attempts")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_attempts: u32,
    /// Wait after the first failed attempt.
    #[serde(default = "initial_delay")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("0s", "24h")))]
    pub initial_delay: DurationText,
    /// By what each further wait grows.
    #[serde(default = "factor")]
    #[schemars(range(min = 1, max = 100))]
    pub factor: u32,
    /// Longest wait.
    #[serde(default = "max_delay")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("0s", "168h")))]
    pub max_delay: DurationText,
    /// How far a wait may stray, in percent of it.
    #[serde(default = "jitter_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub jitter_percent: u32,
    /// Reasons that deserve another attempt. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub retry_on: Vec<String>,
}

fn max_attempts() -> u32 {
    6
}

fn initial_delay() -> DurationText {
    "100ms".into()
}

fn factor() -> u32 {
    2
}

fn max_delay() -> DurationText {
    "30s".into()
}

fn jitter_percent() -> u32 {
    20
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self {
            max_attempts: max_attempts(),
            initial_delay: initial_delay(),
            factor: factor(),
            max_delay: max_delay(),
            jitter_percent: jitter_percent(),
            retry_on: Vec::new(),
        }
    }
}

/// Partitions of one topic whose records are not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PausedPartitionsSpec {
    /// The topic.
    pub topic: TopicName,
    /// Its partitions.
    #[schemars(length(min = 1, max = 1024), inner(range(min = 0, max = 1_000_000)),
        extend("x-kubernetes-list-type" = "set"))]
    pub partitions: Vec<i32>,
}
