//! References to Secrets and ConfigMaps. A secret never stands in an object, only its name and key do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    quantities::{DataKey, ObjectName},
    rules,
};

/// One key of a Secret or ConfigMap in the object's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap.
    pub name: ObjectName,
    /// Key in it.
    pub key: DataKey,
}

/// Where a PEM bundle of authorities lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::exactly_one(&["secretKeyRef", "configMapKeyRef"])]))]
pub struct BundleRef {
    /// In a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// In a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A client certificate and its key, both in one Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRef {
    /// Name of the Secret.
    pub secret_name: ObjectName,
    /// Key of the certificate chain, PEM.
    #[serde(default = "tls_crt")]
    pub cert_key: DataKey,
    /// Key of the private key, PEM.
    #[serde(default = "tls_key")]
    pub key_key: DataKey,
}

fn tls_crt() -> DataKey {
    "tls.crt".into()
}

fn tls_key() -> DataKey {
    "tls.key".into()
}
