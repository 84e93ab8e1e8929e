//! The only file that writes status: server-side apply on the status subresource.

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    api::{DynamicObject, Patch, PatchParams},
    core::ApiResource,
};
use serde::Serialize;
use serde_json::json;
use thiserror::Error;

use super::{FIELD_MANAGER, owner::Owner};

/// A status could not be written.
#[derive(Debug, Error)]
#[error("failed to write the status of {kind} {name}")]
pub struct StatusError {
    kind: String,
    name: String,
    #[source]
    source: kube::Error,
}

impl StatusError {
    /// The API server's own answer.
    pub fn source_error(&self) -> &kube::Error {
        &self.source
    }
}

/// Makes `status` the status of the object `name`, which is the very one that `owner` was read from.
///
/// The uid goes along, so that a status never lands on a later object of the same name.
pub async fn publish<K>(
    client: &Client,
    owner: &Owner,
    name: &str,
    status: &impl Serialize,
) -> Result<(), StatusError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": owner.uid()},
        "status": status,
    });
    // The answer is not read as a K: an object that can't be read can be told so.
    Api::<DynamicObject>::namespaced_with(client.clone(), &owner.namespace, &ApiResource::erase::<K>(&()))
        .patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch))
        .await
        .map(|_| ())
        .map_err(|source| StatusError { kind: K::kind(&()).into_owned(), name: name.to_owned(), source })
}
