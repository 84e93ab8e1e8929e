//! `EmbeddedSource`: which partitions there are, where they begin and end; records that are wanted again.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::{Offset, ShardId};
use keyweir_engine::ports::{
    Bounds, Identity, Mirror, MirrorState, Recall, Recalled, Source, SourceError, StartAt, Wanted,
};

use crate::log::read::{self, Sought};
use crate::log::topic::{Topic, View};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::writer::Followed;

/// The cold half of a source over topics of the log. It mirrors nothing: no other tool reads this log.
#[derive(Clone, Debug)]
pub struct EmbeddedSource {
    topics: Vec<String>,
    cluster_id: Arc<str>,
    followed: Followed,
}

impl EmbeddedSource {
    pub(crate) fn new(topics: Vec<String>, cluster_id: Arc<str>, followed: Followed) -> Self {
        Self { topics, cluster_id, followed }
    }

    fn view(&self) -> Arc<View> {
        self.followed.view.borrow().clone()
    }
}

/// A topic and the store that it lies in.
pub(crate) fn find(view: &View, topic: &str) -> Result<(Arc<Store>, Arc<Topic>), SourceError> {
    let Some(store) = &view.store else { return Err(away(topic)) };
    let found =
        view.topics.get(topic).ok_or_else(|| SourceError::Missing { what: format!("topic {topic}") })?;
    Ok((store.clone(), found.clone()))
}

/// The partition of a shard.
pub(crate) fn find_shard(view: &View, shard: &ShardId) -> Result<(Arc<Store>, Arc<Topic>), SourceError> {
    let (store, topic) = find(view, &shard.stream)?;
    if shard.index >= topic.partitions() {
        return Err(SourceError::Missing { what: format!("partition {shard}") });
    }
    Ok((store, topic))
}

fn away(what: &str) -> SourceError {
    SourceError::Unreachable { what: what.to_owned(), source: Box::new(Away) }
}

/// The store failed and is being opened anew, or the data directory is closed.
#[derive(Debug, thiserror::Error)]
#[error("the data directory is away")]
struct Away;

/// Gives a failed read its meaning.
pub(crate) fn source_error(what: &ShardId, error: StoreError) -> SourceError {
    let (what, damaged) = (what.to_string(), matches!(error, StoreError::Damaged { .. }));
    let source = Box::new(error);
    if damaged { SourceError::Damaged { what, source } } else { SourceError::Unreachable { what, source } }
}

impl Recall for EmbeddedSource {
    fn recall(&self, wanted: Wanted) -> BoxFuture<'_, Result<Recalled, SourceError>> {
        crate::recall::recall(self.view(), wanted).boxed()
    }
}

impl Source for EmbeddedSource {
    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardId>, SourceError>> {
        let view = self.view();
        let shards = |name: &String| {
            let (_, topic) = find(&view, name)?;
            Ok((0..topic.partitions()).map(move |index| ShardId::new(topic.name.clone(), index)))
        };
        let shards: Result<Vec<_>, _> = self.topics.iter().map(shards).collect();
        let shards = shards.map(|topics| topics.into_iter().flatten().collect());
        async { shards }.boxed()
    }

    fn resolve<'a>(&'a self, shard: &'a ShardId, at: StartAt) -> BoxFuture<'a, Result<Offset, SourceError>> {
        async move {
            let (store, topic) = find_shard(&self.view(), shard)?;
            let bounds = topic.bounds(shard.index);
            let timestamp = match at {
                StartAt::Earliest => return Ok(bounds.first),
                StartAt::Latest => return Ok(bounds.end),
                StartAt::Timestamp(timestamp) => timestamp,
            };
            let mut from = bounds.first;
            loop {
                match read::seek(&store, &topic, shard.index, from, timestamp) {
                    Ok(Sought::At(offset)) => return Ok(offset),
                    Ok(Sought::Behind(next)) => from = next,
                    Err(error) => return Err(source_error(shard, error)),
                }
                // All of the partition may be read: in small steps, so that others on this thread have their turn.
                tokio::task::yield_now().await;
            }
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<Bounds>, SourceError>> {
        let view = self.view();
        let bounds = |shard: &ShardId| Ok(find_shard(&view, shard)?.1.bounds(shard.index));
        let bounds = shards.iter().map(bounds).collect();
        async { bounds }.boxed()
    }

    fn mirrored<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<MirrorState>, SourceError>> {
        async { Ok(vec![MirrorState::Absent; shards.len()]) }.boxed()
    }

    fn mirror(&self, _: Vec<Mirror>) -> BoxFuture<'_, Result<(), SourceError>> {
        async { Ok(()) }.boxed()
    }

    fn identity<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Identity, SourceError>> {
        let found = find(&self.view(), stream);
        let identity = found.map(|(_, topic)| Identity {
            cluster: Some(self.cluster_id.to_string()),
            stream: Some(topic.row.id.to_string()),
        });
        async { identity }.boxed()
    }
}
