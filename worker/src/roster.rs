//! Who is there and who owns what, as etcd and the source say it: for `keyweir members` and `keyweir shards`.
//!
//! It only reads. A worker that is asked about need not answer, or be alive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyweir_contract::WorkerConfig;
use keyweir_contract::endpoints::EtcdEndpoint;
use keyweir_contract::keys::{Key, ObjectPrefix};
use keyweir_core::checkpoint::{Checkpoint, DecodeError};
use keyweir_core::slots::key_hash;
use keyweir_core::{Fence, MemberId, Offset, ShardId, Slot, SlotMap};
use keyweir_engine::ownership::values::MemberValue;
use keyweir_engine::ownership::{History, Seen, View};
use keyweir_engine::ports::{Bounds, LeaseStore, Listing, Source, StoreError};
use serde::Serialize;

use crate::wiring;

/// How long an etcd that no manifest names may think about it.
const ASK: Duration = Duration::from_secs(5);

/// Why nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The object has one worker at most, which keeps all to itself.
    #[error("failed to find members of {object}: it names no etcd; set spec.coordination.type: Etcd")]
    Alone {
        /// `namespace/name`.
        object: String,
    },
    /// etcd was not read.
    #[error("failed to read what members of {object} wrote")]
    Store {
        /// `namespace/name`.
        object: String,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// One object's members and shards at one revision of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Roster {
    /// `namespace/name`.
    pub object: String,
    /// The live members.
    pub members: Vec<MemberRow>,
    /// The shards, in order.
    pub shards: Vec<ShardRow>,
    /// Keys under the object's prefix that are not Keyweir's.
    pub foreign: Vec<String>,
    /// How far back etcd's history goes, at least; `None` = nobody can tell.
    #[serde(skip)]
    pub history: Option<History>,
    /// Who executes the records of a key, where keys are routed.
    #[serde(skip)]
    pub targets: Option<SlotMap>,
    /// Where owners say how many records they have in flight, and under which fence.
    #[serde(skip)]
    pub pages: Vec<Page>,
}

/// Where the owner of a shard says what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// `topic/partition`.
    pub shard: String,
    /// The fence of the present tenure.
    pub fence: String,
    /// `address:port`.
    pub address: String,
}

impl Roster {
    /// The member that executes the records of this key; `None` = keys are not routed, or there is nobody.
    pub fn target(&self, key: &[u8]) -> Option<&MemberId> {
        self.targets.as_ref()?.member(Slot::of(key_hash(key)))
    }
}

