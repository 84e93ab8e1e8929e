//! How a member joins: a lease, the object's own key, one listing, the member's key. Up: [ownership](super).

use keyweir_contract::keys::{Key, ObjectPrefix};
use keyweir_core::placement::Rules;
use keyweir_core::{MemberId, Ordinal};
use tokio::sync::watch;

use super::jobs::unix_millis;
use super::values::{FORM, MemberValue, ObjectValue, read, write};
use super::view::View;
use super::{Placing, Settings};
use crate::ports::{
    Committed, Entry, Grant, Guard, LeaseId, LeaseStore, Pulse, Renewals, StoreError, Transaction,
};

/// How often the store is asked again whether a key was written.
const LOOKS: usize = 2;

/// A member that has joined.
pub(super) struct Joined {
    pub(super) me: MemberId,
    pub(super) grant: Grant,
    pub(super) renewals: Renewals,
    pub(super) view: View,
    pub(super) epoch: u64,
    pub(super) value: MemberValue,
}

/// Why a member has not joined. All of it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    #[error("failed to reach the store to join")]
    Store(#[source] StoreError),
    #[error("failed to join: the prefix belongs to another object, of uid {found}")]
    Taken { found: String },
    #[error("failed to join: the object's key {key} holds a foreign value")]
    Foreign { key: String },
    #[error("failed to join: the key of this member stands already")]
    Known,
    #[error(
        "failed to join: {ordinal} is alive already, as far as etcd knows; give each worker an ordinal of its own, or wait \
         until the lease of the one before has ended"
    )]
    OrdinalTaken { ordinal: Ordinal },
}

impl JoinError {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Store(error) => error.reason(),
            Self::Taken { .. } => "PrefixTaken",
            Self::Foreign { .. } => "ForeignValue",
            Self::Known => "MemberExists",
            Self::OrdinalTaken { .. } => "OrdinalTaken",
        }
    }

    /// Whether it is likely to be over soon without anybody's doing.
    pub(super) fn ends_by_itself(&self) -> bool {
        matches!(self, Self::OrdinalTaken { .. })
    }
}

/// Joins under a new lease. `previous` is this process's own earlier lease: it ends first.
pub(super) async fn join(
    store: &dyn LeaseStore,
    settings: &Settings,
    healthy: &watch::Receiver<bool>,
    previous: Option<LeaseId>,
    pulse: &Pulse,
) -> Result<Joined, JoinError> {
    if let Some(previous) = previous {
        store.revoke(previous).await.map_err(JoinError::Store)?;
    }
    let epoch = object_epoch(store, settings).await?;
    let grant = store.grant(settings.ttl).await.map_err(JoinError::Store)?;
    if grant.ttl > settings.ttl {
        tracing::warn!(asked = ?settings.ttl, granted = ?grant.ttl, "the store grants no shorter lease");
    }
    pulse.beat();
    let renewals = store.keep(grant, pulse.clone());
    let healthy = *healthy.borrow();
    let joined = enter(store, settings, healthy, grant).await;
    match joined {
        Ok((me, view, value)) => Ok(Joined { me, grant, renewals, view, epoch, value }),
        Err(error) => {
            // If this fails too, the lease ends by itself: nobody renews it any more.
            let _ = store.revoke(grant.lease).await;
            Err(error)
        }
    }
}

/// The object's epoch; the first member of an object writes its key.
async fn object_epoch(store: &dyn LeaseStore, settings: &Settings) -> Result<u64, JoinError> {
    let key = settings.prefix.key(&Key::Object);
    let value = ObjectValue { form: FORM, uid: settings.object_uid.clone(), epoch: 1 };
    let create = Transaction::new().when(Guard::Absent(key.clone())).put(key.clone(), write(&value), None);
    let found = match store.commit(create).await.map_err(JoinError::Store)? {
        Committed::Done { .. } => return Ok(value.epoch),
        Committed::Refused { found, .. } => found.into_iter().flatten().next(),
    };
    let entry = found.ok_or_else(|| JoinError::Foreign { key: key.clone() })?;
    let found: ObjectValue = read(&entry.value).ok_or_else(|| JoinError::Foreign { key: key.clone() })?;
    // Where either side has no uid there is no cluster to tell apart.
    let differs =
        found.uid != settings.object_uid && !found.uid.is_empty() && !settings.object_uid.is_empty();
    if differs { succeed(store, settings, key, entry.mod_revision, found).await } else { Ok(found.epoch) }
}

