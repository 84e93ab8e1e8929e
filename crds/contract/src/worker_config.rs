//! [`WorkerConfig`]: all that a worker is told. One pure function writes it (`keyweir-render`), for the
//! ConfigMap of a pod and for `keyweir run` alike; the worker reads nothing else.
//!
//! ```text
//! WorkerConfig ─┬─ object   who this is
//!               ├─ fixed    what a worker is built from: a change needs a new worker (restart_hash)
//!               └─ live     what a running worker takes up as soon as it changes
//! ```

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    ByteSize,
    handler::{HandlerConfig, Output, Route},
    hash::fnv1a,
    policy::{
        Concurrency, Decode, ExhaustedAction, KeyPolicy, Limits, OnUnknown, Ordering, RateLimit, RetryPolicy,
        Routing,
    },
    source::{Coordination, Source},
    topics::TopicPlan,
};

/// The version of this contract that this program writes. It reads its neighbours too.
pub const CONTRACT_VERSION: u32 = 1;

/// All that a worker is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerConfig {
    /// The version of the contract this was written by.
    pub contract_version: u32,
    /// Whose configuration this is.
    pub object: ObjectIdentity,
    /// What a worker is built from.
    pub fixed: FixedConfig,
    /// What a running worker takes up.
    pub live: LiveConfig,
}

impl WorkerConfig {
    /// The files of Secrets and ConfigMaps without which nothing can begin.
    pub fn files(&self) -> Vec<&Path> {
        let mut files = self.fixed.source.files();
        if let Coordination::Etcd(etcd) = &self.fixed.coordination {
            files.extend(etcd.endpoint.files());
        }
        files
    }

    /// A short text that changes when, and only when, a running worker has to be replaced.
    pub fn restart_hash(&self) -> String {
        // A struct of plain data always serialises; an empty text would still be a stable hash.
        let text = serde_json::to_vec(&(&self.object, &self.fixed)).unwrap_or_default();
        format!("{:016x}", fnv1a(text))
    }

    /// A short text that is the same for workers whose handlers do the same with a record.
    pub fn handlers_hash(&self) -> String {
        let FixedConfig { handler, routes, decode, .. } = &self.fixed;
        let text = serde_json::to_vec(&(handler, routes, decode)).unwrap_or_default();
        format!("{:016x}", fnv1a(text))
    }

    /// A short text that is the same for workers that put records into the same order.
    pub fn order_hash(&self) -> String {
        let text = serde_json::to_vec(&(&self.fixed.key, self.fixed.ordering)).unwrap_or_default();
        format!("{:016x}", fnv1a(text))
    }

    /// A short text that changes with the topics that are wanted.
    pub fn provision_hash(&self) -> String {
        let text = serde_json::to_vec(&self.live.provision).unwrap_or_default();
        format!("{:016x}", fnv1a(text))
    }
}

/// The object a worker belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectIdentity {
    /// `StreamConsumer`.
    pub kind: String,
    /// Its namespace; `default` where there is no cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid, which tells two objects of one name apart; empty where there is no cluster.
    #[serde(default)]
    pub uid: String,
}

/// What a worker is built from. A change needs a new worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FixedConfig {
    /// Where records come from.
    pub source: Source,
    /// Where members meet.
    #[serde(default)]
    pub coordination: Coordination,
    /// How values are read.
    #[serde(default)]
    pub decode: Decode,
    /// Where keys come from.
    #[serde(default)]
    pub key: KeyPolicy,
    /// Which records wait for each other.
    #[serde(default)]
    pub ordering: Ordering,
    /// Which member executes a record.
    #[serde(default)]
    pub routing: Routing,
    /// Who handles records that no route takes.
    pub handler: HandlerConfig,
    /// Handlers for some records, in order.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Records that no route takes, where there are routes.
    #[serde(default)]
    pub on_unknown: OnUnknown,
    /// Records that can't be decoded.
    pub on_undecodable: ExhaustedAction,
    /// Records whose last attempt failed.
    pub on_exhausted: ExhaustedAction,
    /// Topics that handlers write to by name.
    #[serde(default)]
    pub outputs: Vec<Output>,
    /// Where the worker keeps things and listens.
    #[serde(default)]
    pub process: ProcessConfig,
}

