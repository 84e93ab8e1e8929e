//! Who decides how many replicas there are, and how they are replaced.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    quantities::{BytesOrEmpty, DurationText},
    rules::{self, rule},
};

/// Who decides how many replicas there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingSpec {
    /// Fixed: you. Builtin: the operator, by lag. External: an autoscaler, by the scale subresource.
    #[serde(default)]
    pub mode: ScalingMode,
    /// For Builtin: how.
    #[serde(default)]
    pub builtin: BuiltinScalingSpec,
}

/// Who decides how many replicas there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ScalingMode {
    /// Whoever writes spec.replicas.
    #[default]
    Fixed,
    /// The operator, by lag.
    Builtin,
    /// An autoscaler such as HPA or KEDA.
    External,
}

/// Scaling by lag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = builtin_rules()))]
pub struct BuiltinScalingSpec {
    /// Never fewer than these. 0: an object that has nothing to do has no workers until a record comes; where the source
    /// is not Kafka, 0 counts as 1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000))]
    pub min_replicas: u32,
    /// Never more than these.
    #[serde(default = "max_replicas")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_replicas: u32,
    /// One replica more for so many records of lag.
    #[serde(default = "records_per_replica")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub records_per_replica: u32,
    /// Replicas by lag, instead of recordsPerReplica: the first row whose lag is not below the lag decides, else the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub table: Vec<ScalingRowSpec>,
    /// Enough replicas to work the lag off within this time, by the rate measured. Absent: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("1s", "24h")))]
    pub target_drain_time: Option<DurationText>,
    /// Only replicas older than this are taken away.
    #[serde(default = "scale_down_delay")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("0s", "24h")))]
    pub scale_down_delay: DurationText,
    /// There are no more replicas as long as all together would hold more memory than this, by what each of them holds.
    /// Empty: it is not looked at.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = rules::sized_or_empty("64Mi", "1024Ti")))]
    pub max_memory: BytesOrEmpty,
    /// Decide and say so, without doing it.
    #[serde(default)]
    pub dry_run: bool,
}

fn builtin_rules() -> Value {
    json!([
        rule(
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "minReplicas must not be above maxReplicas",
        ),
        rule(
            "!has(self.table) || self.table.map(r, r.lag).isSorted()",
            "sort the table's rows by lag, smallest first",
        ),
    ])
}

/// One row of a scaling table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingRowSpec {
    /// Lag in records up to which this row decides.
    #[schemars(range(min = 0, max = 1_000_000_000_000_i64))]
    pub lag: i64,
    /// Replicas there are then.
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: u32,
}

fn max_replicas() -> u32 {
    50
}

fn records_per_replica() -> u32 {
    1000
}

fn scale_down_delay() -> DurationText {
    "10s".into()
}

impl Default for BuiltinScalingSpec {
    fn default() -> Self {
        Self {
            min_replicas: 0,
            max_replicas: max_replicas(),
            records_per_replica: records_per_replica(),
            table: Vec::new(),
            target_drain_time: None,
            scale_down_delay: scale_down_delay(),
            max_memory: BytesOrEmpty::default(),
            dry_run: false,
        }
    }
}

/// How workers are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "!has(self.maxSurge) || !has(self.maxUnavailable) || \
     !(self.maxSurge == 0 || self.maxSurge == '0' || self.maxSurge == '0%') || \
     !(self.maxUnavailable == 0 || self.maxUnavailable == '0' || self.maxUnavailable == '0%')",
    "maxSurge and maxUnavailable can't both be 0, nothing could be replaced: set one of them",
)]))]
pub struct RolloutSpec {
    /// Workers that may run beyond the replicas, a number or a percentage.
    #[serde(default = "max_surge")]
    #[schemars(schema_with = "share")]
    pub max_surge: IntOrString,
    /// Workers that may be missing, a number or a percentage.
    #[serde(default = "max_unavailable")]
    #[schemars(schema_with = "share")]
    pub max_unavailable: IntOrString,
    /// Whether a new version of the operator replaces the workers by itself, or waits for keyweir.io/restartedAt.
    #[serde(default)]
    pub on_operator_upgrade: UpgradePolicy,
}

fn share(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"x-kubernetes-int-or-string": true, "pattern": "^([0-9]{1,4}|(100|[0-9]{1,2})%)$"})
}

fn max_surge() -> IntOrString {
    IntOrString::String("25%".to_owned())
}

fn max_unavailable() -> IntOrString {
    IntOrString::Int(0)
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            max_surge: max_surge(),
            max_unavailable: max_unavailable(),
            on_operator_upgrade: UpgradePolicy::default(),
        }
    }
}

/// What a new version of the operator does to running workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum UpgradePolicy {
    /// Replaces them, some objects at a time.
    #[default]
    Auto,
    /// Leaves them until asked.
    Manual,
}
