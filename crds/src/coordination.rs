//! Where the members of one object meet.

use keyweir_contract::source::Placement;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    connection::{EtcdAuthSpec, TlsSpec},
    quantities::{DurationText, HttpUrl},
    rules::{self, rule},
};

/// Where members meet and keep their checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("self.type == 'Etcd' || !has(self.etcd)", "remove etcd, or set type: Etcd"),
    rule(
        "self.type == 'Etcd' || self.placement == 'Dynamic'",
        "placement: Static needs a place for fences and checkpoints: set type: Etcd, or remove placement",
    ),
]))]
pub struct CoordinationSpec {
    /// Etcd: any number of members. None: one at most, its checkpoints in the data directory or the group's offsets.
    #[serde(rename = "type")]
    pub kind: CoordinationType,
    /// Which etcd. Absent: the installation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdCoordinationSpec>,
    /// How long a silent member counts as alive.
    #[serde(rename = "memberTTL", default = "member_ttl")]
    #[schemars(extend("x-kubernetes-validations" = rules::between("2s", "5m")))]
    pub member_ttl: DurationText,
    /// Dynamic: live workers share the shards and take over from each other. Static: the workers are a StatefulSet, each
    /// shard belongs to one ordinal and waits for it while it is away; only a change of replicas moves shards.
    #[serde(default)]
    pub placement: Placement,
}

fn member_ttl() -> DurationText {
    "5s".into()
}

/// What members use to agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CoordinationType {
    /// Keys under leases.
    Etcd,
    /// Nothing: there is one member.
    None,
}

/// An etcd and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::one_scheme()]))]
pub struct EtcdCoordinationSpec {
    /// URLs of the servers.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub endpoints: Vec<HttpUrl>,
    /// What all keys begin with.
    #[serde(default = "prefix")]
    #[schemars(length(max = 128), regex(pattern = "^(/[a-zA-Z0-9._-]+)+$"))]
    pub prefix: String,
    /// Authorities and client certificate, for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Login. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<EtcdAuthSpec>,
}

/// What all keys begin with unless someone says otherwise.
pub fn prefix() -> String {
    "/keyweir".to_owned()
}
