//! `StreamConsumer`: a handler called for each record of Kafka topics or each change under an etcd path.
//!
//! The rules here need more than one part of the spec; each part has its own beside it.

use keyweir_contract::{
    policy::{Ordering, Routing},
    worker_config::RunState,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    coordination::CoordinationSpec,
    execution::{DecodeSpec, ExecutionSpec, KeySpec, PausedPartitionsSpec, RetrySpec},
    exhausted::{ExhaustedSpec, UnknownSpec},
    handler::{HandlerOptionsSpec, HandlerSpec, OutputSpec, RouteSpec},
    observability::ObservabilitySpec,
    pod::{PodSpec, WorkerSpec},
    quantities::DurationText,
    rules::{self, rule_at},
    scaling::{RolloutSpec, ScalingSpec},
    source::SourceSpec,
    status::StreamConsumerStatus,
};

/// What is wanted.
#[expect(clippy::duplicated_attributes, reason = "each printcolumn has a type, and types repeat")]
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "keyweir.io",
    version = "v1alpha1",
    kind = "StreamConsumer",
    plural = "streamconsumers",
    singular = "streamconsumer",
    shortname = "stc",
    category = "keyweir",
    namespaced,
    status = "StreamConsumerStatus",
    derive = "PartialEq",
    doc = "A handler that is called for each record of a source: in order per key, keys in parallel.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Current", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lag.records"),
    printcolumn(name = "In-Flight", type_ = "integer", json_path = ".status.inFlight"),
    printcolumn(name = "Parked", type_ = "integer", json_path = ".status.parked"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Lag-Seconds", type_ = "integer", json_path = ".status.lag.seconds", priority = 1),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.state", priority = 1),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source", priority = 1),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.source.kafka.group", priority = 1),
    printcolumn(name = "Handler", type_ = "string", json_path = ".status.handler", priority = 1),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.workerVersion", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = spec_rules()))]
pub struct StreamConsumerSpec {
    /// Which installation looks after it. Empty: the one without a class.
    #[serde(default)]
    #[schemars(length(max = 63), regex(pattern = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$"))]
    pub class: String,
    /// Where records come from: exactly one of kafka, etcd, embedded.
    pub source: SourceSpec,
    /// Where members meet. Absent: the installation's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordination: Option<CoordinationSpec>,
    /// How values are read.
    #[serde(default)]
    pub decode: DecodeSpec,
    /// Where keys come from.
    #[serde(default)]
    pub key: KeySpec,
    /// Which records wait for each other: those of one Key, of one Partition, or None.
    #[serde(default)]
    pub ordering: Ordering,
    /// Which replica executes a record: the one that reads its Partition, or the one its Key maps to.
    #[serde(default)]
    pub routing: Routing,
    /// How much one replica does at a time. Applied live.
    #[serde(default)]
    pub execution: ExecutionSpec,
    /// Who handles records: exactly one of http, container, exec, builtin, native.
    pub handler: HandlerSpec,
    /// How handlers are asked.
    #[serde(default)]
    pub handler_options: HandlerOptionsSpec,
    /// Handlers for some of the records; the first that fits has a record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub routes: Vec<RouteSpec>,
    /// Records that no route takes, where there are routes.
    #[serde(default)]
    pub on_unknown: UnknownSpec,
    /// Records that can't be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_undecodable: Option<ExhaustedSpec>,
    /// When a failed record is tried again. Applied live.
    #[serde(default)]
    pub retry: RetrySpec,
    /// Records whose last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<ExhaustedSpec>,
    /// Topics that handlers write to by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub outputs: Vec<OutputSpec>,
    /// How often progress is made durable. Applied live.
    #[serde(default = "checkpoint_interval")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("100ms", "1m")))]
    pub checkpoint_interval: DurationText,
    /// How long executing records may finish when a worker stops. Applied live.
    #[serde(default = "drain_timeout")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("0s", "1h")))]
    pub drain_timeout: DurationText,
    /// Running; Paused keeps its shards and starts nothing; Stopped is drained. Applied live.
    #[serde(default)]
    pub state: RunState,
    /// Partitions whose records are not started. Applied live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["topic"]))]
    pub paused_partitions: Vec<PausedPartitionsSpec>,
    /// Workers there should be.
    #[serde(default = "replicas")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: i32,
    /// Who decides how many there should be.
    #[serde(default)]
    pub scaling: ScalingSpec,
    /// How workers are replaced.
    #[serde(default)]
    pub rollout: RolloutSpec,
    /// The worker itself.
    #[serde(default)]
    pub worker: WorkerSpec,
    /// What becomes of checkpoints and parked records when the object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// What you may shape of the workers' pods.
    #[serde(default)]
    pub pod: PodSpec,
    /// Logs, traces, and when it is told that the object is behind.
    #[serde(default)]
    pub observability: ObservabilitySpec,
}

fn checkpoint_interval() -> DurationText {
    "1s".into()
}

fn drain_timeout() -> DurationText {
    "30s".into()
}

fn replicas() -> i32 {
    1
}

