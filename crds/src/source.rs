//! Where records come from: exactly one of Kafka, etcd and the embedded log.

use std::collections::BTreeMap;

use keyweir_contract::source::{Delivery, EtcdStart};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    connection::{EtcdAuthSpec, SaslSpec, TlsSpec},
    provision::ProvisionSpec,
    quantities::{BytesText, DurationText, HostPort, HttpUrl, TopicName, settings_schema},
    rules::{self, rule},
};

/// Exactly one member is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = source_rules()))]
pub struct SourceSpec {
    /// Topics of a Kafka cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSourceSpec>,
    /// Changes under paths of an etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdSourceSpec>,
    /// Topics of the log in the data directory of one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<EmbeddedSourceSpec>,
}

fn source_rules() -> Value {
    json!([
        rules::exactly_one(&["kafka", "etcd", "embedded"]),
        rule(
            "has(self.kafka) == has(oldSelf.kafka) && has(self.etcd) == has(oldSelf.etcd)",
            "the kind of source can't change, its checkpoints would mean nothing: create a new StreamConsumer",
        ),
    ])
}

/// Topics of a Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaSourceSpec {
    /// Brokers to ask first, each host:port.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub bootstrap_servers: Vec<HostPort>,
    /// Topics to read.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub topics: Vec<TopicName>,
    /// How topics are made that are missing. Absent: they must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<ProvisionSpec>,
    /// Consumer group whose offsets mirror the progress. It can't change.
    #[schemars(length(max = 242), regex(pattern = "^[a-zA-Z0-9._-]+$"), extend("x-kubernetes-validations" =
        rules::immutable("group can't change, the progress belongs to it: create a new StreamConsumer")))]
    pub group: String,
    /// Where partitions start that have no checkpoint.
    #[serde(default)]
    pub start_at: StartAtSpec,
    /// How often new partitions are looked for.
    #[serde(default = "discovery_interval")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("1s", "1h")))]
    pub partition_discovery_interval: DurationText,
    /// TLS. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Login. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslSpec>,
    /// Further settings of the client library, by its own names. Those that Keyweir sets itself, and those that
    /// hold or point at secrets, are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        extend("maxProperties" = 64, "x-kubernetes-validations" = property_rules()),
        schema_with = "settings_schema"
    )]
    pub properties: BTreeMap<String, String>,
}

fn discovery_interval() -> DurationText {
    "60s".into()
}

/// Settings of the client library that Keyweir derives from the object.
pub const OWNED_PROPERTIES: [&str; 29] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "client.id",
    "client.rack",
    "security.protocol",
    "enable.auto.commit",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "isolation.level",
    "partition.assignment.strategy",
    "partitioner",
    "transactional.id",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "statistics.interval.ms",
    "max.poll.interval.ms",
    "session.timeout.ms",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "log.queue",
];

fn property_rules() -> Value {
    let owned = OWNED_PROPERTIES.map(|name| format!("'{name}'")).join(", ");
    json!([
        rule(
            "self.all(name, !name.endsWith('password') && !name.endsWith('secret'))",
            "secrets don't belong in properties: use sasl.passwordSecretKeyRef and tls.clientCertificate",
        ),
        rule(
            "self.all(name, !(name.startsWith('ssl.') && (name.endsWith('.location') || name.endsWith('.pem'))))",
            "files and keys of TLS don't belong in properties: use tls.ca and tls.clientCertificate",
        ),
        rule("self.all(name, !name.startsWith('sasl.'))", "logins don't belong in properties: use sasl"),
        rule("!('plugin.library.paths' in self)", "remove plugin.library.paths: plugins are not loaded",),
        rule(
            &format!("self.all(name, !(name in [{owned}]))"),
            "remove the properties that Keyweir sets itself, such as group.id, client.id, isolation.level, \
             auto.offset.reset and queued.max.messages.kbytes: use the fields of this object instead",
        ),
    ])
}

/// Where a partition starts that has no checkpoint; afterwards the checkpoint decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "(has(self.position) && self.position == 'Timestamp') == has(self.time)",
    "set time together with position: Timestamp, and only then",
)]))]
pub struct StartAtSpec {
    /// The oldest record, the next one to come, or the first that is not older than time.
    #[serde(default)]
    pub position: StartPosition,
    /// For Timestamp: RFC 3339, such as 2026-01-31T08:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time", "maxLength" = 40))]
    pub time: Option<String>,
}

