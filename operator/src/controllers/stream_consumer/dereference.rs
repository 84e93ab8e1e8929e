//! The only reads of a reconcile: the object itself, whole, and its pods while not all is well with them.

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use keyweir_crds::StreamConsumer;
use kube::{Api, ResourceExt, api::ListParams, core::PartialObjectMeta};

use super::{KIND, SHORT_NAME};
use crate::{
    cluster::{conditions::find, owner::Owner},
    context::Context,
    controllers::{Stored, read},
    registry::{Known, Name},
};

/// What there is to go by.
#[derive(Debug, Clone)]
pub struct Found {
    /// Who the made objects belong to.
    pub owner: Owner,
    /// The object's name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// The object, or why it can't be read.
    pub consumer: Result<Box<StreamConsumer>, String>,
    /// Its pods; empty where the last status said that all is well.
    pub pods: Vec<Pod>,
    /// What its workers last said.
    pub known: Known,
    /// The time at which this was so.
    pub now: Timestamp,
}

/// Reads what belongs to the object that was seen; `None` if it is gone, going, or somebody else's to look after.
pub async fn dereference(
    ctx: &Context,
    watched: &PartialObjectMeta<StreamConsumer>,
) -> Result<Option<Found>, kube::Error> {
    let (namespace, name) = (watched.namespace().unwrap_or_default(), watched.name_any());
    let key = Name { namespace: namespace.clone(), name: name.clone() };
    let consumer = match read::<StreamConsumer>(&ctx.client, &namespace, &name).await? {
        Stored::Gone => {
            ctx.forget(&key);
            return Ok(None);
        }
        Stored::Unreadable { problem } => Err(problem),
        Stored::Readable(consumer) => Ok(consumer),
    };
    // An object that can't be read has at least the metadata that the watch brought.
    let (metadata, ours) = match &consumer {
        Ok(consumer) => (&consumer.metadata, consumer.spec.class == ctx.settings.class),
        Err(_) => (&watched.metadata, ctx.settings.class.is_empty()),
    };
    let going = metadata.deletion_timestamp.is_some();
    let source = PartialObjectMeta::<StreamConsumer> { metadata: metadata.clone(), ..watched.clone() };
    let Some(owner) = Owner::of(&source, KIND, SHORT_NAME).filter(|_| ours && !going) else {
        ctx.forget(&key);
        return Ok(None);
    };
    let pods = if healthy(&consumer) { Vec::new() } else { pods(ctx, &owner).await? };
    Ok(Some(Found {
        known: ctx.registry.known(&key, owner.uid()),
        uid: owner.uid().to_owned(),
        generation: metadata.generation,
        owner,
        name,
        consumer,
        pods,
        now: Timestamp::now(),
    }))
}

/// Whether the last status said that the object is as it should be.
fn healthy(consumer: &Result<Box<StreamConsumer>, String>) -> bool {
    let Ok(consumer) = consumer else { return true };
    let status = consumer.status.as_ref();
    status.is_some_and(|status| {
        let ready = find(&status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
        ready && status.ready_replicas == Some(consumer.spec.replicas)
    })
}

async fn pods(ctx: &Context, owner: &Owner) -> Result<Vec<Pod>, kube::Error> {
    let api = Api::<Pod>::namespaced(ctx.client.clone(), &owner.namespace);
    // From the API server's cache: a moment old is young enough, and costs its store nothing.
    let ours = ListParams::default().labels(&owner.labels.selector_text()).match_any();
    Ok(api.list(&ours).await?.items)
}
