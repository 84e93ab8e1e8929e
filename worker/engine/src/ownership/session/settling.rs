//! What a session makes of ended jobs and of changes in the view. Up: the [session](super).

use std::time::Duration;

use keyweir_contract::keys::Key;
use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, ShardId};
use tokio::time::{Instant, sleep};

use super::hindrances::About;
use super::{End, RESETS, Session};
use crate::error_chain;
use crate::notices::Notices;
use crate::opening::OpenError;
use crate::ownership::executing::{Inherited, Waiting};
use crate::ownership::history;
use crate::ownership::jobs::{Claimed, Given, Job, Won};
use crate::ownership::plan::Local;
use crate::ownership::values::{ShardListValue, write};
use crate::ports::{CheckpointError, Guard, Listing, SourceError, StoreError, Transaction};
use crate::pump::{Ownership, ReleaseMode};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long what only a person can mend is left alone.
const MENDED_WITHIN: Duration = Duration::from_secs(15);

impl Session<'_> {
    pub(super) async fn settle(&mut self, job: Job) -> Option<End> {
        let now = Instant::now();
        match job {
            Job::Listed(outcome) => return self.listed(outcome).await,
            Job::Wrote(outcome) => {
                self.value_under_way = false;
                if self.went_well(About::Member, outcome.as_ref().err()) {
                    return None;
                }
                self.value_due = true;
                self.look_by(now + FIRST_WAIT);
            }
            Job::Listing(outcome) => {
                if !self.went_well(About::List, outcome.as_ref().err()) {
                    self.discover_at = Some(now + FIRST_WAIT);
                }
            }
            Job::Accepted { shards, failure } => {
                if !self.went_well(About::Accepts, failure.as_ref()) {
                    self.accepting.retain(|shard, _| !shards.contains(shard));
                    self.look_by(now + FIRST_WAIT);
                }
            }
            Job::Claimed(claimed) => self.claimed(claimed),
            Job::Opened { tries, wins, outcome } => return self.opened(tries, wins, outcome).await,
            Job::OpenAgain { tries, wins } => self.open(wins, tries),
            Job::Released(given) => self.released(given, now),
            Job::Told { shards, failure } => self.departing.told(&shards, failure.is_none(), now),
            Job::Discovered(outcome) => self.discovered(outcome, now),
            Job::Forgot => {}
            Job::Resets(found) => {
                self.resets_at = Some(now + RESETS);
                match found {
                    Ok(shards) => self.reset(shards),
                    // The source tells its troubles where it is read.
                    Err(error) => {
                        tracing::debug!(reason = error.reason(), "nobody said whether shards were reset")
                    }
                }
            }
            Job::LookedBack { asked, answer } => {
                self.look_back_at = Some(now + history::LOOK);
                self.looked_back(asked, answer);
            }
        }
        None
    }

    /// A history that only grows ends in a store that is full: said before it is, once.
    fn looked_back(&mut self, asked: Instant, answer: Result<u64, StoreError>) {
        let Some(found) = self.memory.heard(answer, asked) else {
            return;
        };
        let grew = self.report.history.replace(found).is_some_and(|known| known.only_grows());
        match (grew, found.only_grows()) {
            (false, true) => {
                tracing::warn!(age = ?found.age, revisions = found.revisions, "{found}");
                self.desk.ports.notices.tell(Notices::HISTORY_GROWS, found.to_string());
            }
            (true, false) => tracing::info!("the store's history is compacted again"),
            _ => {}
        }
    }

    /// The watch has ended: list again, soon, then ever more seldom.
    pub(super) fn list_again(&mut self, why: Option<StoreError>) {
        if let Some(error) = why {
            tracing::info!(
                reason = error.reason(),
                error = error_chain(&error),
                "the watch has ended: listing again"
            );
            self.hindrances.add(About::View, error.reason(), &error);
        }
        self.watch = None;
        let wait = self.listing_wait;
        self.listing_wait = (wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        let (store, prefix) = (self.desk.store.clone(), self.desk.prefix.live());
        self.start(async move {
            sleep(wait).await;
            Job::Listed(store.list(&prefix).await)
        });
    }

    async fn listed(&mut self, outcome: Result<Listing, StoreError>) -> Option<End> {
        match outcome {
            Ok(listing) => {
                self.report.counters.listings += 1;
                self.view.replace(&listing);
                self.watch = Some(self.desk.store.watch(&self.desk.prefix.live(), listing.revision + 1));
                self.view_changed().await
            }
            Err(error) => {
                self.list_again(Some(error));
                None
            }
        }
    }

    /// The view is another one: what of our state does it settle?
    pub(super) async fn view_changed(&mut self) -> Option<End> {
        self.listing_wait = Duration::ZERO;
        self.hindrances.clear(&About::View);
        self.look_soon();
        self.neighbours.tell(&self.desk.me, &self.view);
        // By ordinal nobody watches members: the lease alone tells.
        let present = self.ordinals.is_some() || self.view.members().contains_key(&self.desk.me);
        if self.seen_myself && !present {
            tracing::warn!("the key of this member is gone");
            return Some(End::Lost);
        }
        self.seen_myself |= present;
        if self.view.object().is_some_and(|object| object.value.epoch != self.desk.epoch) {
            tracing::warn!("the object's epoch was raised: joining anew under it");
            return Some(End::Lost);
        }
        let view = &self.view;
        self.local.retain(|shard, local| !local.is_settled(shard, view));
        let gone = self.local.iter().filter(|(shard, local)| local.is_gone(shard, view));
        let gone: Vec<ShardId> = gone.map(|(shard, _)| shard.clone()).collect();
        for shard in gone {
            self.drop_lost(shard);
        }
        for (shard, ended) in self.elsewhere.news(&self.view) {
            let Some(waiting) = self.waiting.get_mut(&shard) else {
                if self.pumps.ended_elsewhere(shard, ended).await.is_err() {
                    return Some(End::PumpsEnded);
                }
                continue;
            };
            waiting.hear(ended);
            if waiting.is_over()
                && let Some(Waiting { checkpoint, inherited }) = self.waiting.remove(&shard)
                && let Some(end) = self.begin(shard, checkpoint, inherited).await
            {
                return Some(end);
            }
        }
        None
    }

    /// Somebody has deleted our owner key: whoever creates the next one is the owner.
    fn drop_lost(&mut self, shard: ShardId) {
        tracing::warn!(%shard, "the owner key of this member was deleted: the shard is given up");
        self.elsewhere.forget(&shard);
        self.waiting.remove(&shard);
        let owned = matches!(self.local.remove(&shard), Some(Local::Owned(_)));
        if owned {
            let pumps = self.pumps.clone();
            self.start(async move {
                // Its checkpoint can't be written any more; the answer is of no use.
                let _ = pumps.release(shard, ReleaseMode::HandOver).await;
                Job::Released(Vec::new())
            });
        }
    }

    fn claimed(&mut self, claimed: Claimed) {
        let Claimed { won, lost, doubtful, unreadable, failure } = claimed;
        self.claim_under_way = false;
        self.report.counters.claims += won.len() as u64;
        self.report.counters.lost_claims += lost.len() as u64;
        for (shard, revision) in lost {
            self.local.insert(shard, Local::LostTo(revision));
        }
        for shard in doubtful {
            self.local.remove(&shard);
        }
        for (shard, fence, error) in unreadable {
            self.hindrances.add(About::Checkpoint(shard.clone()), "CheckpointUnreadable", &error);
            self.local.insert(shard.clone(), Local::Opening(fence));
            let desk = self.desk.clone();
            self.start(async move {
                sleep(MENDED_WITHIN).await;
                desk.adopt(vec![(shard, fence.revision)]).await
            });
        }
        // What was given up meanwhile stays given up.
        let wanted = |won: &Won| match self.local.get(&won.shard) {
            None | Some(Local::Claiming) => true,
            Some(known) => *known == Local::Opening(won.fence),
        };
        let won: Vec<Won> = won.into_iter().filter(wanted).collect();
        for won in &won {
            self.accepting.remove(&won.shard);
            self.hindrances.clear(&About::Checkpoint(won.shard.clone()));
            self.local.insert(won.shard.clone(), Local::Opening(won.fence));
        }
        if !won.is_empty() {
            self.open(won, 0);
        }
        if self.went_well(About::Claims, failure.as_ref()) {
            self.look_soon();
        } else {
            // What is in doubt is claimed again, unless the view shows by then that it is ours.
            self.look_by(Instant::now() + FIRST_WAIT);
        }
    }

    fn open(&mut self, wins: Vec<Won>, tries: u32) {
        let still = |won: &Won| self.local.get(&won.shard) == Some(&Local::Opening(won.fence));
        let wins: Vec<Won> = wins.into_iter().filter(still).collect();
        if wins.is_empty() {
            return;
        }
        let list = self.view.list().cloned();
        self.start(self.desk.clone().open(list, self.settings.start, wins, tries));
    }

    async fn opened(
        &mut self,
        tries: u32,
        wins: Vec<Won>,
        outcome: Result<Vec<(ShardId, Checkpoint)>, OpenError>,
    ) -> Option<End> {
        match outcome {
            Ok(opened) => {
                for (shard, checkpoint) in opened {
                    if let Some(won) = wins.iter().find(|won| won.shard == shard) {
                        self.report.opening_time.add(won.at.elapsed(), 1);
                    }
                    if let Some(end) = self.take_over(shard, checkpoint).await {
                        return Some(end);
                    }
                }
            }
            // One that can't be opened must not keep the others.
            Err(_) if wins.len() > 1 => {
                for won in wins {
                    self.open(vec![won], tries);
                }
            }
            Err(OpenError::Save(CheckpointError::Fenced { shard })) => self.drop_lost(shard),
            Err(error) => {
                for won in &wins {
                    self.hindrances.add(About::Opening(won.shard.clone()), error.reason(), &error);
                }
                let wait = FIRST_WAIT * 2_u32.saturating_pow(tries.min(8));
                self.start(async move {
                    sleep(wait.min(MENDED_WITHIN)).await;
                    Job::OpenAgain { tries: tries + 1, wins }
                });
            }
        }
        None
    }

    /// The shard is ours and it is known where it starts.
    async fn take_over(&mut self, shard: ShardId, checkpoint: Checkpoint) -> Option<End> {
        let fence: Fence = checkpoint.fence;
        if self.local.get(&shard) != Some(&Local::Opening(fence)) {
            return None;
        }
        let inherited = self.elsewhere.take_over(&self.view, &shard, &checkpoint, &self.settings.order);
        self.report.counters.taken_over += inherited.executing.len() as u64;
        if inherited.ordered_otherwise {
            tracing::info!(%shard, "records of it still execute in another order: it begins when they have ended");
            self.waiting.insert(shard, Waiting { checkpoint, inherited });
            return None;
        }
        self.begin(shard, checkpoint, inherited).await
    }

    /// The shard is handled here from now on.
    async fn begin(&mut self, shard: ShardId, checkpoint: Checkpoint, inherited: Inherited) -> Option<End> {
        let fence = checkpoint.fence;
        self.local.insert(shard.clone(), Local::Owned(fence));
        self.opened.insert(shard.clone(), fence);
        self.hindrances.clear(&About::Opening(shard.clone()));
        let ownership = Ownership { shard: shard.clone(), fence, checkpoint, executing: inherited.executing };
        let mut told = self.pumps.own(ownership).await;
        if told.is_ok() && !inherited.ended.is_empty() {
            told = self.pumps.ended_elsewhere(shard, inherited.ended).await;
        }
        self.look_soon();
        told.is_err().then_some(End::PumpsEnded)
    }

    fn released(&mut self, given: Vec<Given>, now: Instant) {
        for given in given {
            self.local.insert(given.shard.clone(), Local::GivenUp(given.fence));
            if given.in_order {
                self.report.counters.releases += 1;
                self.report.counters.handed_over += given.executing.len() as u64;
                self.departing.handed_over(given, now);
            } else {
                tracing::warn!(shard = %given.shard, "a release came too late: the shard was not ours any more");
            }
        }
        let view = &self.view;
        self.local.retain(|shard, local| !local.is_settled(shard, view));
        self.look_soon();
    }

    fn discovered(&mut self, outcome: Result<Vec<ShardId>, SourceError>, now: Instant) {
        let found = match outcome {
            Ok(found) => found,
            Err(error) => {
                self.hindrances.add(About::Discovery, error.reason(), &error);
                self.discovery_wait = (self.discovery_wait * 2).clamp(FIRST_WAIT, MENDED_WITHIN);
                self.discover_at = Some(now + self.discovery_wait);
                return;
            }
        };
        self.hindrances.clear(&About::Discovery);
        self.discovery_wait = Duration::ZERO;
        self.discover_at = Some(now + self.settings.discovery);
        let known = self.view.list();
        let list = known.map(|list| list.value.clone()).unwrap_or_default();
        let members: Option<Vec<_>> =
            self.view.members().values().map(|member| member.value.streams.as_deref()).collect();
        // By ordinal the first one says for all what is read no longer: of a changed manifest it learns last.
        let others_read_on = self.ordinals.as_ref().is_some_and(|ordinals| !ordinals.is_first());
        // While one of them does not say what it reads, nothing leaves.
        let is_named = |name: &str| {
            let named = |streams: &&[String]| streams.iter().any(|stream| stream == name);
            let read_here = found.iter().any(|shard| *shard.stream == *name);
            read_here || others_read_on || members.as_ref().is_none_or(|members| members.iter().any(named))
        };
        let grown = ShardListValue::grown(&list, &found);
        let left = grown.as_ref().unwrap_or(&list).without_unnamed(is_named);
        let Some(list) = left.or(grown) else {
            return;
        };
        let key = self.desk.prefix.key(&Key::Shards);
        let guard = match known {
            None => Guard::Absent(key.clone()),
            Some(known) => Guard::Written(key.clone(), known.written),
        };
        // Refused = another member was first: the view will show what it wrote.
        let put = Transaction::new().when(guard).put(key, write(&list), None);
        let store = self.desk.store.clone();
        self.start(async move { Job::Listing(store.commit(put).await) });
    }

    /// Whether a call of the store went well; said and remembered until it does.
    fn went_well(&mut self, about: About, failure: Option<&StoreError>) -> bool {
        match failure {
            None => self.hindrances.clear(&about),
            Some(error) => self.hindrances.add(about, error.reason(), error),
        }
        failure.is_none()
    }
}
