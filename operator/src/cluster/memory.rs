//! What was applied the last time, so that the same is not applied again: a status that changes every few seconds
//! must not cost five writes each time.
//!
//! A change by somebody else is noticed by the watches, which end the memory of it. What they miss is repaired when the
//! memory has become old.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{Resource, ResourceExt, runtime::watcher::Event};
use serde::Serialize;
use tokio::time::Instant;

use super::objects::{Objects, Workload};

/// After this time the same is applied again.
const OLD: Duration = Duration::from_secs(590);

/// What was applied the last time, by the uid of the owner.
#[derive(Default)]
pub struct Memory {
    /// Held for one look-up at a time, never across an await.
    entries: Mutex<HashMap<String, Entry>>,
    /// The owners that have a policy about who may reach their pods. Held as above.
    walled: Mutex<HashSet<String>>,
}

struct Entry {
    print: u64,
    marks: Marks,
    at: Instant,
}

/// How each object looked when it came back, by kind.
pub type Marks = Vec<(String, Option<String>)>;

impl Memory {
    /// Whether these very objects were applied lately, and nobody has changed them since.
    pub fn holds(&self, uid: &str, print: u64) -> bool {
        self.lock().get(uid).is_some_and(|entry| entry.print == print && entry.at.elapsed() < OLD)
    }

    /// These objects have been applied.
    pub fn keep(&self, uid: &str, print: u64, marks: Marks) {
        self.lock().insert(uid.to_owned(), Entry { print, marks, at: Instant::now() });
    }

    /// Whatever was applied is to be applied again.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Whether the owner has a policy about who may reach its pods. An installation that makes none removes what an earlier
    /// one has made.
    pub fn is_walled(&self, uid: &str) -> bool {
        self.walled.lock().unwrap_or_else(PoisonError::into_inner).contains(uid)
    }

    /// A made object was seen: one that looks unlike what was applied, or is gone, ends the memory.
    pub fn saw<K: Resource<DynamicType = ()>>(&self, event: &Event<K>) {
        let (object, gone) = match event {
            Event::Apply(object) | Event::InitApply(object) => (object, false),
            Event::Delete(object) => (object, true),
            Event::Init | Event::InitDone => return,
        };
        let Some(uid) = object.owner_references().first().map(|owner| owner.uid.clone()) else { return };
        if K::kind(&()) == "NetworkPolicy" {
            let mut walled = self.walled.lock().unwrap_or_else(PoisonError::into_inner);
            if gone {
                walled.remove(&uid)
            } else {
                walled.insert(uid.clone())
            };
        }
        let mut entries = self.lock();
        let Some(entry) = entries.get(&uid) else { return };
        let (kind, mark) = mark(object);
        let same = entry.marks.iter().any(|(known, as_applied)| *known == kind && *as_applied == mark);
        if gone || !same {
            entries.remove(&uid);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What changes with an object's spec: its generation, or its version where it has none and nobody else writes to it.
pub fn mark<K: Resource<DynamicType = ()>>(object: &K) -> (String, Option<String>) {
    let generation = object.meta().generation.map(|generation| generation.to_string());
    (K::kind(&()).into_owned(), generation.or_else(|| object.resource_version()))
}

/// A number that is the same for the same objects.
pub fn print(objects: &Objects) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut add = |text: String| text.hash(&mut hasher);
    add(text(&objects.service_account));
    add(text(&objects.config_map));
    add(text(&objects.service));
    add(text(&objects.lag_service));
    add(text(&objects.wire_secret));
    add(text(&objects.disruption_budget));
    add(text(&objects.network_policy));
    match &objects.workload {
        Workload::Deployment(deployment) => add(text(deployment)),
        Workload::StatefulSet(set) => add(text(set)),
    }
    hasher.finish()
}

/// Plain data always serialises; an empty text would still be the same each time.
fn text(object: &impl Serialize) -> String {
    serde_json::to_string(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn seen(version: &str) -> ConfigMap {
        let owner =
            json!({"apiVersion": "keyweir.io/v1alpha1", "kind": "StreamConsumer", "name": "a", "uid": "1"});
        let metadata = json!({"name": "a-stc", "resourceVersion": version, "ownerReferences": [owner]});
        serde_json::from_value(json!({"metadata": metadata})).expect("a ConfigMap")
    }

    fn remembering() -> Memory {
        let memory = Memory::default();
        memory.keep("1", 7, vec![mark(&seen("5"))]);
        memory
    }

    #[test]
    fn the_same_objects_are_known_until_somebody_changes_one() {
        let memory = remembering();
        assert!(memory.holds("1", 7) && !memory.holds("1", 8) && !memory.holds("2", 7));
        memory.saw(&Event::Apply(seen("5")));
        assert!(memory.holds("1", 7));
        memory.saw(&Event::Apply(seen("6")));
        assert!(!memory.holds("1", 7));
    }

    #[test]
    fn a_deleted_object_is_no_longer_known() {
        let memory = remembering();
        memory.saw(&Event::Delete(seen("5")));
        assert!(!memory.holds("1", 7));
    }
}