fn spec_rules() -> Value {
    json!([
        rule_at(
            ".routing",
            "self.routing != 'Key' || self.ordering == 'Key'",
            "routing: Key needs ordering: Key; set ordering: Key or routing: Partition",
        ),
        rule_at(
            ".routing",
            "self.routing != 'Key' || \
             !has(self.source.embedded) && (!has(self.coordination) || self.coordination.type == 'Etcd')",
            "routing: Key needs members that meet: set coordination.type: Etcd or routing: Partition",
        ),
        dynamic_rule(
            "routing",
            "self.routing != 'Key'",
            "routing: Key goes to whoever is there: set coordination.placement: Dynamic or routing: Partition"
        ),
        dynamic_rule(
            "scaling",
            "self.scaling.mode != 'Builtin'",
            "placement: Static keeps shards where they are: set scaling.mode: Fixed or External, or placement: Dynamic"
        ),
        rule_at(
            ".handlerOptions.batch",
            "self.routing != 'Key' || !has(self.handlerOptions.batch)",
            "routing: Key sends records one by one: remove handlerOptions.batch or set routing: Partition",
        ),
        rule_at(
            ".key",
            "self.key.from != 'JSONPointer' || self.decode.format in ['JSON', 'Streamback']",
            "key.from: JSONPointer needs a JSON value: set decode.format: JSON",
        ),
        rule_at(
            ".handlerOptions.batch",
            "!has(self.handlerOptions.batch) || has(self.handler.http) || has(self.handler.container) || \
             has(self.routes) && self.routes.exists(r, has(r.handler.http))",
            "only http and container handlers take batches: remove handlerOptions.batch",
        ),
        rule_at(
            ".replicas",
            "!has(self.coordination) || self.coordination.type == 'Etcd' || self.replicas <= 1",
            "coordination.type: None allows one replica: set replicas to 0 or 1, or coordination.type: Etcd",
        ),
        rule_at(
            ".scaling",
            "!has(self.coordination) || self.coordination.type == 'Etcd' || self.scaling.mode == 'Fixed' || \
             self.scaling.mode == 'Builtin' && self.scaling.builtin.maxReplicas == 1",
            "coordination.type: None allows one replica: set scaling.mode: Fixed, or coordination.type: Etcd",
        ),
        rule_at(
            ".source.embedded",
            "!has(self.source.embedded) || self.replicas <= 1 && self.scaling.mode == 'Fixed'",
            "an embedded source has one process: set replicas to 0 or 1 and scaling.mode: Fixed",
        ),
        rule_at(
            ".source.embedded",
            "!has(self.source.embedded) || !has(self.coordination) || self.coordination.type == 'None'",
            "an embedded source has one process: remove coordination or set its type: None",
        ),
        rule_at(
            ".source.etcd",
            "!has(self.source.etcd) || !has(self.outputs) && !has(self.onUnknown.deadLetter) && \
             !(has(self.onExhausted) && has(self.onExhausted.deadLetter)) && \
             !(has(self.onUndecodable) && has(self.onUndecodable.deadLetter))",
            "an etcd source has no topics to write to: remove outputs and deadLetter, use Park, Skip or Stop",
        ),
        rule_at(
            ".source.etcd",
            "!has(self.source.etcd) || self.source.etcd.delivery == 'Every' || \
             self.ordering == 'Key' && self.key.from == 'RecordKey'",
            "delivery: Latest is about single keys: use ordering: Key and key.from: RecordKey, or set delivery: Every",
        ),
        rule_at(
            ".worker.maxMemory",
            "!has(self.worker.maxMemory) || self.worker.maxMemory == '' || \
             quantity(self.worker.maxMemory).compareTo(quantity(self.execution.limits.bytes).add(quantity('64Mi'))) >= 0",
            "a worker needs execution.limits.bytes + 64Mi: raise worker.maxMemory or lower execution.limits.bytes",
        ),
        dead_letter_rule("onExhausted", "has(self.onExhausted) && has(self.onExhausted.deadLetter)"),
        dead_letter_rule("onUndecodable", "has(self.onUndecodable) && has(self.onUndecodable.deadLetter)"),
        dead_letter_rule("onUnknown", "has(self.onUnknown.deadLetter)"),
        memory_rule(),
    ])
}

/// What is held at most must fit into the pod.
fn memory_rule() -> Value {
    rule_at(
        ".pod",
        "quantity(has(self.pod.resources) && has(self.pod.resources.limits) && \
         'memory' in self.pod.resources.limits ? string(self.pod.resources.limits['memory']) : '512Mi')\
         .compareTo(quantity(self.execution.limits.bytes).add(quantity(self.execution.limits.bytes))\
         .add(quantity('128Mi'))) >= 0",
        "the memory limit must be at least 2 x execution.limits.bytes + 128Mi: raise \
         pod.resources.limits.memory (512Mi when absent) or lower execution.limits.bytes",
    )
}

/// Something that goes with dynamic placement only.
fn dynamic_rule(field: &str, absent: &str, message: &str) -> Value {
    let dynamic = "!has(self.coordination) || self.coordination.placement == 'Dynamic'";
    rule_at(&format!(".{field}"), &format!("{absent} || {dynamic}"), message)
}

fn dead_letter_rule(field: &str, given: &str) -> Value {
    rule_at(
        &format!(".{field}"),
        &format!(
            "!({given}) || \
             !(has(self.source.kafka) && self.{field}.deadLetter.topic in self.source.kafka.topics) && \
             !(has(self.source.embedded) && self.{field}.deadLetter.topic in self.source.embedded.topics)"
        ),
        &format!(
            "{field}.deadLetter would be read again: name a topic that is not among the source's topics"
        ),
    )
}

/// What becomes of checkpoints and parked records when the object is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay: an object of the same name goes on where this one was.
    #[default]
    Retain,
    /// They are deleted with it.
    Purge,
}
