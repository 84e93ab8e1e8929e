//! The view: what one member knows of an object, as of one revision of the store. Up: [ownership](super).
//!
//! It is state, not edges: a listing replaces it, changes bring it forward, and whoever acts on it looks only at what
//! it holds now. A missed or repeated notification changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use keyweir_contract::keys::{Key, ObjectPrefix};
use keyweir_core::placement::{Candidate, Placeable};
use keyweir_core::{MemberId, Ordinal, ShardId};
use serde::de::DeserializeOwned;

use super::values::{self, MemberValue, ObjectValue, OwnerValue, ReleaseValue, ShardListValue};
use crate::ports::{Change, Changes, Entry, LeaseId, Listing};

/// What one member knows of an object.
#[derive(Debug, Clone)]
pub struct View {
    prefix: ObjectPrefix,
    revision: u64,
    object: Option<Seen<ObjectValue>>,
    list: Option<Seen<ShardListValue>>,
    members: BTreeMap<MemberId, Seen<MemberValue>>,
    owners: HashMap<ShardId, Seen<OwnerValue>>,
    accepts: HashMap<ShardId, BTreeSet<MemberId>>,
    releases: HashMap<ShardId, BTreeMap<MemberId, Seen<ReleaseValue>>>,
    foreign: BTreeSet<String>,
}

/// A value, and how it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<T> {
    /// The value.
    pub value: T,
    /// The revision at which its key appeared.
    pub created: u64,
    /// The revision at which it was last written.
    pub written: u64,
    /// The lease with which it ends.
    pub lease: Option<LeaseId>,
}

impl View {
    /// The view of an object that nobody has looked at yet.
    #[must_use]
    pub fn new(prefix: ObjectPrefix) -> Self {
        Self {
            prefix,
            revision: 0,
            object: None,
            list: None,
            members: BTreeMap::new(),
            owners: HashMap::new(),
            accepts: HashMap::new(),
            releases: HashMap::new(),
            foreign: BTreeSet::new(),
        }
    }

    /// Forgets all and takes up a listing.
    pub fn replace(&mut self, listing: &Listing) {
        *self = Self::new(self.prefix.clone());
        for entry in &listing.entries {
            self.put(entry);
        }
        self.revision = listing.revision;
    }

    /// Takes up changes. What is older than the view is passed over.
    pub fn apply(&mut self, changes: &Changes) {
        for change in &changes.changes {
            match change {
                Change::Put(entry) if entry.mod_revision > self.revision => self.put(entry),
                Change::Deleted { key, revision } if *revision > self.revision => self.remove(key),
                Change::Put(_) | Change::Deleted { .. } => {}
            }
        }
        self.revision = self.revision.max(changes.revision);
    }

    fn put(&mut self, entry: &Entry) {
        self.remove(&entry.key);
        let taken = match self.prefix.parse(&entry.key) {
            Some(Key::Object) => seen(entry).map(|value| self.object = Some(value)),
            Some(Key::Shards) => seen(entry).map(|value| self.list = Some(value)),
            Some(Key::Member(member)) => member_and(&member, seen(entry)).map(|(member, value)| {
                self.members.insert(member, value);
            }),
            Some(Key::Ordinal(ordinal)) => seen(entry).map(|value| {
                let LeaseId(lease) = entry.lease.unwrap_or(LeaseId(0));
                self.members.insert(Ordinal(ordinal).member(format_args!("{lease:x}")), value);
            }),
            Some(Key::Owner(shard)) => shard_and(&shard, seen(entry)).map(|(shard, value)| {
                self.owners.insert(shard, value);
            }),
            Some(Key::Accept { member, shard }) => {
                let accept = seen::<values::AcceptValue>(entry);
                accept.and(member_and(&member, shard.parse().ok())).map(|(member, shard)| {
                    self.accepts.entry(shard).or_default().insert(member);
                })
            }
            Some(Key::Release { member, shard }) => {
                member_and(&member, shard_and(&shard, seen(entry))).map(|(member, (shard, value))| {
                    self.releases.entry(shard).or_default().insert(member, value);
                })
            }
            Some(Key::Checkpoint(_)) => Some(()),
            None => None,
        };
        if taken.is_none() && self.foreign.insert(entry.key.clone()) {
            tracing::warn!(key = entry.key, "a foreign value stands under the object's prefix: passed over");
        }
    }

