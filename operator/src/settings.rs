//! The installation: what the command line and the defaults' file say, ready to use.

use std::{io, path::PathBuf};

use k8s_openapi::{NamespaceResourceScope, api::networking::v1::NetworkPolicyPeer};
use keyweir_crds::coordination::CoordinationSpec;
use kube::{Api, Client, Resource};
use serde::Deserialize;
use thiserror::Error;

use crate::args::Args;

/// Why the installation's settings can't be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The defaults' file can't be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The defaults' file is not what it should be.
    #[error("failed to parse {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
}

/// The installation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The class of objects that it looks after; empty: those that name none.
    pub class: String,
    /// Where it looks.
    pub scope: Scope,
    /// The workers' image.
    pub worker_image: String,
    /// When that is pulled.
    pub worker_image_pull_policy: String,
    /// What objects get that don't say.
    pub defaults: Defaults,
    /// Objects whose workers are replaced at a time after an upgrade of the operator.
    pub upgrade_limit: u16,
    /// The name of this replica.
    pub instance: Option<String>,
    /// The Lease by which replicas choose the one that leads.
    pub lease: Option<String>,
}

/// What objects get that don't say.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Defaults {
    /// Where members meet. Absent: nowhere, and every object is one worker at most.
    #[serde(default)]
    pub coordination: Option<CoordinationSpec>,
    /// Who may reach what the operator makes. Absent: everybody.
    #[serde(default)]
    pub network_policy: Option<NetworkPolicyDefaults>,
}

/// Who may reach what the operator makes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPolicyDefaults {
    /// Those who may ask for health, metrics and lag.
    pub from: Vec<NetworkPolicyPeer>,
}

/// The namespaces that are looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All.
    Cluster,
    /// These.
    Namespaces(Vec<String>),
}

impl Scope {
    /// What reaches the objects of a kind in these namespaces.
    pub fn apis<K>(&self, client: &Client) -> Vec<Api<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::Cluster => vec![Api::all(client.clone())],
            Self::Namespaces(names) => {
                names.iter().map(|name| Api::namespaced(client.clone(), name)).collect()
            }
        }
    }
}

impl Settings {
    /// Reads what the arguments point at.
    pub fn load(args: &Args) -> Result<Self, SettingsError> {
        let defaults = args.defaults.as_ref().map(read).transpose()?.unwrap_or_default();
        let scope = if args.namespaces.is_empty() {
            Scope::Cluster
        } else {
            Scope::Namespaces(args.namespaces.clone())
        };
        Ok(Self {
            class: args.class.clone(),
            scope,
            worker_image: args.worker_image.clone(),
            worker_image_pull_policy: args.worker_image_pull_policy.clone(),
            defaults,
            upgrade_limit: args.upgrade_limit,
            instance: args.instance.clone(),
            lease: args.lease.clone(),
        })
    }
}

fn read(path: &PathBuf) -> Result<Defaults, SettingsError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.clone(), source })?;
    serde_saphyr::from_str(&text)
        .map_err(|source| SettingsError::Parse { path: path.clone(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_written_as_in_an_object() {
        let text = "coordination: {type: Etcd, etcd: {endpoints: ['http://etcd:2379']}}";
        let defaults: Defaults = serde_saphyr::from_str(text).expect("the text is right");
        let etcd = defaults.coordination.and_then(|coordination| coordination.etcd).expect("an etcd");
        assert_eq!(etcd.prefix, "/keyweir");
        assert!(serde_saphyr::from_str::<Defaults>("cordination: {}").is_err());
    }
}
