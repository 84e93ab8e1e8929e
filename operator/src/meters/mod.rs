//! Meters: which objects are measured without workers, by which meter, and what the meters say.
//!
//! ```text
//!   reconcile ── measure ──▶ Meters ──▶ keep   (one Deployment and Service for each namespace, broker and login)
//!                              └──────▶ listen (GET /v1/readings, a held request for each meter) ──▶ Registry
//! ```
//! A meter is `keyweir-worker meter`: it holds the client of the broker and the login, this program holds neither. It
//! belongs to all objects that it measures, so it goes with the last of them even when no operator is there.

pub mod build;
pub mod keep;
pub mod listen;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::{api::core::v1::LocalObjectReference, apimachinery::pkg::apis::meta::v1::OwnerReference};
use keyweir_contract::{endpoints::KafkaEndpoint, hash::fnv1a};
use tokio::time::Instant;

use crate::{registry::Name, workload::secrets::Files};

/// Several changes of a meter that come within this time are one.
const PACE: Duration = Duration::from_secs(5);
/// After this time the same is written again, in case somebody changed it.
const OLD: Duration = Duration::from_secs(600);

/// One meter: of a namespace, a broker and a login.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Meter {
    /// Its namespace.
    pub namespace: String,
    /// What its Deployment, its Service and its pods' label are called.
    pub name: String,
}

impl Meter {
    /// The meter of those who read from that broker, with that login, in an installation of that class.
    pub fn of(namespace: &str, endpoint: &KafkaEndpoint, class: &str) -> Self {
        // Plain data always serialises.
        let text = serde_json::to_string(&(endpoint, class)).unwrap_or_default();
        Self { namespace: namespace.to_owned(), name: format!("keyweir-meter-{:016x}", fnv1a(text.bytes())) }
    }

    /// The name by which DNS knows it.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

/// An object as its meter needs to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Metered {
    /// Which meter measures it.
    pub meter: Meter,
    /// The object: the meter goes with the last one.
    pub owner: OwnerReference,
    /// The ConfigMap with the object's configuration.
    pub config_map: String,
    /// Changes with what the meter must know.
    pub print: String,
    /// The files that hold the broker's authorities and the login.
    pub files: Files,
    /// Secrets for pulling images.
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// Which objects are measured by which meter.
#[derive(Default)]
pub struct Meters {
    /// Held for one look-up at a time, never across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    meters: BTreeMap<Meter, Entry>,
    objects: HashMap<Name, Meter>,
}

#[derive(Default)]
struct Entry {
    objects: BTreeMap<Name, Metered>,
    changed: bool,
    written: Option<Instant>,
}

impl Entry {
    fn is_due(&self, now: Instant) -> bool {
        let since = self.written.map(|written| now.duration_since(written));
        since.is_none_or(|since| since >= OLD || self.changed && since >= PACE)
    }
}

impl Meters {
    /// From now on the object is measured, or is not.
    pub fn measure(&self, name: &Name, metered: Option<Metered>) {
        let mut state = self.lock();
        let before = state.objects.remove(name);
        if let Some(old) = before.filter(|old| metered.as_ref().is_none_or(|new| new.meter != *old))
            && let Some(entry) = state.meters.get_mut(&old)
        {
            entry.objects.remove(name);
            entry.changed = true;
        }
        if let Some(metered) = metered {
            state.objects.insert(name.clone(), metered.meter.clone());
            let entry = state.meters.entry(metered.meter.clone()).or_default();
            if entry.objects.get(name) != Some(&metered) {
                entry.changed = true;
                entry.objects.insert(name.clone(), metered);
            }
        }
    }

    /// The meters that are to be written now, each with its objects; they count as written.
    pub fn due(&self, now: Instant) -> Vec<(Meter, Vec<(Name, Metered)>)> {
        let mut state = self.lock();
        let mut due = Vec::new();
        for (meter, entry) in state.meters.iter_mut().filter(|(_, entry)| entry.is_due(now)) {
            (entry.changed, entry.written) = (false, Some(now));
            due.push((meter.clone(), entry.objects.clone().into_iter().collect()));
        }
        // One without objects is removed, and then forgotten.
        state.meters.retain(|_, entry| !entry.objects.is_empty() || entry.changed);
        due
    }

    /// The meter was not written: it is tried again.
    pub fn failed(&self, meter: &Meter) {
        let mut state = self.lock();
        state.meters.entry(meter.clone()).or_default().changed = true;
    }

    /// The meters that measure something.
    pub fn all(&self) -> Vec<Meter> {
        let state = self.lock();
        let running = state.meters.iter().filter(|(_, entry)| !entry.objects.is_empty());
        running.map(|(meter, _)| meter.clone()).collect()
    }

    /// The objects of a meter.
    pub fn objects_of(&self, meter: &Meter) -> Vec<Name> {
        let state = self.lock();
        state.meters.get(meter).map(|entry| entry.objects.keys().cloned().collect()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        Name { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn metered(broker: &str) -> Option<Metered> {
        let endpoint = KafkaEndpoint {
            bootstrap_servers: vec![broker.to_owned()],
            tls: None,
            sasl: None,
            properties: BTreeMap::new(),
        };
        Some(Metered {
            meter: Meter::of("shop", &endpoint, ""),
            owner: OwnerReference::default(),
            config_map: "orders-stc".to_owned(),
            print: "1".to_owned(),
            files: Files::default(),
            image_pull_secrets: Vec::new(),
        })
    }

    fn due(meters: &Meters, now: Instant) -> Vec<usize> {
        meters.due(now).into_iter().map(|(_, objects)| objects.len()).collect()
    }

    #[test]
    fn objects_share_a_meter_by_broker_and_the_last_one_takes_it_along() {
        let meters = Meters::default();
        let (now, later) = (Instant::now(), Instant::now() + PACE);
        for (object, broker) in [("orders", "kafka:9092"), ("refunds", "kafka:9092"), ("audit", "other:9092")]
        {
            meters.measure(&name(object), metered(broker));
        }
        let mut written = due(&meters, now);
        written.sort_unstable();
        assert_eq!((written, meters.all().len()), (vec![1, 2], 2));
        meters.measure(&name("orders"), metered("other:9092"));
        meters.measure(&name("refunds"), None);
        assert_eq!(due(&meters, now), [0; 0], "several changes are one");
        let mut written = due(&meters, later);
        written.sort_unstable();
        assert_eq!((written, meters.all().len()), (vec![0, 2], 1));
    }

    #[test]
    fn what_was_not_written_is_tried_again() {
        let meters = Meters::default();
        let now = Instant::now();
        meters.measure(&name("orders"), metered("kafka:9092"));
        let (meter, _) = meters.due(now).remove(0);
        meters.failed(&meter);
        assert_eq!(due(&meters, now + PACE), [1]);
        meters.measure(&name("orders"), None);
        assert_eq!(due(&meters, now + PACE * 2), [0]);
        meters.failed(&meter);
        assert_eq!(due(&meters, now + PACE * 2), [0], "a removal that failed is tried again, too");
    }
}
