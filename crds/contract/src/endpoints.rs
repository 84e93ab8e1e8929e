//! How to reach a broker or an etcd. Secrets never stand here: only the paths of the files that hold them.
//!
//! The files are re-read when they change, so a rotated secret needs no new configuration.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// TLS towards a server. Present and empty means: TLS, with the system's authorities.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// PEM file of the authorities to trust; absent: the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The certificate to show, if the server asks for one.
    #[serde(default)]
    pub client: Option<ClientCertificate>,
}

impl Tls {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let client = self.client.iter().flat_map(|client| [&client.certificate, &client.key]);
        self.ca.iter().chain(client).map(PathBuf::as_path)
    }
}

/// A client certificate and its key, each a PEM file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A user name and the file that holds the password (its text, without a final newline).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PasswordLogin {
    /// The user.
    pub username: String,
    /// The file.
    pub password_file: PathBuf,
}

/// How a password is proven to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SaslMechanism {
    /// The password itself; only sensible inside TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// The name as brokers know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Who we are to a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: SaslMechanism,
    /// User and password file.
    pub login: PasswordLogin,
}

/// A Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaEndpoint {
    /// `host:port` of brokers to ask first; at least one.
    pub bootstrap_servers: Vec<String>,
    /// TLS, if the listener speaks it.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Login, if the listener asks for one.
    #[serde(default)]
    pub sasl: Option<Sasl>,
    /// Further settings of the client library. Those that Keyweir owns, and any that hold or point at
    /// secrets, were refused before they came here.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

impl KafkaEndpoint {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let password = self.sasl.iter().map(|sasl| sasl.login.password_file.as_path());
        self.tls.iter().flat_map(Tls::files).chain(password)
    }
}

/// An etcd cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdEndpoint {
    /// URLs of its servers; at least one, all `http` or all `https`.
    pub endpoints: Vec<String>,
    /// Authorities and client certificate, for `https`.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Login, where etcd's authentication is on.
    #[serde(default)]
    pub login: Option<PasswordLogin>,
}

impl EtcdEndpoint {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let password = self.login.iter().map(|login| login.password_file.as_path());
        self.tls.iter().flat_map(Tls::files).chain(password)
    }
}
