//! Logs, traces, and when it is told that an object is behind.

use keyweir_contract::worker_config::LogLevel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{quantities::DurationOrEmpty, rules};

/// Logs, traces, and when it is told that the object is behind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservabilitySpec {
    /// From which level on workers log. Applied live.
    #[serde(default)]
    pub log_level: LogLevel,
    /// Traces.
    #[serde(default)]
    pub tracing: TracingSpec,
    /// From when on the condition Lagging is true. Applied live.
    #[serde(default)]
    pub lag_threshold: LagThresholdSpec,
}

/// Traces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracingSpec {
    /// Where they go. Empty: nowhere.
    #[serde(default)]
    #[schemars(length(max = 2048), regex(pattern = r"^(https?://[^\s@]+)?$"))]
    pub otlp_endpoint: String,
}

/// From when on the condition Lagging is true: either is enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LagThresholdSpec {
    /// Age of the oldest record that is not complete. Empty: not looked at.
    #[serde(default = "age")]
    #[schemars(extend("x-kubernetes-validations" = rules::between_or_empty("1s", "8760h")))]
    pub age: DurationOrEmpty,
    /// Records that are not complete. Absent: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub records: Option<i64>,
}

fn age() -> DurationOrEmpty {
    "5m".into()
}

impl Default for LagThresholdSpec {
    fn default() -> Self {
        Self { age: age(), records: None }
    }
}
