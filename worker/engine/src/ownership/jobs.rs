//! What ownership asks of the store: claim, adopt, open, accept, release, tell. Each job is a future that the
//! session polls beside its other work; none decides what is to be done. Up: [ownership](super).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyweir_contract::keys::{Key, ObjectPrefix};
use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, MemberId, Offset, ShardId};
use tokio::time::{Instant, sleep};

use super::checkpoints::{LARGEST_CHECKPOINT, decode, encode};
use super::executing::Executing;
use super::values::{
    AcceptValue, ExecutingRecord, FORM, OwnerValue, ReleaseValue, ShardListValue, read, write,
};
use super::view::Seen;
use crate::error_chain;
use crate::opening::{OpenError, Opening, open};
use crate::ports::{
    CheckpointError, Committed, Entry, Guard, LeaseId, LeaseStore, Listing, MAX_OPERATIONS,
    MAX_TRANSACTION_BYTES, SourceError, StoreError, Transaction,
};
use crate::pump::{Fate, Ports, Released};

/// Owner key, accept and checkpoint of each shard that is claimed.
const CLAIMS: usize = MAX_OPERATIONS / 3;

/// How long a release waits before it asks the store again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Room that a release keeps free in its transaction for keys.
const ROOM_FOR_KEYS: usize = 64 * 1024;

/// What every job needs.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) store: Arc<dyn LeaseStore>,
    pub(super) prefix: ObjectPrefix,
    pub(super) ports: Ports,
    pub(super) me: MemberId,
    pub(super) lease: LeaseId,
    pub(super) epoch: u64,
    /// What is the same for members that put records into the same order.
    pub(super) order: Arc<str>,
}

/// A job that has ended.
pub(super) enum Job {
    Listed(Result<Listing, StoreError>),
    /// The member's value was written.
    Wrote(Result<Committed, StoreError>),
    /// The shard list was changed, by us or by another member.
    Listing(Result<Committed, StoreError>),
    Accepted {
        shards: Vec<ShardId>,
        failure: Option<StoreError>,
    },
    Claimed(Claimed),
    Opened {
        tries: u32,
        wins: Vec<Won>,
        outcome: Result<Vec<(ShardId, Checkpoint)>, OpenError>,
    },
    /// Time to try again what could not be opened.
    OpenAgain {
        tries: u32,
        wins: Vec<Won>,
    },
    Released(Vec<Given>),
    Told {
        shards: Vec<ShardId>,
        failure: Option<StoreError>,
    },
    Discovered(Result<Vec<ShardId>, SourceError>),
    /// What members that are gone had told is forgotten.
    Forgot,
    /// Which of these shards somebody has reset.
    Resets(Result<Vec<ShardId>, SourceError>),
    /// How far back the store's history goes.
    LookedBack {
        asked: Instant,
        answer: Result<u64, StoreError>,
    },
}

/// A shard whose owner key is ours.
#[derive(Clone)]
pub(super) struct Won {
    pub(super) shard: ShardId,
    pub(super) fence: Fence,
    pub(super) stored: Option<Checkpoint>,
    pub(super) at: Instant,
}

/// What became of claims.
#[derive(Default)]
pub(super) struct Claimed {
    pub(super) won: Vec<Won>,
    /// Somebody else's owner key stands; from that revision on the view shows it.
    pub(super) lost: Vec<(ShardId, u64)>,
    /// Nobody knows: the view will tell.
    pub(super) doubtful: Vec<ShardId>,
    /// Ours, but its checkpoint can't be read: a person must act.
    pub(super) unreadable: Vec<(ShardId, Fence, CheckpointError)>,
    pub(super) failure: Option<StoreError>,
}

/// A shard to be given up: what the pump said of it.
pub(super) struct Giving {
    pub(super) shard: ShardId,
    pub(super) fence: Fence,
    pub(super) released: Released,
    /// The checkpoint is to be written with the release; else it is durable already.
    pub(super) save: bool,
    /// What is left here of earlier tenures: what executes, and what has ended.
    pub(super) left: (Vec<Executing>, Vec<(Offset, Fate)>),
}

