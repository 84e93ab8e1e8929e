//! How a broker or an etcd is reached: TLS and login, by reference.

use keyweir_contract::endpoints::SaslMechanism;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::refs::{BundleRef, CertificateRef, KeyRef};

/// TLS towards a server. Empty: TLS with the system's authorities.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// Authorities to trust. Absent: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<BundleRef>,
    /// Certificate to show when the server asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateRef>,
}

/// Login at a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SaslSpec {
    /// How the password is proven. PLAIN sends it as it is: use it inside TLS only.
    pub mechanism: SaslMechanism,
    /// User name.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// Where the password lies.
    pub password_secret_key_ref: KeyRef,
}

/// Login at an etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EtcdAuthSpec {
    /// User name.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// Where the password lies.
    pub password_secret_key_ref: KeyRef,
}