/// One live member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRow {
    /// Which incarnation of which worker.
    pub member: String,
    /// When it joined, in milliseconds since the epoch, by its own clock.
    pub since: i64,
    /// Shards that it owns.
    pub shards: usize,
    /// Its share beside the others'.
    pub capacity: u32,
    /// Its source and its handler work.
    pub healthy: bool,
    /// It is on its way out.
    pub leaving: bool,
    /// Where it runs; absent: it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Where it says what it does, as `address:port`; absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The version of its program.
    pub program: String,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardRow {
    /// `topic/partition`.
    pub shard: String,
    /// Who owns it; absent: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Since when, in milliseconds since the epoch, by the owner's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Under which fence its last checkpoint was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<String>,
    /// All below is complete, durably; absent: there is no checkpoint yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontier: Option<i64>,
    /// Offsets above the frontier that are complete.
    pub ahead: u64,
    /// Records that failed and will be tried again.
    pub failed: usize,
    /// Records that still execute at earlier owners.
    pub elsewhere: usize,
    /// How many tenures in a row began with the frontier where it is and did not end in order, the present one included.
    pub crash_takeovers: u32,
    /// Records behind the durable frontier, those in flight included; absent: the source did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// Records that its owner has taken and not completed, if it was asked and answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
    /// Why its checkpoint can't be read, or why it was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Reads who is there and who owns what.
pub async fn look(config: &WorkerConfig) -> Result<Roster, RosterError> {
    let object = wiring::object_name(config);
    let Some(fleet) = wiring::fleet(config) else {
        return Err(RosterError::Alone { object });
    };
    look_at(object, fleet, wiring::source(config)).await
}

/// The same of the object of that namespace and name, by its etcd alone: nobody knows its source then.
pub async fn look_up(
    endpoints: Vec<String>,
    prefix: &str,
    namespace: &str,
    name: &str,
) -> Result<Roster, RosterError> {
    let endpoint = EtcdEndpoint { endpoints, tls: None, login: None };
    let fleet = wiring::fleet_at(endpoint, ASK, ObjectPrefix::new(prefix, namespace, name));
    look_at(format!("{namespace}/{name}"), fleet, None).await
}

async fn look_at(
    object: String,
    fleet: wiring::Fleet,
    source: Option<Arc<dyn Source>>,
) -> Result<Roster, RosterError> {
    let read = read(fleet.store.as_ref(), &fleet.prefix).await;
    let (view, checkpoints) = read.map_err(|source| RosterError::Store { object: object.clone(), source })?;
    let lags = lags(source, &checkpoints, &view).await;
    let history = history(fleet.store.as_ref(), &fleet.prefix, &view).await;
    let routed = view.members().values().any(|member| member.value.wire.is_some());
    Ok(Roster {
        members: members(&view),
        shards: shards(&view, &checkpoints, &lags),
        foreign: view.foreign().iter().cloned().collect(),
        history,
        targets: routed.then(|| SlotMap::place(&view.candidates())),
        pages: pages(&view),
        object,
    })
}

type Stored = BTreeMap<ShardId, Result<Checkpoint, DecodeError>>;

async fn read(store: &dyn LeaseStore, prefix: &ObjectPrefix) -> Result<(View, Stored), StoreError> {
    let mut view = View::new(prefix.clone());
    let mut live = store.list(&prefix.live()).await?;
    // Members by ordinal lie apart: none of them is interested in the others.
    live.entries.extend(store.list(&prefix.ordinals()).await?.entries);
    view.replace(&live);
    let Listing { entries, .. } = store.list(&prefix.checkpoints()).await?;
    let stored = entries.iter().filter_map(|entry| {
        let Some(Key::Checkpoint(shard)) = prefix.parse(&entry.key) else {
            return None;
        };
        Some((shard.parse().ok()?, Checkpoint::decode(&entry.value)))
    });
    Ok((view, stored.collect()))
}

/// Whether etcd still keeps what stood when the oldest member joined, which was that long ago by that member's clock.
async fn history(store: &dyn LeaseStore, prefix: &ObjectPrefix, view: &View) -> Option<History> {
    let oldest = view.members().values().min_by_key(|member| member.created)?;
    let present = store.keeps(&prefix.key(&Key::Object), oldest.created).await.ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = Duration::from_millis(u64::try_from(oldest.value.since).unwrap_or_default());
    Some(History { age: now.saturating_sub(since), revisions: present.saturating_sub(oldest.created) })
}

/// How far each shard is behind its durable frontier. A source that does not answer leaves it unknown.
async fn lags(source: Option<Arc<dyn Source>>, stored: &Stored, view: &View) -> BTreeMap<ShardId, u64> {
    let ids: Vec<ShardId> = view.placeables().into_iter().map(|shard| shard.id).collect();
    let Some(source) = source.filter(|source| source.counts_records() && !ids.is_empty()) else {
        return BTreeMap::new();
    };
    let Ok(bounds) = source.bounds(&ids).await else {
        return BTreeMap::new();
    };
    let behind = |(id, Bounds { first, end }): (ShardId, Bounds)| {
        let frontier = stored.get(&id).and_then(|stored| stored.as_ref().ok()).map(|stored| stored.frontier);
        let Offset(from) = frontier.unwrap_or(first).max(first);
        (id, u64::try_from(end.0.saturating_sub(from)).unwrap_or(0))
    };
    ids.into_iter().zip(bounds).map(behind).collect()
}

fn pages(view: &View) -> Vec<Page> {
    let epoch = view.object().map_or(0, |object| object.value.epoch);
    let page = |id: ShardId| {
        let owner = view.owner(&id)?;
        let address = view.members().get(&owner.value.member)?.value.page.clone()?;
        Some(Page { shard: id.to_string(), fence: Fence::new(epoch, owner.created).to_string(), address })
    };
    view.placeables().into_iter().filter_map(|shard| page(shard.id)).collect()
}

fn members(view: &View) -> Vec<MemberRow> {
    let mut owned: BTreeMap<MemberId, usize> = BTreeMap::new();
    for member in view.placeables().into_iter().filter_map(|shard| shard.owner) {
        *owned.entry(member).or_default() += 1;
    }
    let row = |(id, Seen { value, .. }): (&MemberId, &Seen<MemberValue>)| MemberRow {
        member: id.to_string(),
        since: value.since,
        shards: owned.get(id).copied().unwrap_or_default(),
        capacity: value.capacity,
        healthy: value.healthy,
        leaving: value.leaving,
        zone: value.zone.clone(),
        address: value.page.clone(),
        program: value.program.clone(),
    };
    view.members().iter().map(row).collect()
}

fn shards(view: &View, stored: &Stored, lags: &BTreeMap<ShardId, u64>) -> Vec<ShardRow> {
    let row = |id: ShardId| {
        let owner = view.owner(&id);
        let checkpoint = stored.get(&id);
        let known = checkpoint.and_then(|stored| stored.as_ref().ok());
        let unread = checkpoint.and_then(|stored| stored.as_ref().err()).map(ToString::to_string);
        ShardRow {
            owner: owner.map(|owner| owner.value.member.to_string()),
            since: owner.map(|owner| owner.value.since),
            fence: known.map(|known| Fence::to_string(&known.fence)),
            frontier: known.map(|known| known.frontier.0),
            ahead: known.map_or(0, |known| known.completed.width()),
            failed: known.map_or(0, |known| known.failed.len()),
            elsewhere: view.releases(&id).map(|(_, release)| release.executing.len()).sum(),
            crash_takeovers: known.map_or(0, |known| known.crash_takeovers),
            lag: lags.get(&id).copied(),
            in_flight: None,
            trouble: unread.or_else(|| known.and_then(|known| known.stopped.clone())),
            shard: id.to_string(),
        }
    };
    view.placeables().into_iter().map(|shard| row(shard.id)).collect()
}