/// A shard that was given up.
pub(super) struct Given {
    pub(super) shard: ShardId,
    /// `false` = it was not ours any more.
    pub(super) in_order: bool,
    pub(super) fence: Fence,
    pub(super) executing: Vec<Executing>,
}

impl Desk {
    fn owner_key(&self, shard: &ShardId) -> String {
        self.prefix.key(&Key::Owner(shard.to_string()))
    }

    fn checkpoint_key(&self, shard: &ShardId) -> String {
        self.prefix.key(&Key::Checkpoint(shard.to_string()))
    }

    fn accept_key(&self, shard: &ShardId) -> String {
        self.prefix.key(&Key::Accept { member: self.me.to_string(), shard: shard.to_string() })
    }

    pub(super) fn release_key(&self, shard: &ShardId) -> String {
        self.prefix.key(&Key::Release { member: self.me.to_string(), shard: shard.to_string() })
    }

    fn fence(&self, revision: u64) -> Fence {
        Fence::new(self.epoch, revision)
    }

    /// With which lease a release ends. What still executes here ends with this member; what has ended stays told
    /// when it is gone, until the owner knows it.
    fn lease_of(&self, value: &ReleaseValue) -> Option<LeaseId> {
        (!value.executing.is_empty()).then_some(self.lease)
    }

    /// Forgets what members that are gone have told of shards that are owned here, and known by now.
    pub(super) async fn forget_told(self, told: Vec<(ShardId, MemberId, u64)>) -> Job {
        for (shard, member, written) in told {
            let key = self.prefix.key(&Key::Release { member: member.to_string(), shard: shard.to_string() });
            let delete = Transaction::new().when(Guard::Written(key.clone(), written)).delete(key);
            if let Err(error) = self.store.commit(delete).await {
                // It is looked at again with the next change of the view.
                tracing::debug!(%shard, reason = error.reason(), "what was told long ago is not forgotten yet");
            }
        }
        Job::Forgot
    }

    /// Creates owner keys where there are none, and reads the checkpoints in the same transactions.
    pub(super) async fn claim(self, shards: Vec<ShardId>) -> Job {
        let mut claimed = Claimed::default();
        let mut parts: Vec<Vec<ShardId>> = shards.chunks(CLAIMS).map(<[ShardId]>::to_vec).collect();
        while let Some(part) = parts.pop() {
            let answer = self.store.commit(self.claim_transaction(&part)).await;
            match answer {
                Ok(Committed::Done { revision, reads }) => {
                    for (shard, entry) in part.into_iter().zip(reads) {
                        claimed.take(shard, self.fence(revision), entry.as_ref());
                    }
                }
                Ok(Committed::Refused { found, .. }) => {
                    let mut rest = Vec::new();
                    for (shard, found) in part.into_iter().zip(found) {
                        match found {
                            None => rest.push(shard),
                            // The answer to an earlier try was lost: it is ours.
                            Some(entry) if self.is_mine(&entry) => {
                                self.adopt_one(shard, entry.create_revision, &mut claimed).await;
                            }
                            Some(entry) => claimed.lost.push((shard, entry.create_revision)),
                        }
                    }
                    if !rest.is_empty() {
                        parts.push(rest);
                    }
                }
                Err(error) => {
                    claimed.doubtful.extend(part);
                    claimed.failure = Some(error);
                }
            }
        }
        Job::Claimed(claimed)
    }

    fn claim_transaction(&self, shards: &[ShardId]) -> Transaction {
        let value = write(&OwnerValue { form: FORM, member: self.me.clone(), since: unix_millis() });
        shards.iter().fold(Transaction::new(), |transaction, shard| {
            transaction
                .when(Guard::Absent(self.owner_key(shard)))
                .put(self.owner_key(shard), value.clone(), self.lease)
                .delete(self.accept_key(shard))
                .read(self.checkpoint_key(shard))
        })
    }

    fn is_mine(&self, entry: &Entry) -> bool {
        entry.lease == Some(self.lease)
            && read(&entry.value).is_some_and(|owner: OwnerValue| owner.member == self.me)
    }

