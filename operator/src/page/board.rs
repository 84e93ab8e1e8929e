//! What was last published of each object, as little of it as the page shows of all of them at a glance.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use keyweir_crds::{
    StreamConsumer,
    status::{ShardsStatus, StreamConsumerStatus},
};
use serde::Serialize;

use crate::{cluster::conditions::find, controllers::stream_consumer::conditions::condition, registry::Name};

/// How something stands, and how urgent that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// A person must act.
    Bad,
    /// It works, worse than asked.
    Warn,
    /// It changes.
    Busy,
    /// All is well.
    Good,
    /// It rests, as asked.
    Idle,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// How it stands.
    pub tone: Tone,
    /// Why, in one word.
    pub reason: Box<str>,
    source: Box<str>,
    handler: Box<str>,
    desired: i32,
    current: i32,
    /// Live members, where nobody has said since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<i32>,
    /// Its shards, where nobody has said since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardsStatus>,
    /// Records behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Age of the oldest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
    /// Records that execute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<i64>,
    /// Records kept aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked: Option<i64>,
    /// Whether it is further behind than its user wants.
    #[serde(skip)]
    pub lagging: bool,
    /// Whether it is as its spec asks.
    #[serde(skip)]
    pub ready: bool,
}

/// What was last published of each object.
#[derive(Default)]
pub struct Board {
    /// Held for one look-up at a time, never across an await.
    rows: Mutex<BTreeMap<Name, Row>>,
}

impl Board {
    /// This was published.
    pub fn put(&self, name: Name, row: Row) {
        self.lock().insert(name, row);
    }

    /// The object is gone, or somebody else's.
    pub fn remove(&self, name: &Name) {
        self.lock().remove(name);
    }

    /// Whether the object is looked after.
    pub fn has(&self, name: &Name) -> bool {
        self.lock().contains_key(name)
    }

    /// All of them.
    pub fn rows(&self) -> Vec<(Name, Row)> {
        self.lock().iter().map(|(name, row)| (name.clone(), row.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    /// The object with the status that it has from now on.
    pub fn of(consumer: &StreamConsumer, status: &StreamConsumerStatus) -> Self {
        let is = |type_: &str, truth: &str| {
            find(&status.conditions, type_).filter(|condition| condition.status == truth)
        };
        let ready = find(&status.conditions, condition::READY);
        let holds = ready.is_some_and(|ready| ready.status == "True");
        let reason = ready.map_or("New", |ready| ready.reason.as_str());
        let wrong = [condition::SOURCE, condition::COORDINATION, condition::HANDLER];
        let ill = is(condition::DEGRADED, "True")
            .or_else(|| is(condition::LAGGING, "True"))
            .or_else(|| wrong.into_iter().find_map(|type_| is(type_, "False")));
        let (tone, reason) = match (is(condition::STALLED, "True"), ill) {
            (Some(stalled), _) => (Tone::Bad, stalled.reason.as_str()),
            (None, Some(ill)) => (Tone::Warn, ill.reason.as_str()),
            (None, None) if holds && reason != "Available" => (Tone::Idle, reason),
            (None, None) if holds => (Tone::Good, reason),
            (None, None) => (Tone::Busy, reason),
        };
        let noun = |noun: &Option<String>| noun.as_deref().unwrap_or("?").into();
        Self {
            tone,
            reason: reason.into(),
            source: noun(&status.source),
            handler: noun(&status.handler),
            desired: consumer.spec.replicas,
            current: status.ready_replicas.unwrap_or(0),
            members: status.members,
            shards: status.shards,
            lag: status.lag.as_ref().map(|lag| lag.records),
            lag_seconds: status.lag.as_ref().and_then(|lag| lag.seconds),
            in_flight: status.in_flight,
            parked: status.parked,
            lagging: is(condition::LAGGING, "True").is_some(),
            ready: holds,
        }
    }
}