    fn remove(&mut self, key: &str) {
        match self.prefix.parse(key) {
            Some(Key::Object) => self.object = None,
            Some(Key::Shards) => self.list = None,
            Some(Key::Member(member)) => {
                member.parse().ok().and_then(|member: MemberId| self.members.remove(&member));
            }
            Some(Key::Ordinal(ordinal)) => self.members.retain(|member, _| !Ordinal(ordinal).is_of(member)),
            Some(Key::Owner(shard)) => {
                shard.parse().ok().and_then(|shard: ShardId| self.owners.remove(&shard));
            }
            Some(Key::Accept { member, shard }) => {
                if let Some((member, shard)) = member_and(&member, shard.parse().ok()) {
                    remove_within(&mut self.accepts, &shard, |members| {
                        members.remove(&member);
                        members.is_empty()
                    });
                }
            }
            Some(Key::Release { member, shard }) => {
                if let Some((member, shard)) = member_and(&member, shard.parse().ok()) {
                    remove_within(&mut self.releases, &shard, |members| {
                        members.remove(&member);
                        members.is_empty()
                    });
                }
            }
            Some(Key::Checkpoint(_)) | None => {}
        }
        self.foreign.remove(key);
    }

    /// All up to this revision of the store is in the view.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whose prefix this is.
    #[must_use]
    pub fn object(&self) -> Option<&Seen<ObjectValue>> {
        self.object.as_ref()
    }

    /// The shard list.
    #[must_use]
    pub fn list(&self) -> Option<&Seen<ShardListValue>> {
        self.list.as_ref()
    }

    /// The live members.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<MemberId, Seen<MemberValue>> {
        &self.members
    }

    /// Who has been there the longest, by the store's order: clocks may be wrong. Where placement is static nobody watches
    /// members; who has owned a shard the longest then.
    #[must_use]
    pub fn eldest(&self) -> Option<&MemberId> {
        let members = self.members.iter().map(|(id, seen)| (seen.created, id)).min();
        let owners = || self.owners.values().map(|seen| (seen.created, &seen.value.member)).min();
        members.or_else(owners).map(|(_, id)| id)
    }

    /// The owner of a shard.
    #[must_use]
    pub fn owner(&self, shard: &ShardId) -> Option<&Seen<OwnerValue>> {
        self.owners.get(shard)
    }

    /// Whether a member is ready to take a shard.
    #[must_use]
    pub fn has_accepted(&self, member: &MemberId, shard: &ShardId) -> bool {
        self.accepts.get(shard).is_some_and(|members| members.contains(member))
    }

    /// The shards that a member is ready to take.
    pub fn accepts_of<'a>(&'a self, member: &'a MemberId) -> impl Iterator<Item = &'a ShardId> + 'a {
        self.accepts.iter().filter(move |(_, members)| members.contains(member)).map(|(shard, _)| shard)
    }

    /// What still executes of a shard at earlier owners.
    pub fn releases(&self, shard: &ShardId) -> impl Iterator<Item = (&MemberId, &ReleaseValue)> {
        self.releases.get(shard).into_iter().flatten().map(|(member, seen)| (member, &seen.value))
    }

    /// What still executes of a shard at one earlier owner.
    #[must_use]
    pub fn release(&self, shard: &ShardId, member: &MemberId) -> Option<&Seen<ReleaseValue>> {
        self.releases.get(shard)?.get(member)
    }

    /// Keys under the prefix that are not ours.
    #[must_use]
    pub fn foreign(&self) -> &BTreeSet<String> {
        &self.foreign
    }

    /// The members as placement sees them.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        let candidate = |(id, seen): (&MemberId, &Seen<MemberValue>)| Candidate {
            id: id.clone(),
            capacity: seen.value.capacity,
            zone: seen.value.zone.as_deref().map(Into::into),
            leaving: seen.value.leaving,
            healthy: seen.value.healthy,
            rules: seen.value.rules,
        };
        self.members.iter().map(candidate).collect()
    }

    /// The shards as placement sees them, in order.
    #[must_use]
    pub fn placeables(&self) -> Vec<Placeable> {
        let shards = self.list.iter().flat_map(|list| list.value.shards());
        let placeable = |id: ShardId| Placeable {
            owner: self.owners.get(&id).map(|owner| owner.value.member.clone()),
            accepted: self.accepts.get(&id).into_iter().flatten().cloned().collect(),
            zone: None,
            id,
        };
        shards.map(placeable).collect()
    }
}

