//! Topics that are made where they are missing, and compared where they are not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A topic as it is to be. One that exists is never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicPlan {
    /// Its name.
    pub topic: String,
    /// Its partitions.
    pub partitions: u32,
    /// Copies of each partition, as far as there are brokers for them; absent: the broker's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u32>,
    /// Copies that must have a record before it counts as written, as far as there are copies; absent: the broker's
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_insync_replicas: Option<u32>,
    /// Further settings by Kafka's own names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}
