//! Who handles records: exactly one of http, container, exec, builtin and native; and how it is asked.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    pod::{self, Opaque},
    provision::ProvisionSpec,
    quantities::{BytesText, DurationOrEmpty, DurationOrNone, DurationText, HttpUrl, LocalName, TopicName},
    rules::{self, rule},
};

/// Exactly one member is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" =
    [rules::exactly_one(&["http", "container", "exec", "builtin", "native"])]))]
pub struct HandlerSpec {
    /// A service, by CloudEvents over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpHandlerSpec>,
    /// A container beside the worker, by the same protocol over localhost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerHandlerSpec>,
    /// Child processes, by JSON lines. In a cluster they come with worker.image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecHandlerSpec>,
    /// Something that Keyweir does itself, for trying things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<BuiltinHandlerSpec>,
    /// A handler compiled into a worker of your own. In a cluster it comes with worker.image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<NativeHandlerSpec>,
}

/// A service that answers HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpHandlerSpec {
    /// Where requests go, such as http://orders/ or http://orders.shop:8080/records.
    pub url: HttpUrl,
}

/// A container that runs beside the worker in its pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerHandlerSpec {
    /// Its image.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// When its image is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<pod::ImagePullPolicy>,
    /// Its entry point, instead of the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)), extend("x-kubernetes-list-type" = "atomic"))]
    pub command: Vec<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 4096)), extend("x-kubernetes-list-type" = "atomic"))]
    pub args: Vec<String>,
    /// Port it listens on.
    #[serde(default = "port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Path of the requests.
    #[serde(default = "path")]
    #[schemars(length(max = 1024), regex(pattern = "^/[^\\s]*$"))]
    pub path: String,
    /// Its variables, as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "pod::named_list")]
    pub env: Vec<Opaque>,
    /// Secrets and ConfigMaps whose keys become variables, as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "pod::opaque_list")]
    pub env_from: Vec<Opaque>,
    /// What it needs and may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<pod::ResourcesSpec>,
    /// When it is ready, as in a pod. Absent: when it accepts connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod::opaque")]
    pub readiness_probe: Option<Opaque>,
    /// When it must be restarted, as in a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod::opaque")]
    pub liveness_probe: Option<Opaque>,
    /// When it has started, as in a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod::opaque")]
    pub startup_probe: Option<Opaque>,
    /// Where pod.volumes are mounted in it, as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "pod::mount_list")]
    pub volume_mounts: Vec<Opaque>,
    /// Its rights, as in a pod. It is never privileged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod::security_context")]
    pub security_context: Option<Opaque>,
}

fn port() -> u16 {
    8080
}

fn path() -> String {
    "/".to_owned()
}

/// Child processes that stay, and read records as JSON lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecHandlerSpec {
    /// The program and its arguments.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 4096)),
        extend("x-kubernetes-list-type" = "atomic"))]
    pub command: Vec<String>,
    /// Further arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 4096)), extend("x-kubernetes-list-type" = "atomic"))]
    pub args: Vec<String>,
    /// Variables added to its environment. Secrets don't belong here: mount them with pod.volumes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub env: BTreeMap<String, String>,
    /// Directory it runs in. Absent: the worker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub working_directory: Option<String>,
    /// How many run. Absent: as many as records are executed at a time, at most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub processes: Option<u32>,
    /// Records one process holds at a time. With processes set, a record goes to the process that holds the fewest.
    #[serde(default = "records_per_process")]
    #[schemars(range(min = 1, max = 1024))]
    pub records_per_process: u32,
}

fn records_per_process() -> u32 {
    1
}

/// Something that Keyweir does itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = builtin_rules()))]
pub struct BuiltinHandlerSpec {
    /// What it does.
    #[serde(rename = "type")]
    pub kind: BuiltinType,
    /// For Delay: how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("0s", "24h")))]
    pub delay: Option<DurationText>,
    /// For Map: what of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<MapSpec>,
    /// For Fail: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail: Option<FailSpec>,
}

