//! What every controller needs: its streams of triggers, and a guard against objects that can't be read.
//!
//! Watches carry metadata only. So an object of whatever content never stops them, and three thousand objects
//! cost little memory; the one object that is reconciled is read whole, then.

pub mod first_pass;
pub mod stream_consumer;
pub mod upgrades;

use std::{fmt::Debug, future::ready, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt, predicates,
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    cluster::labels::selecting, context::Context, metrics::Metrics, registry::Name, settings::Scope,
};

/// A watch that breaks again within this time does so without another line in the log.
const QUIET: Duration = Duration::from_secs(60);

/// Objects that a list brings at a time: a page is held as text and as data.
const PAGE: u32 = 100;

/// An object as it is stored, read as a `K` if it is one.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored<K> {
    /// It is gone.
    Gone,
    /// It is not what this version of the operator understands.
    Unreadable {
        /// What the parser says.
        problem: String,
    },
    /// It is there.
    Readable(Box<K>),
}

/// Reads one object whole. What can't be parsed is an answer, not an error.
pub async fn read<K>(client: &Client, namespace: &str, name: &str) -> Result<Stored<K>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
{
    let path = format!("{}/{name}", K::url_path(&(), Some(namespace)));
    let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    let value: Value = match client.request(request).await {
        Ok(value) => value,
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(Stored::Gone),
        Err(error) => return Err(error),
    };
    Ok(match serde_json::from_value(value) {
        Ok(object) => Stored::Readable(Box::new(object)),
        Err(error) => Stored::Unreadable { problem: error.to_string() },
    })
}

/// The metadata of a kind as it changes, in all namespaces that are looked after, for ever.
///
/// A watch that breaks begins anew after a growing pause; it is counted and logged, and disturbs no other.
pub fn watch<K>(
    client: &Client,
    scope: &Scope,
    config: watcher::Config,
    metrics: &Metrics,
) -> impl Stream<Item = watcher::Event<PartialObjectMeta<K>>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let streams: Vec<_> = scope
        .apis::<PartialObjectMeta<K>>(client)
        .into_iter()
        .map(|api| watcher(api, config.clone().page_size(PAGE)).default_backoff().boxed())
        .collect();
    let metrics = metrics.clone();
    let mut told: Option<Instant> = None;
    stream::select_all(streams).filter_map(move |event| {
        let event = event.map_err(|error| {
            metrics.watch_broke(K::kind(&()).into_owned());
            // One that can't begin at all, for want of a definition say, breaks again every second.
            if told.is_none_or(|told| told.elapsed() > QUIET) {
                told = Some(Instant::now());
                warn!(kind = %K::kind(&()), %error, "a watch broke");
            }
        });
        ready(event.ok())
    })
}

/// The objects of a kind that the operator made, whenever they change, without what nobody looks at.
pub fn watch_made<K>(
    ctx: &Arc<Context>,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    // Meters are looked after elsewhere.
    let ours = watcher::Config::default().labels(&selecting(stream_consumer::KIND));
    let (noticing, queued) = (Arc::clone(ctx), Arc::clone(ctx));
    watch::<K>(&ctx.client, &ctx.settings.scope, ours, &ctx.metrics)
        .inspect(move |event| noticing.memory.saw(event))
        .map(Ok)
        .touched_objects()
        .predicate_filter(predicates::resource_version, Default::default())
        .inspect(move |made| {
            let owner = made.as_ref().ok().and_then(|made| made.owner_references().first());
            if let (Some(owner), Ok(made)) = (owner, made) {
                let namespace = made.namespace().unwrap_or_default();
                queued.queue.enter(Name { namespace, name: owner.name.clone() });
            }
        })
}

/// Drops from a cached object's metadata what takes most of its room and is never read.
pub fn slim<K: Resource>(object: &mut K) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    metadata.labels = None;
    metadata.owner_references = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| name == crate::workload::pod::RESTARTED_AT);
    }
}

/// A short way to name an object in logs.
pub fn name_of<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
