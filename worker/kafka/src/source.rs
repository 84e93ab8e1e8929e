//! `KafkaSource`: topics of a cluster as the engine's cold source.
//!
//! Says which partitions there are, where they begin and end, and keeps the group's offset as a mirror. Never
//! joins the group, never reads a record. Up: [`Source`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::checkpoint::DecodeError;
use keyweir_core::{Offset, ShardId};
use keyweir_engine::ports::{Bounds, Identity, Mirror, MirrorState, Source, SourceError, StartAt};
use rdkafka::Offset as KafkaOffset;
use rdkafka::consumer::Consumer;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cold::Cold;
use crate::config::{CALL_TIMEOUT, Connection};
use crate::describe::{NO_ID, describe};
use crate::offsets::{self, Committed, GroupInUse, Mark};
use crate::topics;

/// How often the offsets of idle partitions are written again: well within the day for which brokers keep them at
/// the least by their own defaults.
const REFRESH: Duration = Duration::from_secs(12 * 3600);

/// Who writes the group's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirroring {
    /// This source, from checkpoints kept elsewhere.
    Mirror,
    /// The checkpoints themselves are kept there: [`Source::mirror`] has nothing to do.
    CheckpointsAreThere,
}

/// Topics of a Kafka cluster.
pub struct KafkaSource {
    cold: Cold,
    topics: Vec<String>,
    mirroring: Mirroring,
    refresh: Duration,
    /// When all offsets were last written again. Locked while offsets are written, so that none is written over
    /// with an older one.
    refreshed: Mutex<Instant>,
}

impl KafkaSource {
    /// These topics, with this group's offset as the mirror. Connects at the first call.
    pub fn new(connection: Connection, topics: Vec<String>, group: &str, mirroring: Mirroring) -> Self {
        let cold = Cold::new(connection, Some(group));
        Self { cold, topics, mirroring, refresh: REFRESH, refreshed: Mutex::new(Instant::now()) }
    }

    /// How often the offsets of idle partitions are written again, for brokers that forget a group without members
    /// sooner than after a day (`offsets.retention.minutes`).
    #[must_use]
    pub fn refreshing_every(self, refresh: Duration) -> Self {
        Self { refresh, ..self }
    }

    /// Writes again what is ours, now and then: brokers forget offsets of a group without members that nobody
    /// writes, and with them the checkpoints that stand there.
    async fn refresh(&self, shards: &[ShardId]) -> Result<(), SourceError> {
        let Ok(mut refreshed) = self.refreshed.try_lock() else { return Ok(()) };
        if refreshed.elapsed() < self.refresh {
            return Ok(());
        }
        let what = format!("group {}", self.cold.group());
        let asked = shards.to_vec();
        let found = self.cold.call(what.clone(), move |client| offsets::committed(client, &asked)).await?;
        let is_ours = |found: &Committed| matches!(found.state(), Ok(MirrorState::Marked { .. }));
        let ours = shards
            .iter()
            .zip(found)
            .filter_map(|(shard, found)| found.filter(is_ours).map(|found| (shard.clone(), found)));
        self.commit(what, ours.collect()).await?;
        *refreshed = Instant::now();
        Ok(())
    }

    async fn all_shards(&self) -> Result<Vec<ShardId>, SourceError> {
        let mut found = Vec::new();
        for topic in &self.topics {
            let name = topic.clone();
            let partitions =
                self.cold.call(format!("topic {topic}"), move |client| topics::partitions(client, &name));
            found.extend(partitions.await?);
        }
        Ok(found)
    }

    /// Shows frontiers, and leaves a reset alone that was not taken: it would be lost.
    async fn write_mirrors(&self, mirrors: Vec<Mirror>) -> Result<(), SourceError> {
        let _one_at_a_time = self.refreshed.lock().await;
        let asked: Vec<ShardId> = mirrors.iter().map(|mirror| mirror.shard.clone()).collect();
        let what = format!("group {}", self.cold.group());
        let found = self.cold.call(what.clone(), move |client| offsets::committed(client, &asked)).await?;
        let absent = mirrors.iter().zip(&found).filter(|(_, found)| found.is_none());
        let anew = self.made_anew(absent.map(|(mirror, _)| mirror)).await?;
        let mut offsets = Vec::with_capacity(mirrors.len());
        for (mirror, found) in mirrors.into_iter().zip(found) {
            if found.is_none() && anew.contains(&mirror.shard.stream) {
                tracing::warn!(shard = %mirror.shard, frontier = %mirror.frontier,
                    "the topic was made anew: a frontier of the old one is not shown");
                continue;
            }
            if let Some(reset) = found.filter(|found| is_untaken(found, mirror.frontier)) {
                tracing::warn!(shard = %mirror.shard, offset = %reset.offset,
                    "the group offset was reset and is not mirrored until the reset is taken");
                continue;
            }
            let mark = Mark { fence: mirror.fence, sequence: mirror.sequence };
            offsets.push((mirror.shard, Committed { offset: mirror.frontier, metadata: mark.to_string() }));
        }
        self.commit(what, offsets).await
    }

