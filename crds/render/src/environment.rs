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
    /// The Secret by which members of one object recognise each other; `None` = they don't speak to each other.
    pub wire_secret: Option<String>,
    /// A pod or a laptop.
    pub place: Place,
}

/// The key of [`Environment::wire_secret`].
pub const WIRE_KEY: &str = "secret";

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
        Self {
            config_maps: secrets.clone(),
            secrets,
            coordination: None,
            wire_secret: None,
            place: Place::Local(local),
        }
    }

    /// What `keyweir run` was told; `None` = this is a pod.
    pub fn as_local(&self) -> Option<&Local> {
        match &self.place {
            Place::Local(local) => Some(local),
            Place::Cluster => None,
        }
    }
}
