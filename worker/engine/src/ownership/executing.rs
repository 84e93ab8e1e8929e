//! Records that execute at one member while another one owns their shard: both sides of it. Pure. Up:
//! [ownership](super).
//!
//! ```text
//!   old owner: Departing                 store: releases/<old>/<shard>            new owner: Elsewhere
//!   release ── names what executes ────▶ executing: [7, 9]  ────────────────────▶ holds the keys of 7 and 9
//!   7 ended ───────────────────────────▶ executing: [9], ended: [7 complete] ───▶ 7 is complete, its key goes on
//!   lease gone, or drain time over ────▶ (the key vanishes)  ───────────────────▶ 9 is handled again
//!   9 ended ───────────────────────────▶ ended: [7, 9], without a lease ────────▶ known, also if the old owner has left
//! ```
//! What has ended outlives the member that told it: else a member that leaves at once would take the news along
//! before a slow owner has read it. The owner forgets it later.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, MemberId, Offset, ShardId};
use tokio::time::Instant;

use super::jobs::Given;
use super::values::{ExecutingRecord, ReleaseValue};
use super::view::View;
use crate::pump::{Departed, Fate};

/// How long endings are gathered before they are told.
const GATHER: Duration = Duration::from_millis(5);

/// How long what has ended stays told: an owner that takes over from the next one learns of it too.
const STAYS: Duration = Duration::from_secs(10);

/// A record in flight and its ordering key.
pub(super) type Executing = (Offset, Option<Vec<u8>>);

/// What still executes here of shards that were given up.
#[derive(Debug, Default)]
pub(super) struct Departing {
    shards: HashMap<ShardId, Leftover>,
    /// Endings that came before the release was written.
    early: HashMap<(ShardId, Fence), Vec<(Offset, Fate)>>,
}

/// What is left here of one shard, of one tenure or of several.
#[derive(Debug)]
struct Leftover {
    /// The last tenure.
    fence: Fence,
    /// What executes, and under which tenure it began.
    executing: BTreeMap<Offset, (Fence, Option<Vec<u8>>)>,
    ended: BTreeMap<Offset, Fate>,
    telling: Telling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// All is told; when nothing executes any more, the key goes at that time.
    Told(Instant),
    /// Something is to be told at that time.
    Due(Instant),
    /// It is being told; whether something ended meanwhile.
    UnderWay { again: bool },
    /// The key is being deleted.
    Going,
}

impl Departing {
    /// What is left here of a shard that is about to be given up once more: its release repeats it.
    pub(super) fn left_of(&self, shard: &ShardId) -> (Vec<Executing>, Vec<(Offset, Fate)>) {
        let Some(leftover) = self.shards.get(shard) else {
            return (Vec::new(), Vec::new());
        };
        let executing = leftover.executing.iter().map(|(offset, (_, key))| (*offset, key.clone()));
        (executing.collect(), leftover.ended_list())
    }

    /// Whether the release key of a shard is being written: then no other write of it may be under way.
    pub(super) fn is_writing(&self, shard: &ShardId) -> bool {
        let telling = self.shards.get(shard).map(|leftover| leftover.telling);
        matches!(telling, Some(Telling::UnderWay { .. } | Telling::Going))
    }

    /// A shard was given up; records of it may execute.
    pub(super) fn handed_over(&mut self, given: Given, now: Instant) {
        let Given { shard, fence, executing, .. } = given;
        let early = self.early.remove(&(shard.clone(), fence)).unwrap_or_default();
        self.early.retain(|(other, older), _| *other != shard || *older > fence);
        if executing.is_empty() && !self.shards.contains_key(&shard) {
            return;
        }
        let leftover = self.shards.entry(shard.clone()).or_insert_with(|| Leftover {
            fence,
            executing: BTreeMap::new(),
            ended: BTreeMap::new(),
            telling: Telling::Told(now + STAYS),
        });
        leftover.fence = fence;
        leftover.executing.extend(executing.into_iter().map(|(offset, key)| (offset, (fence, key))));
        if !leftover.ended.is_empty() {
            // Some of it may have ended while the release was written.
            leftover.telling = Telling::Due(now + GATHER);
        }
        for (offset, fate) in early {
            self.ended(Departed { shard: shard.clone(), fence, offset, fate }, now);
        }
    }