    /// Takes up owner keys of ours whose claims were answered by silence.
    pub(super) async fn adopt(self, shards: Vec<(ShardId, u64)>) -> Job {
        let mut claimed = Claimed::default();
        for (shard, created) in shards {
            self.adopt_one(shard, created, &mut claimed).await;
        }
        Job::Claimed(claimed)
    }

    async fn adopt_one(&self, shard: ShardId, created: u64, claimed: &mut Claimed) {
        let look = Transaction::new()
            .when(Guard::Created(self.owner_key(&shard), created))
            .read(self.checkpoint_key(&shard));
        match self.store.commit(look).await {
            Ok(Committed::Done { reads, .. }) => {
                claimed.take(shard, self.fence(created), reads.first().and_then(Option::as_ref));
            }
            // It has vanished, or was replaced: the view will show it.
            Ok(Committed::Refused { .. }) => claimed.lost.push((shard, created + 1)),
            Err(error) => {
                claimed.doubtful.push(shard);
                claimed.failure = Some(error);
            }
        }
    }

    /// Finds where shards start and makes that durable under their fences.
    pub(super) async fn open(
        self,
        list: Option<Seen<ShardListValue>>,
        start: crate::ports::StartAt,
        wins: Vec<Won>,
        tries: u32,
    ) -> Job {
        let opening = |won: &Won| {
            let initial = list.as_ref().is_some_and(|list| list.value.is_initial(&won.shard));
            // startAt is for the shards of the first start; later ones start at their first record.
            let start = if initial { start } else { crate::ports::StartAt::Earliest };
            Opening { shard: won.shard.clone(), fence: won.fence, stored: won.stored.clone(), start }
        };
        let outcome = open(&self.ports, wins.iter().map(opening).collect()).await;
        Job::Opened { tries, wins, outcome }
    }

    /// Writes and withdraws accepts.
    pub(super) async fn accept(self, accept: Vec<ShardId>, withdraw: Vec<ShardId>) -> Job {
        let value = write(&AcceptValue { form: FORM });
        let shards = accept.iter().chain(&withdraw).cloned().collect();
        let put = |shard: ShardId| {
            let transaction = Transaction::new().put(self.accept_key(&shard), value.clone(), self.lease);
            (shard, transaction)
        };
        let delete = |shard: ShardId| {
            let transaction = Transaction::new().delete(self.accept_key(&shard));
            (shard, transaction)
        };
        let mut failure = None;
        for part in parts(accept.into_iter().map(put).chain(withdraw.into_iter().map(delete))) {
            failure = self.store.commit(whole(&part)).await.err().or(failure);
        }
        Job::Accepted { shards, failure }
    }

    /// Writes last checkpoints, names what executes here, and deletes the owner keys, shard by shard at once.
    pub(super) async fn release(self, giving: Vec<Giving>) -> Job {
        let mut given = Vec::with_capacity(giving.len());
        let giving = giving.into_iter().map(|giving| {
            let transaction = self.release_transaction(&giving);
            (giving, transaction)
        });
        for part in parts(giving) {
            self.release_part(part, &mut given).await;
        }
        Job::Released(given)
    }

    fn release_transaction(&self, giving: &Giving) -> Transaction {
        let Giving { shard, fence, released, save, left: (executing, ended) } = giving;
        let owner = self.owner_key(shard);
        let mut transaction =
            Transaction::new().when(Guard::Created(owner.clone(), fence.revision)).delete(owner);
        if !released.executing.is_empty() || !executing.is_empty() || !ended.is_empty() {
            let executing = released.executing.iter().chain(executing);
            let value = release_value(*fence, executing, ended).in_order(&self.order);
            transaction = transaction.put(self.release_key(shard), write(&value), self.lease_of(&value));
        }
        if let Some(checkpoint) = released.checkpoint.as_ref().filter(|_| *save) {
            let bound = (MAX_TRANSACTION_BYTES - ROOM_FOR_KEYS).saturating_sub(transaction.bytes());
            match encode(shard, checkpoint, bound.min(LARGEST_CHECKPOINT)) {
                Ok(bytes) => transaction = transaction.put(self.checkpoint_key(shard), bytes, None),
                // The last one that was saved counts: what completed since is handled again.
                Err(error) => {
                    tracing::error!(%shard, error = error_chain(&error), "the last checkpoint is not written")
                }
            }
        }
        transaction
    }

