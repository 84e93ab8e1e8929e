//! References to Secrets and ConfigMaps become paths of mounted files.

use std::path::PathBuf;

use keyweir_contract::endpoints::{ClientCertificate, PasswordLogin, Tls};
use keyweir_crds::connection::{EtcdAuthSpec, SaslSpec, TlsSpec};
use keyweir_crds::refs::KeyRef;

use crate::environment::{Environment, WIRE_KEY};

/// A file that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// The field that refers to it.
    pub field: String,
    /// Name of the Secret or ConfigMap.
    pub name: String,
    /// Key in it.
    pub key: String,
    /// Whether it is a Secret.
    pub secret: bool,
    /// Where it is mounted.
    pub path: PathBuf,
}

/// Turns references into paths and remembers which files are needed.
pub(crate) struct Files<'a> {
    environment: &'a Environment,
    needed: Vec<SecretFile>,
}

impl<'a> Files<'a> {
    pub(crate) fn new(environment: &'a Environment) -> Self {
        Self { environment, needed: Vec::new() }
    }

    pub(crate) fn needed(self) -> Vec<SecretFile> {
        self.needed
    }

    fn file(&mut self, field: &str, name: &str, key: &str, secret: bool) -> PathBuf {
        let root = if secret { &self.environment.secrets } else { &self.environment.config_maps };
        let path = root.join(name).join(key);
        let (name, key) = (name.to_owned(), key.to_owned());
        self.needed.push(SecretFile { field: field.to_owned(), name, key, secret, path: path.clone() });
        path
    }

    fn key(&mut self, field: &str, reference: &KeyRef, secret: bool) -> PathBuf {
        self.file(field, reference.name.as_str(), reference.key.as_str(), secret)
    }

    pub(crate) fn tls(&mut self, field: &str, tls: &TlsSpec) -> Tls {
        let ca = tls.ca.as_ref().and_then(|ca| {
            let secret = ca.secret_key_ref.as_ref().map(|reference| (reference, true));
            let (reference, secret) =
                secret.or(ca.config_map_key_ref.as_ref().map(|reference| (reference, false)))?;
            Some(self.key(&format!("{field}.ca"), reference, secret))
        });
        let client = tls.client_certificate.as_ref().map(|certificate| {
            let field = format!("{field}.clientCertificate");
            let name = certificate.secret_name.as_str();
            ClientCertificate {
                certificate: self.file(&field, name, certificate.cert_key.as_str(), true),
                key: self.file(&field, name, certificate.key_key.as_str(), true),
            }
        });
        Tls { ca, client }
    }

    pub(crate) fn sasl_login(&mut self, field: &str, sasl: &SaslSpec) -> PasswordLogin {
        self.login(field, &sasl.username, &sasl.password_secret_key_ref)
    }

    pub(crate) fn etcd_login(&mut self, field: &str, auth: &EtcdAuthSpec) -> PasswordLogin {
        self.login(field, &auth.username, &auth.password_secret_key_ref)
    }

    /// The secret by which members recognise each other, where there is one.
    pub(crate) fn wire(&mut self) -> Option<PathBuf> {
        let name = self.environment.wire_secret.clone()?;
        Some(self.file("spec.routing", &name, WIRE_KEY, true))
    }

    fn login(&mut self, field: &str, username: &str, reference: &KeyRef) -> PasswordLogin {
        let field = format!("{field}.passwordSecretKeyRef");
        PasswordLogin { username: username.to_owned(), password_file: self.key(&field, reference, true) }
    }
}