/// What the process itself needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessConfig {
    /// The data directory: embedded log, checkpoints, parked records. Absent: there is none.
    #[serde(default)]
    pub data_directory: Option<PathBuf>,
    /// Address and port of `/livez`, `/readyz` and `/metrics`; absent: the program's own choice.
    #[serde(default)]
    pub listen: Option<String>,
    /// Where every step of every record is written for `keyweir verify`; absent: nowhere.
    #[serde(default)]
    pub event_log: Option<PathBuf>,
    /// Where traces go; absent: nowhere.
    #[serde(default)]
    pub otlp_endpoint: Option<String>,
    /// A worker that got this old, give or take a tenth, drains and ends; absent: it stays.
    #[serde(default, with = "crate::duration::optional")]
    pub max_lifetime: Option<Duration>,
    /// A worker whose own process holds more memory than this drains and ends; absent: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<ByteSize>,
}

/// What a running worker takes up without losing or reordering anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveConfig {
    /// How much is done at a time.
    #[serde(default)]
    pub execution: Execution,
    /// When another attempt is made.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Whether records are taken at all.
    #[serde(default)]
    pub state: RunState,
    /// Partitions whose records are not started.
    #[serde(default)]
    pub paused_partitions: Vec<PausedPartition>,
    /// How often what is complete is made durable.
    #[serde(with = "crate::duration")]
    pub checkpoint_interval: Duration,
    /// How long executing records may finish when the worker stops.
    #[serde(with = "crate::duration")]
    pub drain_timeout: Duration,
    /// From which level on things are logged.
    #[serde(default)]
    pub log_level: LogLevel,
    /// Topics that are made where they are missing: by the object's meter, without a cluster by the process itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provision: Vec<TopicPlan>,
    /// How many ordinals share the shards, where placement is static; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            execution: Execution::default(),
            retry: RetryPolicy::default(),
            state: RunState::default(),
            paused_partitions: Vec::new(),
            checkpoint_interval: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(30),
            log_level: LogLevel::default(),
            provision: Vec::new(),
            replicas: None,
        }
    }
}

/// How much a member does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// Records executed at a time.
    pub concurrency: Concurrency,
    /// What is held at most.
    pub limits: Limits,
    /// How fast records may be started; absent: as fast as they can.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
}

/// Whether records are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RunState {
    /// Records are handled.
    #[default]
    Running,
    /// Nothing new is started; members keep their shards.
    Paused,
    /// Drained: nothing is started and no shard is held.
    Stopped,
}

/// A partition whose records are not started.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PausedPartition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
}

/// From which level on things are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LogLevel {
    /// Someone must act.
    Error,
    /// Odd but handled.
    Warn,
    /// Rare events of a worker's life.
    #[default]
    Info,
    /// What a developer asks for.
    Debug,
    /// Each record.
    Trace,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;

    const MINIMAL: &str = include_str!("../tests/minimal.json");

    #[test]
    fn a_live_change_keeps_the_restart_hash_and_a_fixed_one_changes_it() {
        let before = read(MINIMAL).expect("the fixture reads");
        let mut live = before.clone();
        live.live.execution.concurrency = Concurrency::Fixed(1);
        live.live.state = RunState::Paused;
        assert_eq!(before.restart_hash(), live.restart_hash());

        let mut fixed = before.clone();
        fixed.fixed.ordering = Ordering::Partition;
        assert_ne!(before.restart_hash(), fixed.restart_hash());
    }

    #[test]
    fn profiles_count_the_cpus() {
        assert_eq!(Concurrency::PerCpu(16).resolve(4), 64);
        assert_eq!(Concurrency::PerCpu(4).resolve(0), 4);
        assert_eq!(Concurrency::Fixed(0).resolve(8), 1);
    }
}