fn seen<T: DeserializeOwned>(entry: &Entry) -> Option<Seen<T>> {
    let value = values::read(&entry.value)?;
    Some(Seen { value, created: entry.create_revision, written: entry.mod_revision, lease: entry.lease })
}

fn member_and<T>(member: &str, other: Option<T>) -> Option<(MemberId, T)> {
    member.parse().ok().zip(other)
}

fn shard_and<T>(shard: &str, other: Option<T>) -> Option<(ShardId, T)> {
    shard.parse().ok().zip(other)
}

/// Removes from a map within a map; the inner one goes when it is empty.
fn remove_within<T>(map: &mut HashMap<ShardId, T>, shard: &ShardId, remove: impl FnOnce(&mut T) -> bool) {
    if map.get_mut(shard).is_some_and(remove) {
        map.remove(shard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::values::{AcceptValue, FORM, write};

    fn entry(key: &str, value: bytes::Bytes, revision: u64) -> Entry {
        let key = format!("/kw/shop/orders/live/{key}");
        Entry { key, value, create_revision: revision, mod_revision: revision, lease: None }
    }

    fn owner(revision: u64) -> Entry {
        let value = OwnerValue { form: FORM, member: MemberId::new("pod-1", 1), since: 0 };
        entry("owners/orders/3", write(&value), revision)
    }

    fn view() -> View {
        View::new(ObjectPrefix::new("kw", "shop", "orders"))
    }

    #[test]
    fn changes_bring_the_view_forward_and_old_ones_are_passed_over() {
        let shard = ShardId::new("orders", 3);
        let mut view = view();
        view.replace(&Listing { revision: 7, entries: vec![owner(5)] });
        assert_eq!(view.owner(&shard).map(|seen| seen.created), Some(5));
        let gone = |revision| Change::Deleted { key: owner(0).key, revision };
        view.apply(&Changes { revision: 7, changes: vec![gone(6)] });
        assert!(view.owner(&shard).is_some(), "what was deleted before the listing stands again in it");
        view.apply(&Changes { revision: 9, changes: vec![gone(8), Change::Put(owner(9))] });
        assert_eq!(view.owner(&shard).map(|seen| seen.created), Some(9));
        assert_eq!(view.revision(), 9);
        view.replace(&Listing { revision: 12, entries: vec![] });
        assert_eq!((view.owner(&shard), view.revision()), (None, 12));
    }

    #[test]
    fn the_eldest_is_who_came_first_whatever_its_clock_says() {
        let mut view = view();
        assert_eq!(view.eldest(), None);
        // By ordinal there are only owners to be seen.
        let other = OwnerValue { form: FORM, member: MemberId::new("pod-2", 1), since: -5 };
        let entries = vec![owner(5), entry("owners/orders/4", write(&other), 6)];
        view.replace(&Listing { revision: 6, entries });
        assert_eq!(view.eldest(), Some(&MemberId::new("pod-1", 1)));
        let member = |id: &str, since, revision| {
            let value = serde_json::json!({"form": FORM, "capacity": 1, "healthy": true, "leaving": false, "rules": 1,
                "program": "0.1.0", "since": since});
            entry(&format!("members/{id}"), value.to_string().into(), revision)
        };
        let entries = vec![owner(5), member("pod-1.1", 1000, 8), member("pod-2.1", 2000, 7)];
        view.replace(&Listing { revision: 8, entries });
        assert_eq!(view.eldest(), Some(&MemberId::new("pod-2", 1)));
    }

    #[test]
    fn foreign_values_are_passed_over_and_named() {
        let mut view = view();
        let entries = vec![
            entry("owners/orders/3", "rubbish".into(), 1),
            entry("owners/orders/x", owner(1).value, 1),
            entry("members/nobody", "{}".into(), 1),
            entry("surprise", "{}".into(), 1),
            entry("accepts/pod-1.1/orders/3", write(&AcceptValue { form: FORM }), 1),
        ];
        view.replace(&Listing { revision: 1, entries });
        assert_eq!(view.foreign().len(), 4);
        assert!(view.has_accepted(&MemberId::new("pod-1", 1), &ShardId::new("orders", 3)));
        // A good value in the place of a foreign one counts.
        view.apply(&Changes { revision: 2, changes: vec![Change::Put(owner(2))] });
        assert_eq!(view.foreign().len(), 3);
        assert!(view.owner(&ShardId::new("orders", 3)).is_some());
    }
}
