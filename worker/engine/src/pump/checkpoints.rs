//! When frontiers become durable, and what follows: mirrors, releases, fencing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use keyweir_core::{ShardId, ShardIndex};
use tokio::time::Instant;

use super::Pump;
use super::command::Released;
use super::desk::{Job, SavedShard};
use super::dispatch::{Answer, Work};
use super::shard::{Phase, Shard};
use crate::error_chain;
use crate::ports::{CheckpointError, Handler, Mirror, Reader, SourceError};

const ABOUT: &str = "checkpoints";

/// How long checkpoints may be refused until nothing more is read.
const REFUSED_FOR_LONG: Duration = Duration::from_secs(30);

/// How long after a frontier could not be shown it is tried again.
const MIRROR_AGAIN: Duration = Duration::from_secs(5);

/// Durable frontiers that are to be shown.
#[derive(Default)]
pub(super) struct Mirrors {
    pub(super) under_way: bool,
    /// The newest of each shard that was not shown yet.
    waiting: BTreeMap<ShardId, Waiting>,
    /// Those that could not be shown are not tried again before.
    again: Option<Instant>,
}

struct Waiting {
    mirror: Mirror,
    /// It was not tried yet.
    is_first: bool,
}

/// How many bytes of sources' notes are saved a second, in the long run.
const NOTES_PER_SECOND: u32 = 256 * 1024;

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// Saves what has changed, at most once an interval and one save at a time; a shard that closes does not wait.
    pub(super) fn save_checkpoints(&mut self) {
        let closes = self
            .shards
            .iter()
            .flatten()
            .any(|shard| matches!(shard.phase, Phase::Closing { .. }) && shard.dirty_since.is_some());
        if self.saving.is_some() || (!closes && self.now < self.save_after) {
            return;
        }
        // Hooks write out what they know before a checkpoint counts it.
        self.observe_tick();
        let mut checkpoints = Vec::new();
        let mut saved = Vec::new();
        let mut noted = 0;
        for (index, shard) in self.shards.iter_mut().enumerate() {
            let Some(shard) = shard.as_mut().filter(|shard| shard.dirty_since.is_some()) else {
                continue;
            };
            if matches!(shard.phase, Phase::HandedOver) {
                continue;
            }
            let closing = matches!(shard.phase, Phase::Closing { .. });
            let checkpoint = shard.checkpoint(ShardIndex(index as u32), &mut self.reader);
            noted += checkpoint.notes.len();
            let mirror = Mirror {
                shard: (*shard.id).clone(),
                frontier: checkpoint.frontier,
                fence: checkpoint.fence,
                sequence: checkpoint.sequence,
                log: checkpoint.stream_id.clone(),
            };
            saved.push(SavedShard {
                shard: ShardIndex(index as u32),
                frontier: checkpoint.frontier,
                closing,
                mirror,
            });
            checkpoints.push(((*shard.id).clone(), checkpoint));
        }
        if checkpoints.is_empty() {
            return;
        }
        self.saving = Some(self.now);
        // What sources note can be large beside a frontier: the store is spared by waiting longer.
        let spared = Duration::from_secs(noted as u64) / NOTES_PER_SECOND;
        self.save_after = self.now + self.live.checkpoint_interval.max(spared);
        let store = Arc::clone(&self.ports.checkpoints);
        let job = async move {
            let failure = store.save(checkpoints).await.err();
            Job::Saved { saved, failure }
        };
        self.desk.push(job.boxed());
    }

    pub(super) fn saved(&mut self, saved: Vec<SavedShard>, failure: Option<CheckpointError>) {
        if let Some(since) = self.saving.take() {
            self.checkpoint_time.add(self.now.saturating_duration_since(since), 1);
        }
        match failure {
            None => self.note_saved(saved),
            Some(CheckpointError::Fenced { shard }) => {
                self.counters.fenced += 1;
                if let Some(fenced) = saved.iter().find(|saved| saved.mirror.shard == shard) {
                    self.fenced(fenced);
                }
                self.save_again(&saved);
            }
            Some(error) => {
                self.counters.failed_checkpoints += 1;
                let reason = match error {
                    CheckpointError::Unreachable { .. } => "CheckpointStoreUnreachable",
                    _ => "CheckpointRefused",
                };
                let stopped = if self.refused_for_long { "nothing more is read: " } else { "" };
                self.trouble(ABOUT, reason, format!("{stopped}{}", error_chain(&error)));
                self.save_again(&saved);
            }
        }
    }

    /// Whether a shard's checkpoints have been refused for long; looked at at each tick.
    pub(super) fn look_for_refusals(&mut self) {
        let now = self.now;
        let long_ago = |since: Instant| since + REFUSED_FOR_LONG <= now;
        let refused = self.shards_of_now().any(|shard| shard.refused_since.is_some_and(long_ago));
        self.refused_for_long = refused;
    }

    /// A save came too late. That of a shard that was handed over meanwhile means nothing: what still executes of it
    /// goes on.
    fn fenced(&mut self, late: &SavedShard) {
        let same =
            |shard: &&mut Shard| shard.is_tenure_of(&late.mirror.shard) && shard.fence == late.mirror.fence;
        if self.shard(late.shard).filter(same).is_none() {
            return;
        }
        tracing::warn!(shard = %late.mirror.shard, "a newer owner has written: the shard is given up");
        if late.closing { self.closed(late.shard) } else { self.abandon_shard(late.shard) }
    }

    fn save_again(&mut self, saved: &[SavedShard]) {
        let now = self.now;
        self.save_after = now + self.live.checkpoint_interval;
        for saved in saved {
            if let Some(shard) =
                self.shard(saved.shard).filter(|shard| shard.is_tenure_of(&saved.mirror.shard))
            {
                shard.touch(now);
                shard.refused_since.get_or_insert(now);
            }
        }
    }

    fn note_saved(&mut self, saved: Vec<SavedShard>) {
        self.recovered(ABOUT);
        self.counters.checkpoints += 1;
        let mut mirrors = Vec::with_capacity(saved.len());
        for SavedShard { shard: index, frontier, closing, mirror } in saved {
            // What was saved of an earlier tenure says nothing of the present one.
            let same = |shard: &&mut Shard| *shard.id == mirror.shard && shard.fence == mirror.fence;
            if let Some(shard) = self.shard(index).filter(same) {
                shard.durable = frontier;
                shard.refused_since = None;
                if let Some(trial) = &mut shard.trial {
                    trial.saved(mirror.sequence);
                }
            }
            mirrors.push(mirror);
            if closing {
                self.closed(index);
            }
        }
        let first = |mirror: Mirror| (mirror.shard.clone(), Waiting { mirror, is_first: true });
        self.mirrors.waiting.extend(mirrors.into_iter().map(first));
        self.mirror();
    }

    /// The last checkpoint of a released shard is durable.
    fn closed(&mut self, index: ShardIndex) {
        let Some(shard) = self.shard(index) else {
            return;
        };
        let Phase::Closing { reply } = &mut shard.phase else {
            return;
        };
        if let Some(reply) = reply.take() {
            let checkpoint = Some(shard.last_checkpoint());
            // Nobody listening any more is the listener's choice.
            let _ = reply.send(Released { checkpoint, executing: Vec::new() });
        }
        self.drop_shard(index);
    }

    /// Shows the newest frontiers that are not shown yet, one write at a time: the last one of an idle shard, too.
    pub(super) fn mirror(&mut self) {
        let Mirrors { under_way, waiting, again } = &mut self.mirrors;
        let pauses = again.is_some_and(|again| self.now < again) && !waiting.values().any(|one| one.is_first);
        if *under_way || pauses {
            return;
        }
        let waiting = std::mem::take(waiting).into_values();
        // Who owns the shard now may have shown more: nothing is tried again for an earlier tenure.
        let counts = |waiting: &Waiting| waiting.is_first || self.is_owned_under(&waiting.mirror);
        let shown: Vec<Mirror> = waiting.filter(counts).map(|waiting| waiting.mirror).collect();
        if shown.is_empty() {
            return;
        }
        self.mirrors.under_way = true;
        let source = Arc::clone(&self.ports.source);
        let job = async move {
            let failure = source.mirror(shown.clone()).await.err();
            Job::Mirrored { shown, failure }
        };
        self.desk.push(job.boxed());
    }

    fn is_owned_under(&self, mirror: &Mirror) -> bool {
        self.shards_of_now().any(|shard| *shard.id == mirror.shard && shard.fence == mirror.fence)
    }

    pub(super) fn mirrored(&mut self, shown: Vec<Mirror>, failure: Option<SourceError>) {
        self.mirrors.under_way = false;
        match failure {
            None => self.recovered("mirror"),
            Some(error) => {
                self.trouble("mirror", error.reason(), error_chain(&error));
                self.mirrors.again = Some(self.now + MIRROR_AGAIN);
                for mirror in shown {
                    // What has become durable meanwhile is newer.
                    let again = || Waiting { is_first: false, mirror: mirror.clone() };
                    self.mirrors.waiting.entry(mirror.shard.clone()).or_insert_with(again);
                }
            }
        }
        self.mirror();
    }
}
