//! [`ValidStreamConsumer`]: an object that can be built. After validation the raw spec is not looked at again.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use keyweir_contract::worker_config::{RunState, WorkerConfig};

use crate::{
    cluster::{apply::Sweep, owner::Owner},
    meters::Metered,
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
    /// How it is measured without workers, where it is.
    pub metered: Option<Metered>,
    /// Whether an autoscaler asks for its lag.
    pub lag_is_asked_for: bool,
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
        Subject {
            host: format!("{}.{}.svc", self.owner.child, self.owner.namespace),
            name: self.name(),
            uid: self.owner.uid().to_owned(),
            shared: self.membership == Membership::Shared,
            replicas: self.replicas,
            metered: self.metered.is_some(),
            // Who is asked to stand still is not made more or fewer.
            scaling: self.scaling.clone().filter(|_| self.state() == RunState::Running),
        }
    }

    /// Which object it is.
    pub fn name(&self) -> Name {
        let object = &self.config.object;
        Name { namespace: object.namespace.clone(), name: object.name.clone() }
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