    /// A record has ended here whose shard was handed over.
    pub(super) fn ended(&mut self, departed: Departed, now: Instant) {
        let Departed { shard, fence, offset, fate } = departed;
        let leftover = self.shards.get_mut(&shard);
        let known =
            leftover.filter(|leftover| leftover.executing.get(&offset).is_some_and(|(of, _)| *of == fence));
        let Some(leftover) = known else {
            self.early.entry((shard, fence)).or_default().push((offset, fate));
            return;
        };
        leftover.executing.remove(&offset);
        leftover.ended.insert(offset, fate);
        leftover.telling = match leftover.telling {
            Telling::Told(_) | Telling::Going => Telling::Due(now + GATHER),
            Telling::Due(at) => Telling::Due(at),
            Telling::UnderWay { .. } => Telling::UnderWay { again: true },
        };
    }

    /// What is to be written now; `None` = the key goes. Nothing of a shard that is just being released.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        releasing: impl Fn(&ShardId) -> bool,
    ) -> Vec<(ShardId, Option<ReleaseValue>)> {
        let mut due = Vec::new();
        for (shard, leftover) in self.shards.iter_mut().filter(|(shard, _)| !releasing(shard)) {
            match leftover.telling {
                Telling::Due(at) if at <= now => {
                    leftover.telling = Telling::UnderWay { again: false };
                    due.push((shard.clone(), Some(leftover.value())));
                }
                Telling::Told(until) if until <= now && leftover.executing.is_empty() => {
                    leftover.telling = Telling::Going;
                    due.push((shard.clone(), None));
                }
                Telling::Told(_) | Telling::Due(_) | Telling::UnderWay { .. } | Telling::Going => {}
            }
        }
        due
    }

    /// What was told is told, or must be told again.
    pub(super) fn told(&mut self, shards: &[ShardId], done: bool, now: Instant) {
        for shard in shards {
            let Some(leftover) = self.shards.get_mut(shard) else {
                continue;
            };
            leftover.telling = match leftover.telling {
                Telling::UnderWay { again: false } if done => Telling::Told(now + STAYS),
                Telling::UnderWay { .. } => Telling::Due(now + GATHER),
                Telling::Going if !done => Telling::Told(now + GATHER),
                Telling::Going => {
                    self.shards.remove(shard);
                    continue;
                }
                other => other,
            };
        }
    }

    /// When there is something to write.
    pub(super) fn next_due(&self, releasing: impl Fn(&ShardId) -> bool) -> Option<Instant> {
        let ready = self.shards.iter().filter(|(shard, _)| !releasing(shard));
        let due = ready.filter_map(|(_, leftover)| match leftover.telling {
            Telling::Due(at) => Some(at),
            Telling::Told(until) => leftover.executing.is_empty().then_some(until),
            Telling::UnderWay { .. } | Telling::Going => None,
        });
        due.min()
    }

    /// Whether nothing executes here and everything that ended is told.
    pub(super) fn is_quiet(&self) -> bool {
        let quiet = |leftover: &Leftover| {
            leftover.executing.is_empty() && matches!(leftover.telling, Telling::Told(_) | Telling::Going)
        };
        self.shards.values().all(quiet)
    }

    /// Shards of which records still execute here.
    pub(super) fn len(&self) -> usize {
        self.shards.values().filter(|leftover| !leftover.executing.is_empty()).count()
    }
}

impl Leftover {
    fn ended_list(&self) -> Vec<(Offset, Fate)> {
        self.ended.iter().map(|(offset, fate)| (*offset, fate.clone())).collect()
    }

    fn value(&self) -> ReleaseValue {
        let executing = self
            .executing
            .iter()
            .map(|(offset, (_, key))| ExecutingRecord { offset: *offset, key: key.clone() });
        ReleaseValue::new(self.fence, executing.collect(), &self.ended_list())
    }
}

/// What executes elsewhere of shards that are owned here.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    held: HashMap<ShardId, BTreeMap<MemberId, BTreeSet<Offset>>>,
}

/// What a new owner learns of records that were executing when it took over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Inherited {
    /// They still execute: their keys wait.
    pub(super) executing: Vec<Executing>,
    /// They have ended, though the checkpoint does not say so.
    pub(super) ended: Vec<(Offset, Fate)>,
    /// Some of those that execute do so in another order than ours.
    pub(super) ordered_otherwise: bool,
}

/// A shard of ours whose records execute elsewhere in another order than ours: it begins when they have ended.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) checkpoint: Checkpoint,
    pub(super) inherited: Inherited,
}