impl StartAtSpec {
    /// The time in milliseconds since the epoch; `None` where there is none, or it is no RFC 3339 time.
    pub fn unix_millis(&self) -> Option<i64> {
        let time: k8s_openapi::jiff::Timestamp = self.time.as_deref()?.parse().ok()?;
        Some(time.as_millisecond())
    }
}

impl Default for StartAtSpec {
    fn default() -> Self {
        Self { position: StartPosition::Earliest, time: None }
    }
}

/// Where a partition starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum StartPosition {
    /// The oldest record there is.
    #[default]
    Earliest,
    /// The next record to come.
    Latest,
    /// The first record that is not older than a time.
    Timestamp,
}

/// Changes under paths of an etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::one_scheme(),
    rule(
        "self.paths.all(one, self.paths.all(other, one == other || !other.startsWith(one + '/')))",
        "remove the paths that lie below another one: their keys would be read twice",
    ),
]))]
pub struct EtcdSourceSpec {
    /// URLs of the servers.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub endpoints: Vec<HttpUrl>,
    /// Paths whose keys are read: /a/b is every key that begins with /a/b/, never a sibling that begins alike. The
    /// record's key is the whole key, its headers etcd-kind, etcd-revision, etcd-version, etcd-previous-value and
    /// others tell the change.
    #[schemars(
        length(min = 1, max = 16), inner(length(max = 256), regex(pattern = "^(/[^/\\s]+)+$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub paths: Vec<String>,
    /// Latest: of changes that wait for their key only the newest is handled. Every: each change, in order; where the
    /// history was compacted meanwhile it goes on with what stands now, and the condition HistoryLost says so.
    #[serde(default)]
    pub delivery: Delivery,
    /// Where slots start that have no checkpoint: with all keys there are, or with the next change.
    #[serde(default)]
    pub start_at: EtcdStart,
    /// Hash slots each path is split into, the units that members share. It can't change.
    #[serde(default = "slots")]
    #[schemars(range(min = 1, max = 1024), extend("x-kubernetes-validations" =
        rules::immutable("slots can't change, the checkpoints belong to them: create a new StreamConsumer")))]
    pub slots: u32,
    /// Keys asked for at a time when listing.
    #[serde(default = "page_size")]
    #[schemars(range(min = 1, max = 10000))]
    pub page_size: u32,
    /// Changes read ahead of the handlers; beyond them etcd keeps the changes.
    #[serde(default = "watch_buffer")]
    #[schemars(range(min = 1, max = 100_000))]
    pub watch_buffer: u32,
    /// Authorities and client certificate, for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Login. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<EtcdAuthSpec>,
}

fn slots() -> u32 {
    64
}

fn page_size() -> u32 {
    500
}

fn watch_buffer() -> u32 {
    1000
}

/// Topics of the embedded log: one process, one data directory, no broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "has(self.group) == has(oldSelf.group) && (!has(self.group) || self.group == oldSelf.group)",
    "group can't change, the progress belongs to it: create a new StreamConsumer",
)]))]
pub struct EmbeddedSourceSpec {
    /// Topics to read; they are created where missing.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub topics: Vec<TopicName>,
    /// Name of the progress, so that several objects can read one topic. Absent: the object's name. It can't
    /// change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 242), regex(pattern = "^[a-zA-Z0-9._-]+$"))]
    pub group: Option<String>,
    /// Where partitions start that have no checkpoint.
    #[serde(default)]
    pub start_at: StartAtSpec,
    /// Partitions of a topic that is created.
    #[serde(default = "partitions")]
    #[schemars(range(min = 1, max = 1024))]
    pub partitions: u32,
    /// When old records are dropped.
    #[serde(default)]
    pub retention: RetentionSpec,
}

fn partitions() -> u32 {
    8
}

/// When old records are dropped: at either bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionSpec {
    /// How old they may get.
    #[serde(default = "retention_age")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("1m", "87600h")))]
    pub age: DurationText,
    /// How large a topic may get.
    #[serde(default = "retention_bytes")]
    #[schemars(extend("x-kubernetes-validations" = rules::sized("1Mi", "999Ti")))]
    pub bytes: BytesText,
}

impl Default for RetentionSpec {
    fn default() -> Self {
        Self { age: retention_age(), bytes: retention_bytes() }
    }
}

fn retention_age() -> DurationText {
    "168h".into()
}

fn retention_bytes() -> BytesText {
    "10Gi".into()
}
