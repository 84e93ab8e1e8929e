//! Events: one line for a person about a transition, never about a state that lasts. The last few are kept, for the
//! status page.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use serde::Serialize;
use tracing::warn;

use super::FIELD_MANAGER;

/// So many are kept.
const KEPT: usize = 60;
/// The same is not told again within so many milliseconds.
const AGAIN: i64 = 60_000;
/// A note has so many characters at most.
const LONGEST: usize = 1000;

/// What happened, to be told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// One of the fixed words of the documentation, PascalCase.
    pub reason: &'static str,
    /// What was done, PascalCase.
    pub action: &'static str,
    /// Whether a person should look.
    pub warning: bool,
    /// One sentence.
    pub note: String,
}

/// What was told lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recent {
    /// When, in milliseconds since the epoch.
    at: i64,
    /// `namespace/name`.
    object: String,
    reason: &'static str,
    warning: bool,
    note: String,
}

/// Where events go.
///
/// Each is one create and forgotten: what remembers events to count their repetitions would keep megabytes for thousands
/// of objects, and a transition does not repeat. One that does all the same is told once a minute.
#[derive(Clone)]
pub struct Events {
    client: Client,
    /// Who tells.
    instance: String,
    /// The newest first. Held for one look-up at a time, never across an await.
    recent: Arc<Mutex<VecDeque<Recent>>>,
}

impl Events {
    /// Events written through `client`, by the operator running in the pod `instance`.
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let instance = instance.unwrap_or_else(|| FIELD_MANAGER.to_owned());
        Self { client, instance, recent: Arc::default() }
    }

    /// Tells of each happening. An event that can't be written is logged and forgotten: nothing depends on it.
    pub async fn publish(&self, regarding: &ObjectReference, happenings: &[Happening]) {
        for happening in happenings {
            let now = Timestamp::now();
            if !self.keep(regarding, happening, now) {
                continue;
            }
            let namespace = regarding.namespace.as_deref().unwrap_or("default");
            let events = Api::<Event>::namespaced(self.client.clone(), namespace);
            let event = self.event(regarding, happening, now);
            if let Err(error) = events.create(&PostParams::default(), &event).await {
                warn!(reason = happening.reason, %error, "an event was not written");
            }
        }
    }

    /// What was told lately, the newest first.
    pub fn recent(&self) -> Vec<Recent> {
        self.lock().iter().cloned().collect()
    }

    fn event(&self, regarding: &ObjectReference, happening: &Happening, now: Timestamp) -> Event {
        let about: String = regarding.name.iter().flat_map(|name| name.chars()).take(200).collect();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{about}.{:x}", now.as_nanosecond())),
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            type_: Some(if happening.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(happening.reason.to_owned()),
            action: Some(happening.action.to_owned()),
            note: Some(happening.note.chars().take(LONGEST).collect()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding.clone()),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.chars().take(128).collect()),
            ..Event::default()
        }
    }

    /// Keeps it among what was told lately; `false`: just this was told a moment ago.
    fn keep(&self, regarding: &ObjectReference, happening: &Happening, now: Timestamp) -> bool {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let new = Recent {
            at: now.as_millisecond(),
            object: format!("{}/{}", part(&regarding.namespace), part(&regarding.name)),
            reason: happening.reason,
            warning: happening.warning,
            note: happening.note.clone(),
        };
        let mut kept = self.lock();
        let same = |old: &Recent| {
            new.at - old.at < AGAIN
                && (&old.object, old.reason, &old.note) == (&new.object, new.reason, &new.note)
        };
        if kept.iter().any(same) {
            return false;
        }
        kept.truncate(KEPT - 1);
        kept.push_front(new);
        true
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
