//! The part of a pod that a user may shape. A short list, not a PodSpec: a definition that embeds one is too
//! large for a client-side apply. What is opaque here is checked by the API server when the operator applies it.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    quantities::{BytesOrEmpty, DurationOrEmpty, ObjectName},
    rules::{self, rule},
    words,
};

/// A part that is handed to the pod as it is.
pub type Opaque = serde_json::Map<String, Value>;

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// Each time.
    Always,
    /// When it is not there.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// The worker itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSpec {
    /// An image of your own, for exec and native handlers. Empty: the installation's.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub image: String,
    /// When the image is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// A worker this old, give or take a tenth, drains and is replaced. Empty: it stays.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = rules::between_or_empty("1m", "8760h")))]
    pub max_lifetime: DurationOrEmpty,
    /// A worker whose process holds more memory than this drains and is started anew. Empty: it stays.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = rules::sized_or_empty("64Mi", "1Ti")))]
    pub max_memory: BytesOrEmpty,
}

/// What a user may shape of the workers' pods.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Labels and annotations added to the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodMetadataSpec>,
    /// ServiceAccount. Absent: one without rights, made by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<ObjectName>,
    /// Secrets for pulling images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<NameRef>,
    /// Priority class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<ObjectName>,
    /// What the worker needs and may use. Absent: requests of 250m and 256Mi, a limit of 512Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
    /// Labels of the nodes to run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// As in a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub affinity: Option<Opaque>,
    /// As in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "opaque_list")]
    pub tolerations: Vec<Opaque>,
    /// As in a pod. Absent: spread over nodes and zones where possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "opaque_list")]
    pub topology_spread_constraints: Vec<Opaque>,
    /// Variables of the worker and its exec children, as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "named_list")]
    pub env: Vec<Opaque>,
    /// As in a pod; never hostPath.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "volume_list")]
    pub volumes: Vec<Opaque>,
    /// Where volumes are mounted in the worker, as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "mount_list")]
    pub volume_mounts: Vec<Opaque>,
}

/// Labels and annotations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadataSpec {
    /// Labels; those under keyweir.io and app.kubernetes.io are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "x-kubernetes-validations" = [rule(
        "self.all(name, !name.startsWith('keyweir.io/') && !name.startsWith('app.kubernetes.io/'))",
        "remove labels under keyweir.io/ and app.kubernetes.io/: the operator sets them",
    )]))]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// The name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameRef {
    /// The name.
    pub name: ObjectName,
}

/// What a container needs and may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesSpec {
    /// What it is promised.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, Amount>,
    /// What it may use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, Amount>,
}

/// An amount of a resource, such as `250m`, `2` or `512Mi`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(IntOrString);

impl Amount {
    /// The amount as text.
    pub fn text(&self) -> String {
        match &self.0 {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(text) => text.clone(),
        }
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": words::QUANTITY
        })
    }
}

/// Schema of a part that is handed on as it is.
pub(crate) fn opaque(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn list_of(properties: &Value, rules: &Value) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": properties,
            "x-kubernetes-validations": rules,
        }
    })
}

/// Schema of a list of such parts.
pub(crate) fn opaque_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "atomic",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    })
}

/// Schema of a list of such parts that have names.
pub(crate) fn named_list(_: &mut SchemaGenerator) -> Schema {
    list_of(
        &json!({"name": {"type": "string", "maxLength": 253, "description": "Its name."}}),
        &json!([rule("has(self.name)", "every variable needs a name: add name")]),
    )
}

/// Schema of volume mounts.
pub(crate) fn mount_list(_: &mut SchemaGenerator) -> Schema {
    list_of(
        &json!({
            "name": {"type": "string", "maxLength": 253, "description": "Name of one of pod.volumes."},
            "mountPath": {"type": "string", "maxLength": 1024, "description": "Where it is seen."},
        }),
        &json!([rule(
            "has(self.name) && has(self.mountPath)",
            "every volume mount needs name and mountPath: add them"
        )]),
    )
}

/// Schema of volumes: anything but the node's own files.
pub(crate) fn volume_list(_: &mut SchemaGenerator) -> Schema {
    let refused = json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "description": "Refused: the node's own files.",
    });
    list_of(
        &json!({"name": {"type": "string", "maxLength": 63, "description": "Its name."}, "hostPath": refused}),
        &json!([
            rule("has(self.name)", "every volume needs a name: add name"),
            rule(
                "!has(self.hostPath)",
                "hostPath is refused: use a persistentVolumeClaim, emptyDir, secret or configMap"
            ),
        ]),
    )
}

/// Schema of a container's rights: anything but privilege.
pub(crate) fn security_context(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "privileged": {"type": "boolean", "description": "Refused when true."},
            "allowPrivilegeEscalation": {"type": "boolean", "description": "Refused when true."},
        },
        "x-kubernetes-validations": [
            rule(
                "!(has(self.privileged) && self.privileged) && \
                 !(has(self.allowPrivilegeEscalation) && self.allowPrivilegeEscalation)",
                "privileged containers are refused: remove privileged and allowPrivilegeEscalation",
            ),
        ],
    })
}
