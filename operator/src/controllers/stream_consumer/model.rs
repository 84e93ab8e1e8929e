//! [`ValidStreamConsumer`]: an object that can be built. After validation the raw spec is not looked at again.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use keyweir_contract::worker_config::{RunState, WorkerConfig};

use crate::{
    cluster::{apply::Sweep, owner::Owner},
    registry::{Name, Subject},
    scaling::decide::Plan,
    workload::pod::WorkerPod,
};

/// An object that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidStreamConsumer {
    /// Who the made objects belong to.
    pub owner: Owner,
    /// What the workers are told.
    pub config: WorkerConfig,
    /// What their pods are.
    pub pod: WorkerPod,
    /// How members meet.
    pub membership: Membership,
    /// Workers there should be.
    pub replicas: i32,
    /// How their number follows the lag, where the operator decides it.
    pub scaling: Option<Plan>,
    /// How they are replaced.
    pub rollout: Rollout,
    /// Whether orphans are looked for.
    pub sweep: Sweep,
    /// How the kinds of source and handler are called in the status.
    pub nouns: Nouns,
}

impl ValidStreamConsumer {
    /// How its workers are asked what they do.
    pub fn subject(&self) -> Subject {
        let object = &self.config.object;
        let (namespace, name) = (object.namespace.clone(), object.name.clone());
        Subject {
            host: format!("{}.{namespace}.svc", self.owner.child),
            name: Name { namespace, name },
            uid: self.owner.uid().to_owned(),
            shared: self.membership == Membership::Shared,
            replicas: self.replicas,
            scaling: self.scaling.clone(),
        }
    }

    /// Whether records are taken.
    pub fn state(&self) -> RunState {
        self.config.live.state
    }
}

/// How members meet, and so which workload keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Membership {
    /// In etcd: any number of them.
    Shared,
    /// Nowhere: one at most.
    Single,
}

/// How workers are replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Workers that may run beyond the replicas.
    pub max_surge: IntOrString,
    /// Workers that may be missing.
    pub max_unavailable: IntOrString,
}

/// How the kinds of source and handler are called in the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nouns {
    /// Such as `Kafka`.
    pub source: &'static str,
    /// Such as `HTTP`.
    pub handler: &'static str,
}
