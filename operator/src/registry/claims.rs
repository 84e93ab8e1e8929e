//! Which objects read with which group. Two on one group would take each other's offsets for resets: the older one has
//! it, and the other is refused.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::jiff::Timestamp;
use keyweir_crds::{StreamConsumer, source::KafkaSourceSpec};
use kube::ResourceExt;

use super::Name;

/// A group of a cluster. Whoever names other servers of the same cluster is not found out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Group {
    servers: BTreeSet<String>,
    group: String,
}

/// Who wants it: the oldest comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    since: Option<Timestamp>,
    uid: String,
    name: Name,
}

/// Which objects read with which group.
#[derive(Default)]
pub struct Claims {
    /// Held for one look-up at a time, never across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: HashMap<Group, BTreeSet<Claimant>>,
    objects: HashMap<Name, (Group, Claimant)>,
}

impl Claims {
    /// Notes the object's group; the older object that has it already, if there is one.
    pub fn claim(&self, consumer: &StreamConsumer) -> Option<Name> {
        let name = Name { namespace: consumer.namespace().unwrap_or_default(), name: consumer.name_any() };
        let mut state = self.lock();
        state.release(&name);
        let group = Group::of(consumer.spec.source.kafka.as_ref()?);
        let since = consumer.creation_timestamp().map(|time| time.0);
        let claimant = Claimant { since, uid: consumer.uid().unwrap_or_default(), name: name.clone() };
        let claimants = state.groups.entry(group.clone()).or_default();
        claimants.insert(claimant.clone());
        let first = claimants.first().filter(|first| first.name != name).map(|first| first.name.clone());
        state.objects.insert(name, (group, claimant));
        first
    }

    /// The object wants nothing any more.
    pub fn release(&self, name: &Name) {
        self.lock().release(name);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn release(&mut self, name: &Name) {
        let Some((group, claimant)) = self.objects.remove(name) else { return };
        if let Some(claimants) = self.groups.get_mut(&group) {
            claimants.remove(&claimant);
            if claimants.is_empty() {
                self.groups.remove(&group);
            }
        }
    }
}

impl Group {
    fn of(source: &KafkaSourceSpec) -> Self {
        let servers = source.bootstrap_servers.iter().map(|server| server.as_str().to_owned()).collect();
        Self { servers, group: source.group.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn consumer(name: &str, created: &str, group: &str) -> StreamConsumer {
        serde_json::from_value(json!({
            "apiVersion": "keyweir.io/v1alpha1", "kind": "StreamConsumer",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": created},
            "spec": {
                "source": {"kafka": {"bootstrapServers": ["b:9092", "a:9092"], "topics": ["t"], "group": group}},
                "handler": {"http": {"url": "http://orders/"}},
            },
        }))
        .expect("a consumer")
    }

    fn name(name: &str) -> Option<Name> {
        Some(Name { namespace: "shop".to_owned(), name: name.to_owned() })
    }

    #[test]
    fn the_older_object_has_the_group_in_whatever_order_they_are_seen() {
        let claims = Claims::default();
        let (old, young) =
            (consumer("z", "2026-01-01T00:00:00Z", "g"), consumer("a", "2026-01-02T00:00:00Z", "g"));
        assert_eq!(claims.claim(&young), None);
        assert_eq!(claims.claim(&old), None);
        assert_eq!(claims.claim(&young), name("z"));
        assert_eq!(claims.claim(&consumer("b", "2026-01-03T00:00:00Z", "h")), None);
        claims.release(&name("z").expect("a name"));
        assert_eq!(claims.claim(&young), None);
    }
}