    /// Which of these topics are others than those whose frontiers are to be shown. Asked where the group has no offset:
    /// brokers forget it with the topic.
    async fn made_anew<'a>(
        &self,
        mirrors: impl Iterator<Item = &'a Mirror>,
    ) -> Result<HashSet<Arc<str>>, SourceError> {
        let logs: HashMap<Arc<str>, String> = mirrors
            .filter_map(|mirror| Some((Arc::clone(&mirror.shard.stream), mirror.log.clone()?)))
            .collect();
        let mut anew = HashSet::new();
        for (topic, log) in logs {
            if self.identity(&topic).await?.stream.is_some_and(|found| found != log) {
                anew.insert(topic);
            }
        }
        Ok(anew)
    }

    async fn commit(&self, what: String, offsets: Vec<(ShardId, Committed)>) -> Result<(), SourceError> {
        // Who is in the way is an answer, not a failed call: it becomes an error with a way out.
        let written = offsets.clone();
        let committed = self.cold.call(what.clone(), move |client| match offsets::commit(client, &written) {
            Err(error) if offsets::is_in_use(&error) => Ok(Some(error)),
            done => done.map(|()| None),
        });
        if let Some(source) = committed.await? {
            let group = self.cold.group().to_owned();
            return Err(SourceError::Refused { what, source: GroupInUse { group, source }.into() });
        }
        Ok(())
    }
}

impl Source for KafkaSource {
    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardId>, SourceError>> {
        self.all_shards().boxed()
    }

    fn resolve<'a>(&'a self, shard: &'a ShardId, at: StartAt) -> BoxFuture<'a, Result<Offset, SourceError>> {
        let asked = shard.clone();
        let what = shard.to_string();
        async move {
            let found = self.cold.call(what.clone(), move |client| {
                let edge = |at| {
                    let found = topics::lookup(client, std::slice::from_ref(&asked), at)?;
                    Ok(found.first().copied().unwrap_or_default())
                };
                match at {
                    StartAt::Earliest => edge(KafkaOffset::Beginning),
                    StartAt::Latest => edge(KafkaOffset::End),
                    StartAt::Timestamp(millis) => topics::at_time(client, &asked, millis),
                }
            });
            found.await
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<Bounds>, SourceError>> {
        let asked = shards.to_vec();
        self.cold.call_boxed("the offsets", move |client| topics::bounds(client, &asked))
    }

    fn mirrored<'a>(&'a self, shards: &'a [ShardId]) -> BoxFuture<'a, Result<Vec<MirrorState>, SourceError>> {
        let asked = shards.to_vec();
        let what = format!("group {}", self.cold.group());
        async move {
            if let Err(error) = self.refresh(shards).await {
                tracing::warn!(
                    reason = error.reason(),
                    "the group's idle offsets could not be written again"
                );
            }
            let found =
                self.cold.call(what.clone(), move |client| offsets::committed(client, &asked)).await?;
            let damaged =
                |source: DecodeError| SourceError::Damaged { what: what.clone(), source: source.into() };
            let state =
                |found: Option<Committed>| found.map_or(Ok(MirrorState::Absent), |found| found.state());
            found.into_iter().map(|found| state(found).map_err(damaged)).collect()
        }
        .boxed()
    }

    fn mirror(&self, mirrors: Vec<Mirror>) -> BoxFuture<'_, Result<(), SourceError>> {
        match self.mirroring {
            Mirroring::Mirror => self.write_mirrors(mirrors).boxed(),
            Mirroring::CheckpointsAreThere => async { Ok(()) }.boxed(),
        }
    }

    fn identity<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Identity, SourceError>> {
        let topic = stream.to_owned();
        async move {
            let found = self.cold.call(format!("topic {stream}"), move |client| {
                let cluster = client.client().fetch_cluster_id(CALL_TIMEOUT);
                let stream = describe(client, &topic, CALL_TIMEOUT)?.id.filter(|id| id != NO_ID);
                Ok(Identity { cluster, stream })
            });
            found.await
        }
        .boxed()
    }
}

/// Whether an offset is a reset that no checkpoint follows yet: the first that does stands exactly there.
fn is_untaken(found: &Committed, frontier: Offset) -> bool {
    matches!(found.state(), Ok(MirrorState::Reset(offset)) if offset != frontier)
}