    async fn release_part(&self, mut part: Vec<(Giving, Transaction)>, given: &mut Vec<Given>) {
        let mut doubtful = false;
        while !part.is_empty() {
            match self.store.commit(whole(&part)).await {
                Ok(Committed::Done { .. }) => {
                    given.extend(part.into_iter().map(|(giving, _)| giving.given(true)));
                    return;
                }
                Ok(Committed::Refused { found, .. }) => {
                    let mut rest = Vec::new();
                    for ((giving, transaction), found) in part.into_iter().zip(found) {
                        if transaction.guards.iter().all(|guard| guard.holds(found.as_ref())) {
                            rest.push((giving, transaction));
                        } else {
                            // Gone after an answer that was lost: that try has done it.
                            given.push(giving.given(doubtful));
                        }
                    }
                    part = rest;
                }
                Err(error) => {
                    doubtful = true;
                    tracing::debug!(reason = error.reason(), "a release is tried again");
                    sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    /// Tells what has ended of records that were handed over; `None` = all of it was told long enough ago.
    pub(super) async fn tell(self, told: Vec<(ShardId, Option<ReleaseValue>)>) -> Job {
        let shards = told.iter().map(|(shard, _)| shard.clone()).collect();
        let told = told.into_iter().map(|(shard, value)| {
            let key = self.release_key(&shard);
            let transaction = match value {
                Some(value) => {
                    let value = value.in_order(&self.order);
                    Transaction::new().put(key, write(&value), self.lease_of(&value))
                }
                None => Transaction::new().delete(key),
            };
            (shard, transaction)
        });
        let mut failure = None;
        for part in parts(told) {
            failure = self.store.commit(whole(&part)).await.err().or(failure);
        }
        Job::Told { shards, failure }
    }
}

impl Claimed {
    fn take(&mut self, shard: ShardId, fence: Fence, entry: Option<&Entry>) {
        match decode(&shard, entry) {
            Ok(stored) => self.won.push(Won { shard, fence, stored, at: Instant::now() }),
            Err(error) => self.unreadable.push((shard, fence, error)),
        }
    }
}

impl Giving {
    fn given(self, in_order: bool) -> Given {
        Given { shard: self.shard, in_order, fence: self.fence, executing: self.released.executing }
    }
}

/// Parts that fit in a transaction each.
fn parts<T>(items: impl Iterator<Item = (T, Transaction)>) -> Vec<Vec<(T, Transaction)>> {
    let mut parts: Vec<Vec<(T, Transaction)>> = Vec::new();
    let (mut operations, mut bytes) = (0, 0);
    for (item, transaction) in items {
        operations += transaction.writes.len();
        bytes += transaction.bytes();
        if operations > MAX_OPERATIONS || bytes > MAX_TRANSACTION_BYTES || parts.is_empty() {
            (operations, bytes) = (transaction.writes.len(), transaction.bytes());
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push((item, transaction));
        }
    }
    parts
}

/// All of a part in one transaction.
fn whole<T>(part: &[(T, Transaction)]) -> Transaction {
    let mut whole = Transaction::new();
    for (_, transaction) in part {
        whole.guards.extend(transaction.guards.iter().cloned());
        whole.writes.extend(transaction.writes.iter().cloned());
    }
    whole
}

fn release_value<'a>(
    fence: Fence,
    executing: impl Iterator<Item = &'a Executing>,
    ended: &[(Offset, Fate)],
) -> ReleaseValue {
    let record = |(offset, key): &Executing| ExecutingRecord { offset: *offset, key: key.clone() };
    ReleaseValue::new(fence, executing.map(record).collect(), ended)
}

/// By the wall clock, for people only.
pub(super) fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
