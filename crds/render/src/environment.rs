//! Where an object is to run, and what that place gives.

use std::path::PathBuf;

use keyweir_contract::source::EtcdCoordination;

/// Where an object is to run, and what that place gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Directory with `<name>/<key>` for each Secret.
    pub secrets: PathBuf,
    /// The same for ConfigMaps.
    pub config_maps: PathBuf,
    /// Where members meet unless the object says otherwise; `None` = nowhere.
    pub coordination: Option<EtcdCoordination>,
    /// A pod or a laptop.
    pub place: Place,
}

/// A pod or a laptop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A pod made by the operator.
    Cluster,
    /// `keyweir run`.
    Local(Local),
}

/// What `keyweir run` was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Replace Kafka by the embedded log.
    pub embedded: bool,
    /// The data directory.
    pub data: Option<PathBuf>,
    /// Where container and http handlers are reached.
    pub handler_url: Option<String>,
    /// Where every step of every record is written.
    pub event_log: Option<PathBuf>,
}

impl Environment {
    /// A laptop.
    pub fn local(secrets: PathBuf, local: Local) -> Self {
        Self { config_maps: secrets.clone(), secrets, coordination: None, place: Place::Local(local) }
    }

    /// What `keyweir run` was told; `None` = this is a pod.
    pub fn as_local(&self) -> Option<&Local> {
        match &self.place {
            Place::Local(local) => Some(local),
            Place::Cluster => None,
        }
    }
}
