//! Where records come from, and where members of one object meet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ByteSize,
    endpoints::{EtcdEndpoint, KafkaEndpoint},
};

/// The one source of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Topics of a Kafka cluster.
    Kafka(KafkaSource),
    /// Topics of the log in the data directory.
    Embedded(EmbeddedSource),
    /// Changes under paths of an etcd.
    Etcd(EtcdSource),
}

impl Source {
    /// The topics read, in the manifest's order; none for etcd.
    pub fn topics(&self) -> &[String] {
        match self {
            Self::Kafka(kafka) => &kafka.topics,
            Self::Embedded(embedded) => &embedded.topics,
            Self::Etcd(_) => &[],
        }
    }

    /// The files with its authorities and logins.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::Kafka(kafka) => kafka.endpoint.files().collect(),
            Self::Etcd(etcd) => etcd.endpoint.files().collect(),
            Self::Embedded(_) => Vec::new(),
        }
    }

    /// The group whose progress this is, as tools know it; none for etcd.
    pub fn group(&self) -> Option<&str> {
        match self {
            Self::Kafka(kafka) => Some(&kafka.group),
            Self::Embedded(embedded) => Some(&embedded.group),
            Self::Etcd(_) => None,
        }
    }
}

/// Where a shard starts that was never read before. Afterwards its checkpoint decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StartAt {
    /// At the oldest record there is.
    #[default]
    Earliest,
    /// At the next record to come.
    Latest,
    /// At the first record that is not older.
    #[serde(rename_all = "camelCase")]
    Timestamp {
        /// Milliseconds since 1970-01-01T00:00:00Z, Kafka's own measure.
        unix_millis: i64,
    },
}

/// Topics of a Kafka cluster. Partitions are assigned by hand; the group only mirrors the progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaSource {
    /// The cluster; dead letters and outputs go there too.
    pub endpoint: KafkaEndpoint,
    /// The topics; at least one, none twice.
    pub topics: Vec<String>,
    /// The group whose offsets mirror the checkpoints.
    pub group: String,
    /// Where partitions start that are present when the object first runs.
    pub start_at: StartAt,
    /// How often new partitions are looked for.
    #[serde(with = "crate::duration")]
    pub partition_discovery_interval: Duration,
}

/// Topics of the embedded log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmbeddedSource {
    /// The topics; at least one, none twice. A topic that is missing is created.
    pub topics: Vec<String>,
    /// The group whose progress is kept, so that several objects can read one topic.
    pub group: String,
    /// Partitions of a topic that is created.
    pub partitions: u32,
    /// Where partitions start that were never read.
    pub start_at: StartAt,
    /// How old records may get before they are dropped.
    #[serde(with = "crate::duration")]
    pub retention_age: Duration,
    /// How large a topic may get before its oldest records are dropped.
    pub retention_bytes: ByteSize,
}

/// Changes under paths of an etcd; the shards are hash slots of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdSource {
    /// The cluster.
    pub endpoint: EtcdEndpoint,
    /// The paths; a path is only what lies below it, never a sibling that begins alike.
    pub paths: Vec<String>,
    /// Hash slots each path is split into.
    pub slots: u32,
    /// Whether every change is delivered or the newest value.
    pub delivery: Delivery,
    /// Where a slot starts that was never read.
    pub start_at: EtcdStart,
    /// Keys asked for at a time when listing.
    pub page_size: u32,
    /// Changes read ahead of the engine.
    pub watch_buffer: u32,
}

/// What is delivered when a key changes again while its last change is being handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Delivery {
    /// The newest value, once.
    #[default]
    Latest,
    /// Every change, in order.
    Every,
}

/// Where an etcd path starts that was never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum EtcdStart {
    /// All keys there are, then their changes, without a gap.
    #[default]
    ListThenFollow,
    /// Only changes from now on.
    Now,
}

/// Where the members of an object meet and keep their checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Coordination {
    /// One member at most. Checkpoints lie in the data directory, or without one in the metadata of the
    /// group's offsets.
    #[default]
    None,
    /// Members, owners and checkpoints lie in etcd.
    Etcd(Box<EtcdCoordination>),
}

impl Coordination {
    /// Whether each shard belongs to one ordinal.
    pub fn is_static(&self) -> bool {
        matches!(self, Self::Etcd(etcd) if etcd.placement == Placement::Static)
    }
}

/// Where in which etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdCoordination {
    /// The cluster.
    pub endpoint: EtcdEndpoint,
    /// What all keys begin with; see [`crate::keys`].
    pub prefix: String,
    /// How long a silent member counts as alive.
    #[serde(rename = "memberTTL", with = "crate::duration")]
    pub member_ttl: Duration,
    /// By which rule shards find their members.
    #[serde(default)]
    pub placement: Placement,
    /// The wire between members; absent: none is offered.
    #[serde(default)]
    pub peer: Option<PeerWire>,
}

/// By which rule shards find their members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Placement {
    /// Live members share all shards, and take over those of a member that is gone.
    #[default]
    Dynamic,
    /// Each shard belongs to one ordinal of a StatefulSet and waits for it while it is away.
    Static,
}

/// The port of a pod on which members speak to each other.
pub const PEER_PORT: u16 = 7070;

/// How members of one object speak to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerWire {
    /// Address and port to listen on.
    pub listen: String,
    /// File of the secret that members share; a stranger without it is refused.
    pub secret_file: PathBuf,
}
