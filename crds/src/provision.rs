//! Topics that are made where they are missing: the same words wherever a topic is named.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    quantities::settings_schema,
    rules::{rule, rule_at},
};

/// How a topic is made that is missing. One that exists is never changed: where it differs, the condition Provisioned
/// tells both numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule_at(
    ".minInsyncReplicas",
    "!has(self.minInsyncReplicas) || has(self.replicationFactor) && self.minInsyncReplicas <= self.replicationFactor",
    "set replicationFactor, too, and make minInsyncReplicas at most that",
)]))]
pub struct ProvisionSpec {
    /// Partitions of a topic that is made. More are never added later: keys would change their partition, and lose
    /// their order.
    #[schemars(range(min = 1, max = 10_000))]
    pub partitions: u32,
    /// Copies of each partition; no more than there are brokers. Absent: the broker's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub replication_factor: Option<u32>,
    /// Copies that must have a record before it counts as written; no more than there are copies. Absent: the broker's
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub min_insync_replicas: Option<u32>,
    /// Further settings of a topic that is made, by Kafka's own names, such as cleanup.policy and retention.ms.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        extend("maxProperties" = 64, "x-kubernetes-validations" = config_rules()),
        schema_with = "settings_schema"
    )]
    pub config: BTreeMap<String, String>,
}

fn config_rules() -> Value {
    json!([rule("!('min.insync.replicas' in self)", "use minInsyncReplicas instead of min.insync.replicas")])
}
