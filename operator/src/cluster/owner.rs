//! Who an object belongs to: the garbage collector removes it with its owner, and the watches find the owner by it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use super::{labels::Labels, names::ChildName};

/// The owner of the objects made in one reconcile, by everything they need to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// The namespace of the owner, and so of its objects.
    pub namespace: String,
    /// The name its objects share.
    pub child: ChildName,
    /// Their labels.
    pub labels: Labels,
    reference: OwnerReference,
}

impl Owner {
    /// Reads the owner from an object that the API server returned.
    ///
    /// `None` for an object that has no uid or no namespace: it was never stored.
    pub fn of<K: Resource<DynamicType = ()>>(
        object: &K,
        kind: &'static str,
        short_name: &str,
    ) -> Option<Self> {
        let name = object.name_any();
        Some(Self {
            namespace: object.namespace()?,
            child: ChildName::new(&name, short_name),
            labels: Labels::new(kind, &name),
            reference: object.controller_owner_ref(&())?,
        })
    }

    /// The uid that tells this owner from an earlier one of the same name.
    pub fn uid(&self) -> &str {
        &self.reference.uid
    }

    /// What names this owner among several of one object.
    pub fn reference(&self) -> OwnerReference {
        OwnerReference { controller: None, block_owner_deletion: None, ..self.reference.clone() }
    }

    /// The metadata that every object of this owner begins with.
    pub fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: (&self.child).into(),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels.all()),
            owner_references: Some(vec![self.reference.clone()]),
            ..ObjectMeta::default()
        }
    }
}
