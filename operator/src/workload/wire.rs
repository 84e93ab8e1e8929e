//! The Secret by which the workers of one object recognise each other, where keys are routed.
//!
//! It is made once and never read, changed or removed by the operator, which may do nothing else with Secrets; it goes with
//! its owner. What is in it is drawn when it is made: [`crate::cluster::apply`].

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use crate::cluster::{names::ChildName, owner::Owner};

/// Its name.
pub fn secret_name(child: &ChildName) -> String {
    format!("{child}-wire")
}

/// The Secret, still without what it keeps.
pub fn secret(owner: &Owner) -> Secret {
    Secret {
        metadata: ObjectMeta { name: Some(secret_name(&owner.child)), ..owner.metadata() },
        immutable: Some(true),
        ..Secret::default()
    }
}
