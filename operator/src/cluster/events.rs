//! Events: one line for a person about a transition, never about a state that lasts.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::warn;

use super::FIELD_MANAGER;

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

/// Where events go.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// Events written through `client`, by the operator running in the pod `instance`.
    pub fn new(client: Client, instance: Option<String>) -> Self {
        Self(Recorder::new(client, Reporter { controller: FIELD_MANAGER.to_owned(), instance }))
    }

    /// Tells of each happening. An event that can't be written is logged and forgotten: nothing depends on it.
    pub async fn publish(&self, regarding: &ObjectReference, happenings: &[Happening]) {
        for happening in happenings {
            let event = Event {
                type_: if happening.warning { EventType::Warning } else { EventType::Normal },
                reason: happening.reason.to_owned(),
                note: Some(happening.note.clone()),
                action: happening.action.to_owned(),
                secondary: None,
            };
            if let Err(error) = self.0.publish(&event, regarding).await {
                warn!(reason = happening.reason, %error, "an event was not written");
            }
        }
    }
}