fn builtin_rules() -> Value {
    json!([
        rule(
            "(self.type == 'Delay') == has(self.delay)",
            "set delay together with type: Delay, and only then"
        ),
        rule("(self.type == 'Map') == has(self.map)", "set map together with type: Map, and only then"),
        rule("self.type == 'Fail' || !has(self.fail)", "remove fail, or set type: Fail"),
    ])
}

/// What a builtin handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BuiltinType {
    /// Replies with the record's value.
    Echo,
    /// Nothing.
    Drop,
    /// Waits.
    Delay,
    /// Sends what an expression makes of the record to an output.
    Map,
    /// Fails.
    Fail,
}

/// A small expression and where its value goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MapSpec {
    /// The expression.
    #[schemars(length(min = 1, max = 4096))]
    pub expression: String,
    /// Name of one of the outputs.
    pub output: LocalName,
}

/// How it fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailSpec {
    /// The reason it gives.
    #[serde(default = "fail_reason")]
    #[schemars(length(min = 1, max = 128))]
    pub reason: String,
    /// Attempts that fail before one succeeds. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub attempts: Option<u32>,
}

fn fail_reason() -> String {
    "Requested".to_owned()
}

/// A handler compiled into a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NativeHandlerSpec {
    /// The name it was registered under.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
}

/// How handlers are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule(
    "!has(self.heartbeat) || !has(self.timeout) || self.heartbeat == '' || self.timeout == 'None' || \
     duration(self.heartbeat) < duration(self.timeout)",
    "heartbeat must be below timeout, or set timeout: None",
)]))]
pub struct HandlerOptionsSpec {
    /// How long an attempt may take, or None.
    #[serde(default = "timeout")]
    #[schemars(extend("x-kubernetes-validations" = rules::between_or_none("1ms", "24h")))]
    pub timeout: DurationOrNone,
    /// The handler promises a sign of life this often; three missed and it is stuck. Empty: no promise.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = rules::between_or_empty("100ms", "1h")))]
    pub heartbeat: DurationOrEmpty,
    /// How large an answer may be.
    #[serde(default = "max_response_bytes")]
    #[schemars(extend("x-kubernetes-validations" = rules::sized("1Ki", "1Gi")))]
    pub max_response_bytes: BytesText,
    /// Records of different keys asked about together, for http and container handlers. Absent: one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchSpec>,
}

fn timeout() -> DurationOrNone {
    "5m".into()
}

fn max_response_bytes() -> BytesText {
    "1Mi".into()
}

impl Default for HandlerOptionsSpec {
    fn default() -> Self {
        Self {
            timeout: timeout(),
            heartbeat: DurationOrEmpty::default(),
            max_response_bytes: max_response_bytes(),
            batch: None,
        }
    }
}

/// When a batch is sent: at either bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchSpec {
    /// Records in it.
    #[serde(default = "max_records")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_records: u32,
    /// Time since its first record.
    #[serde(default = "linger")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("0s", "1m")))]
    pub linger: DurationText,
}

fn max_records() -> u32 {
    100
}

fn linger() -> DurationText {
    "5ms".into()
}

/// A handler of its own for some records. The first route that fits has a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("has(self.topics) || has(self.recordTypes)", "say which records: set topics, recordTypes or both"),
    rule("!has(self.handler.container)", "a route can't bring a container: use http, exec, builtin or native"),
]))]
pub struct RouteSpec {
    /// Its name, in metrics and logs.
    pub name: LocalName,
    /// Records of these topics. Absent: of any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub topics: Vec<TopicName>,
    /// Records of these types. Absent: of any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set"))]
    pub record_types: Vec<String>,
    /// Who handles them.
    pub handler: HandlerSpec,
}

/// A topic that handlers write to by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputSpec {
    /// The name handlers use.
    pub name: LocalName,
    /// A topic of the source's broker or log.
    pub kafka: OutputTopicSpec,
}

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputTopicSpec {
    /// The topic.
    pub topic: TopicName,
    /// How the topic is made where it is missing. Absent: it must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<ProvisionSpec>,
}
