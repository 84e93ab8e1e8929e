//! The only reads of a reconcile: the object itself, whole, and its pods while not all is well with them.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{Pod, PodTemplateSpec},
    },
    jiff::Timestamp,
};
use keyweir_crds::{StreamConsumer, scaling::UpgradePolicy};
use kube::{Api, ResourceExt, api::ListParams, core::PartialObjectMeta};

use super::{KIND, SHORT_NAME, conditions::condition, farewell::is_held, validate::GROUP_IN_USE};
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
    /// Whether it was deleted, and stays until it is purged.
    pub going: bool,
    /// Why it may not have its group; `None`: it may.
    pub rival: Option<String>,
    /// What an operator of another version left running.
    pub earlier: Option<Earlier>,
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
    let held = consumer.as_ref().is_ok_and(|consumer| is_held(consumer));
    let Some(owner) = Owner::of(&source, KIND, SHORT_NAME).filter(|_| ours && (!going || held)) else {
        ctx.forget(&key);
        return Ok(None);
    };
    let rival = consumer.as_ref().ok().and_then(|consumer| rival(ctx, consumer));
    if going {
        ctx.registry.forget(&key);
        ctx.meters.measure(&key, None);
    }
    let pods = if healthy(&consumer) && !going { Vec::new() } else { pods(ctx, &owner).await? };
    Ok(Some(Found {
        known: ctx.registry.known(&key, owner.uid()),
        going,
        rival,
        earlier: earlier(ctx, &key, &owner, consumer.as_deref().ok()).await?,
        uid: owner.uid().to_owned(),
        generation: metadata.generation,
        owner,
        name,
        consumer,
        pods,
        now: Timestamp::now(),
    }))
}

/// What an operator of another version left running.
#[derive(Debug, Clone, PartialEq)]
pub struct Earlier {
    /// Its version.
    pub version: String,
    /// What the pods are made from.
    pub template: PodTemplateSpec,
    /// Whether it is the object's turn to have them replaced.
    pub turn: Turn,
}

/// Whether it is an object's turn to have its workers replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is.
    Now,
    /// Others come first.
    Later,
    /// When the user says so.
    WhenAsked,
}

async fn earlier(
    ctx: &Context,
    key: &Name,
    owner: &Owner,
    consumer: Option<&StreamConsumer>,
) -> Result<Option<Earlier>, kube::Error> {
    let Some(consumer) = consumer else { return Ok(None) };
    let status = consumer.status.as_ref();
    let version = status.and_then(|status| status.worker_version.clone());
    let truth = |type_| {
        let condition = status.and_then(|status| find(&status.conditions, type_));
        condition.is_some_and(|condition| condition.status == "True")
    };
    let ready = truth(condition::READY);
    let Some(version) = version.filter(|version| version != env!("CARGO_PKG_VERSION")) else {
        // An earlier process of this version may have begun with it.
        match (ready, ctx.first_pass.is_over()) {
            (true, _) => ctx.upgrades.leave(key),
            (false, false) if truth(condition::PROGRESSING) => ctx.upgrades.is_under_way(key),
            (false, _) => {}
        }
        return Ok(None);
    };
    let Some(template) = template(ctx, owner).await? else { return Ok(None) };
    let turn = match consumer.spec.rollout.on_operator_upgrade {
        UpgradePolicy::Manual => Turn::WhenAsked,
        UpgradePolicy::Auto if ctx.first_pass.is_over() && ctx.upgrades.enter(key, ready) => Turn::Now,
        UpgradePolicy::Auto => Turn::Later,
    };
    Ok(Some(Earlier { version, template, turn }))
}

/// What the object's pods are made from.
async fn template(ctx: &Context, owner: &Owner) -> Result<Option<PodTemplateSpec>, kube::Error> {
    let (client, namespace, name) = (ctx.client.clone(), owner.namespace.as_str(), owner.child.as_str());
    if let Some(found) = Api::<Deployment>::namespaced(client.clone(), namespace).get_opt(name).await? {
        return Ok(found.spec.map(|spec| spec.template));
    }
    let found = Api::<StatefulSet>::namespaced(client, namespace).get_opt(name).await?;
    Ok(found.and_then(|found| found.spec).map(|spec| spec.template))
}

/// Why the object may not have its group. Before all objects were looked at, what was said of it counts.
fn rival(ctx: &Context, consumer: &StreamConsumer) -> Option<String> {
    if let Some(Name { namespace, name }) = ctx.claims.claim(consumer) {
        return Some(format!(
            "StreamConsumer {namespace}/{name} is older and reads with the same group: choose another source.kafka.group \
             in a new object"
        ));
    }
    let conditions =
        consumer.status.as_ref().filter(|_| !ctx.first_pass.is_over()).map(|status| &status.conditions)?;
    let accepted = find(conditions, condition::ACCEPTED)?;
    (accepted.reason == GROUP_IN_USE).then(|| accepted.message.clone())
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