/// Takes over what a deleted object of the same name has left, once none of its members lives. The epoch rises, so that
/// whatever was still on its way from one of them is refused.
async fn succeed(
    store: &dyn LeaseStore,
    settings: &Settings,
    key: String,
    written: u64,
    found: ObjectValue,
) -> Result<u64, JoinError> {
    if anybody_lives(store, &settings.prefix).await.map_err(JoinError::Store)? {
        return Err(JoinError::Taken { found: found.uid });
    }
    let value = ObjectValue { uid: settings.object_uid.clone(), epoch: found.epoch + 1, ..found.clone() };
    let replace = Transaction::new().when(Guard::Written(key.clone(), written)).put(key, write(&value), None);
    match store.commit(replace).await.map_err(JoinError::Store)? {
        Committed::Done { .. } => {
            tracing::info!(earlier = found.uid, epoch = value.epoch, "going on where a deleted object was");
            Ok(value.epoch)
        }
        // Somebody else was faster: the next try finds out who.
        Committed::Refused { .. } => Err(JoinError::Taken { found: found.uid }),
    }
}

async fn anybody_lives(store: &dyn LeaseStore, prefix: &ObjectPrefix) -> Result<bool, StoreError> {
    for place in [prefix.members(), prefix.ordinals()] {
        if !store.list(&place).await?.entries.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Looks at the object and writes the member's key.
async fn enter(
    store: &dyn LeaseStore,
    settings: &Settings,
    healthy: bool,
    grant: Grant,
) -> Result<(MemberId, View, MemberValue), JoinError> {
    let mut view = View::new(settings.prefix.clone());
    view.replace(&store.list(&settings.prefix.live()).await.map_err(JoinError::Store)?);
    let by_ordinal = matches!(settings.placing, Placing::Static { .. });
    // The key of an ordinal has room for one.
    if settings.sole_incarnation && by_ordinal {
        end_the_dead(store, settings, &view).await.map_err(JoinError::Store)?;
    }
    let me = settings.member(grant.lease);
    let value = MemberValue {
        form: FORM,
        address: settings.address.clone(),
        capacity: settings.capacity,
        zone: settings.zone.clone(),
        healthy,
        leaving: false,
        rules: Rules::NEWEST,
        program: settings.program.clone(),
        streams: Some(settings.streams.clone()),
        wire: settings.wire.clone(),
        since: unix_millis(),
        worker: settings.sole_incarnation.then(|| settings.member_uid.clone()),
        page: settings.page.clone(),
    };
    let key = settings.member_key(&me);
    let create = Transaction::new().when(Guard::Absent(key.clone())).put(key, write(&value), grant.lease);
    let mut answer = store.commit(create.clone()).await;
    for _ in 0..LOOKS {
        if !matches!(answer, Err(StoreError::Unreachable { .. })) {
            break;
        }
        // It may have happened: the same once more tells.
        answer = store.commit(create.clone()).await;
    }
    if let Committed::Refused { found, .. } = answer.map_err(JoinError::Store)?
        && !found.into_iter().flatten().any(|entry| entry.lease == Some(grant.lease))
    {
        return Err(match settings.placing {
            Placing::Dynamic => JoinError::Known,
            Placing::Static { ordinal, .. } => JoinError::OrdinalTaken { ordinal },
        });
    }
    // Only now: what the dead one had leans to this one, and nobody else takes it in between.
    if settings.sole_incarnation && !by_ordinal {
        end_the_dead(store, settings, &view).await.map_err(JoinError::Store)?;
    }
    Ok((me, view, value))
}

/// Ends the leases of earlier incarnations of this worker: as there can be one at a time, they are dead.
async fn end_the_dead(store: &dyn LeaseStore, settings: &Settings, view: &View) -> Result<(), StoreError> {
    let dead: Vec<LeaseId> = match settings.placing {
        Placing::Dynamic => {
            let earlier = view.members().iter().filter(|(member, _)| member.uid() == settings.member_uid);
            earlier.filter_map(|(_, seen)| seen.lease).collect()
        }
        Placing::Static { ordinal, .. } => {
            let look = Transaction::new().read(settings.prefix.key(&Key::Ordinal(ordinal.0)));
            let reads = match store.commit(look).await? {
                Committed::Done { reads, .. } => reads,
                // It has no guard that could refuse.
                Committed::Refused { .. } => Vec::new(),
            };
            let is_ours = |entry: &Entry| {
                let value = read::<MemberValue>(&entry.value);
                value.and_then(|value| value.worker).is_some_and(|worker| worker == settings.member_uid)
            };
            reads.into_iter().flatten().filter(is_ours).filter_map(|entry| entry.lease).collect()
        }
    };
    for lease in dead {
        tracing::info!(
            lease = lease.0,
            "an earlier incarnation of this worker is dead: its lease is revoked"
        );
        store.revoke(lease).await?;
    }
    Ok(())
}