impl Waiting {
    /// Hears what has ended elsewhere.
    pub(super) fn hear(&mut self, ended: Vec<(Offset, Fate)>) {
        let Inherited { executing, ended: known, .. } = &mut self.inherited;
        executing.retain(|(offset, _)| !ended.iter().any(|(ended, _)| ended == offset));
        known.extend(ended.into_iter().filter(|(_, fate)| *fate != Fate::Unfinished));
    }

    /// Whether nothing executes elsewhere any more.
    pub(super) fn is_over(&self) -> bool {
        self.inherited.executing.is_empty()
    }
}

impl Elsewhere {
    /// Takes a shard over: what its earlier owners say, less what its checkpoint knows.
    pub(super) fn take_over(
        &mut self,
        view: &View,
        shard: &ShardId,
        checkpoint: &Checkpoint,
        order: &str,
    ) -> Inherited {
        let open = |offset: Offset| offset >= checkpoint.frontier && !checkpoint.completed.contains(offset);
        let mut inherited = Inherited::default();
        let mut ended = BTreeMap::new();
        let mut held: BTreeMap<MemberId, BTreeSet<Offset>> = BTreeMap::new();
        for (member, release) in view.releases(shard) {
            for (offset, fate) in release.fates().filter(|(offset, _)| open(*offset)) {
                // Of several tenures the one that completed it counts.
                let known = ended.entry(offset).or_insert(Fate::Unfinished);
                if *known != Fate::Complete && fate != Fate::Unfinished {
                    *known = fate;
                }
            }
            for record in release.executing.iter().filter(|record| open(record.offset)) {
                held.entry(member.clone()).or_default().insert(record.offset);
                inherited.executing.push((record.offset, record.key.clone()));
                inherited.ordered_otherwise |= release.is_ordered_otherwise(order);
            }
        }
        let executes = |offset: &Offset| held.values().any(|offsets| offsets.contains(offset));
        ended.retain(|offset, fate| *fate != Fate::Unfinished && !executes(offset));
        inherited.ended = ended.into_iter().collect();
        if !held.is_empty() {
            self.held.insert(shard.clone(), held);
        }
        inherited
    }

    /// What has ended elsewhere since the view was last looked at: complete, or to be handled here.
    pub(super) fn news(&mut self, view: &View) -> Vec<(ShardId, Vec<(Offset, Fate)>)> {
        let mut news = Vec::new();
        for (shard, members) in &mut self.held {
            let mut ended = Vec::new();
            for (member, offsets) in members.iter_mut() {
                let release = view.release(shard, member).map(|seen| &seen.value);
                offsets.retain(|offset| match fate(release, *offset) {
                    None => true,
                    Some(fate) => {
                        ended.push((*offset, fate));
                        false
                    }
                });
            }
            members.retain(|_, offsets| !offsets.is_empty());
            if !ended.is_empty() {
                news.push((shard.clone(), ended));
            }
        }
        self.held.retain(|_, members| !members.is_empty());
        news
    }

    /// A shard is no longer owned here.
    pub(super) fn forget(&mut self, shard: &ShardId) {
        self.held.remove(shard);
    }
}

/// What became of a record; `None` = it still executes.
fn fate(release: Option<&ReleaseValue>, offset: Offset) -> Option<Fate> {
    // The member is gone, or has ended its drain: the record runs again.
    release.map_or(Some(Fate::Unfinished), |release| release.fate(offset))
}

/// What members that are gone have told of shards that are owned here: known long enough, it can be forgotten.
#[derive(Debug, Default)]
pub(super) struct Told {
    since: HashMap<(ShardId, MemberId), Instant>,
}

impl Told {
    /// What can be forgotten now of these shards, with the revision at which it was told.
    pub(super) fn take_due<'a>(
        &mut self,
        view: &View,
        owned: impl Iterator<Item = &'a ShardId>,
        now: Instant,
    ) -> Vec<(ShardId, MemberId, u64)> {
        let mut due = Vec::new();
        let mut seen = HashMap::new();
        for shard in owned {
            for (member, release) in view.releases(shard) {
                if !release.executing.is_empty() || view.members().contains_key(member) {
                    continue;
                }
                let key = (shard.clone(), member.clone());
                let since = self.since.get(&key).copied().unwrap_or(now);
                if since + STAYS <= now {
                    due.extend(
                        view.release(shard, member).map(|seen| (shard.clone(), member.clone(), seen.written)),
                    );
                } else {
                    seen.insert(key, since);
                }
            }
        }
        self.since = seen;
        due
    }

    /// When there is something to forget.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.since.values().min().map(|since| *since + STAYS)
    }
}
