//! Secrets and ConfigMaps that an object names, as files in its pods. The operator itself never reads them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount};

/// Below this directory each Secret has a directory of its name, with a file for each key that is used.
pub const SECRETS: &str = "/etc/keyweir/secrets";
/// The same for ConfigMaps.
pub const CONFIG_MAPS: &str = "/etc/keyweir/config-maps";

/// Owner and group may read: the group is the pod's `fsGroup`.
const READ_ONLY: i32 = 0o440;

/// Which keys of which Secrets and ConfigMaps an object uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    secrets: BTreeMap<String, BTreeSet<String>>,
    config_maps: BTreeMap<String, BTreeSet<String>>,
}

impl Files {
    /// Uses a key of a Secret.
    pub fn secret(&mut self, name: &str, key: &str) {
        self.secrets.entry(name.to_owned()).or_default().insert(key.to_owned());
    }

    /// Uses a key of a ConfigMap.
    pub fn config_map(&mut self, name: &str, key: &str) {
        self.config_maps.entry(name.to_owned()).or_default().insert(key.to_owned());
    }

    /// Uses what others use, too.
    pub fn extend(&mut self, others: &Self) {
        for (mine, theirs) in
            [(&mut self.secrets, &others.secrets), (&mut self.config_maps, &others.config_maps)]
        {
            for (name, keys) in theirs {
                mine.entry(name.clone()).or_default().extend(keys.iter().cloned());
            }
        }
    }

    /// One volume each. A missing one doesn't keep the pod from starting: the worker says what is missing, and
    /// takes it up when it appears.
    pub fn volumes(&self) -> Vec<Volume> {
        let secrets = self.secrets.iter().enumerate().map(|(number, (name, keys))| Volume {
            name: format!("secret-{number}"),
            secret: Some(SecretVolumeSource {
                secret_name: Some(name.clone()),
                items: Some(items(keys)),
                default_mode: Some(READ_ONLY),
                optional: Some(true),
            }),
            ..Volume::default()
        });
        let config_maps = self.config_maps.iter().enumerate().map(|(number, (name, keys))| Volume {
            name: format!("config-map-{number}"),
            config_map: Some(ConfigMapVolumeSource {
                name: name.clone(),
                items: Some(items(keys)),
                default_mode: Some(READ_ONLY),
                optional: Some(true),
            }),
            ..Volume::default()
        });
        secrets.chain(config_maps).collect()
    }

    /// Where they are mounted.
    pub fn mounts(&self) -> Vec<VolumeMount> {
        let at = |number: usize, sort: &str, root: &str, name: &str| VolumeMount {
            name: format!("{sort}-{number}"),
            mount_path: format!("{root}/{name}"),
            read_only: Some(true),
            ..VolumeMount::default()
        };
        let secrets =
            self.secrets.keys().enumerate().map(|(number, name)| at(number, "secret", SECRETS, name));
        let config_maps = self
            .config_maps
            .keys()
            .enumerate()
            .map(|(number, name)| at(number, "config-map", CONFIG_MAPS, name));
        secrets.chain(config_maps).collect()
    }
}

fn items(keys: &BTreeSet<String>) -> Vec<KeyToPath> {
    keys.iter().map(|key| KeyToPath { key: key.clone(), path: key.clone(), mode: None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_is_one_volume_with_the_keys_that_are_used() {
        let mut files = Files::default();
        files.secret("orders", "user.crt");
        files.secret("orders", "user.key");
        files.secret("kafka-ca", "ca.crt");
        files.config_map("etcd-ca", "ca.crt");
        let paths: Vec<_> = files.mounts().into_iter().map(|mount| (mount.name, mount.mount_path)).collect();
        assert_eq!(
            paths,
            [
                ("secret-0".to_owned(), "/etc/keyweir/secrets/kafka-ca".to_owned()),
                ("secret-1".to_owned(), "/etc/keyweir/secrets/orders".to_owned()),
                ("config-map-0".to_owned(), "/etc/keyweir/config-maps/etcd-ca".to_owned()),
            ]
        );
        let volumes = files.volumes();
        let orders = volumes[1].secret.as_ref().expect("a secret volume");
        assert_eq!(orders.items.as_ref().map(Vec::len), Some(2));
        assert!(
            volumes
                .iter()
                .take(2)
                .all(|volume| { volume.secret.as_ref().is_some_and(|secret| secret.optional == Some(true)) })
        );
    }
}
