//! The ConfigMap by which workers are told what to do. Workers read it again whenever it changes.

use k8s_openapi::api::core::v1::ConfigMap;

use crate::cluster::owner::Owner;

/// The key of the configuration, and so the file's name in the pod.
pub const FILE: &str = "worker.json";

/// The ConfigMap with that configuration.
pub fn config_map(owner: &Owner, configuration: String) -> ConfigMap {
    ConfigMap {
        metadata: owner.metadata(),
        data: Some([(FILE.to_owned(), configuration)].into()),
        ..ConfigMap::default()
    }
}
