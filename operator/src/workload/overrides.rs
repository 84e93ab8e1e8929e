//! What a user says about pods, read from the opaque parts of a spec into what the API server takes.
//!
//! The schema hands those parts on unread. Here they are read strictly: a field that nobody knows is a mistake,
//! not something to drop in silence.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, EnvVar, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
        Volume, VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use keyweir_crds::pod::{Amount, ImagePullPolicy, Opaque, PodMetadataSpec, PodSpec, ResourcesSpec};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;

/// A part of a pod that the API server would not take.
#[derive(Debug, Error)]
pub enum OverrideError {
    /// It does not have the shape of what it should be.
    #[error("failed to read {field} as a {kind}: {cause}")]
    Shape {
        /// Where it stands.
        field: String,
        /// What it should be.
        kind: &'static str,
        /// What the parser found, for the user to see.
        cause: String,
    },
    /// It has a field that such a thing does not have.
    #[error("failed to read {field}: a {kind} has no field {unknown}")]
    Unknown {
        /// Where it stands.
        field: String,
        /// What it should be.
        kind: &'static str,
        /// The field.
        unknown: String,
    },
}

/// What a user says about pods, readable.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides {
    /// Labels and annotations to add.
    pub metadata: PodMetadataSpec,
    /// Another account.
    pub service_account_name: Option<String>,
    /// Secrets for pulling images.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Priority class.
    pub priority_class_name: Option<String>,
    /// The worker's resources.
    pub resources: Option<ResourceRequirements>,
    /// Labels of nodes.
    pub node_selector: Vec<(String, String)>,
    /// Affinity.
    pub affinity: Option<Affinity>,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// How pods spread.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The worker's variables.
    pub env: Vec<EnvVar>,
    /// Volumes to add.
    pub volumes: Vec<Volume>,
    /// The worker's mounts.
    pub volume_mounts: Vec<VolumeMount>,
}

impl Overrides {
    /// Reads the part of a spec that stands at `pod`.
    pub fn read(pod: &PodSpec) -> Result<Self, OverrideError> {
        Ok(Self {
            metadata: pod.metadata.clone().unwrap_or_default(),
            service_account_name: pod.service_account_name.as_ref().map(|name| name.as_str().to_owned()),
            image_pull_secrets: pod
                .image_pull_secrets
                .iter()
                .map(|secret| LocalObjectReference { name: secret.name.as_str().to_owned() })
                .collect(),
            priority_class_name: pod.priority_class_name.as_ref().map(|name| name.as_str().to_owned()),
            resources: pod.resources.as_ref().map(resources),
            node_selector: pod.node_selector.clone().into_iter().collect(),
            affinity: pod
                .affinity
                .as_ref()
                .map(|part| one("pod.affinity".to_owned(), "Affinity", part))
                .transpose()?,
            tolerations: list("pod.tolerations", "Toleration", &pod.tolerations)?,
            topology_spread_constraints: list(
                "pod.topologySpreadConstraints",
                "TopologySpreadConstraint",
                &pod.topology_spread_constraints,
            )?,
            env: list("pod.env", "EnvVar", &pod.env)?,
            volumes: list("pod.volumes", "Volume", &pod.volumes)?,
            volume_mounts: list("pod.volumeMounts", "VolumeMount", &pod.volume_mounts)?,
        })
    }
}

/// Requests and limits as a container has them.
pub fn resources(spec: &ResourcesSpec) -> ResourceRequirements {
    let amounts = |of: &BTreeMap<String, Amount>| {
        (!of.is_empty())
            .then(|| of.iter().map(|(name, amount)| (name.clone(), Quantity(amount.text()))).collect())
    };
    ResourceRequirements {
        requests: amounts(&spec.requests),
        limits: amounts(&spec.limits),
        ..ResourceRequirements::default()
    }
}

/// The word that a container has for it.
pub fn pull_policy(policy: ImagePullPolicy) -> String {
    match policy {
        ImagePullPolicy::Always => "Always",
        ImagePullPolicy::IfNotPresent => "IfNotPresent",
        ImagePullPolicy::Never => "Never",
    }
    .to_owned()
}

/// Reads each part of a list.
pub fn list<T>(field: &str, kind: &'static str, parts: &[Opaque]) -> Result<Vec<T>, OverrideError>
where
    T: DeserializeOwned + Serialize,
{
    parts.iter().enumerate().map(|(position, part)| one(format!("{field}[{position}]"), kind, part)).collect()
}

/// Reads one part, and makes sure that nothing of it was left unread.
pub fn one<T>(field: String, kind: &'static str, part: &Opaque) -> Result<T, OverrideError>
where
    T: DeserializeOwned + Serialize,
{
    let given = Value::Object(part.clone());
    let shape = |error: serde_json::Error| OverrideError::Shape {
        field: field.clone(),
        kind,
        cause: error.to_string(),
    };
    let read: T = serde_json::from_value(given.clone()).map_err(shape)?;
    let kept = serde_json::to_value(&read).map_err(shape)?;
    match unread(&given, &kept, String::new()) {
        Some(unknown) => Err(OverrideError::Unknown { field, kind, unknown }),
        None => Ok(read),
    }
}

/// The path of a field of `given` that `kept` does not have.
fn unread(given: &Value, kept: &Value, path: String) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match kept.get(name) {
                Some(kept) => unread(value, kept, path),
                // Null means absent, and an empty list or object may be left out.
                None => (!empty(value)).then_some(path),
            }
        }),
        (Value::Array(given), Value::Array(kept)) => {
            given.iter().zip(kept).find_map(|(given, kept)| unread(given, kept, path.clone()))
        }
        _ => None,
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Toleration, String> {
        let part = value.as_object().cloned().expect("an object");
        one("pod.tolerations[0]".to_owned(), "Toleration", &part).map_err(|error| error.to_string())
    }

    #[test]
    fn a_part_is_read_as_it_is() {
        let toleration = read(json!({"key": "spot", "operator": "Exists", "tolerationSeconds": 30}));
        assert_eq!(toleration.map(|read| read.toleration_seconds), Ok(Some(30)));
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = read(json!({"key": "spot", "tolerationSecond": 30}));
        assert_eq!(
            unknown.expect_err("an unknown field"),
            "failed to read pod.tolerations[0]: a Toleration has no field tolerationSecond"
        );
        let shape = read(json!({"tolerationSeconds": "soon"})).expect_err("a wrong type");
        assert!(shape.starts_with("failed to read pod.tolerations[0] as a Toleration: "), "{shape}");
    }

    #[test]
    fn an_unknown_field_deep_inside_is_found() {
        let part =
            json!({"name": "x", "configMap": {"name": "a", "items": [{"key": "k", "path": "p", "mod": 1}]}});
        let part = part.as_object().cloned().expect("an object");
        let error =
            one::<Volume>("pod.volumes[0]".to_owned(), "Volume", &part).expect_err("an unknown field");
        assert!(error.to_string().ends_with("a Volume has no field configMap.items.mod"), "{error}");
    }
}
