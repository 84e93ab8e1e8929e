//! [`ValidStreamConsumer`]: an object that can be built. After validation the raw spec is not looked at again.

use k8s_openapi::{
    api::{core::v1::PodTemplateSpec, networking::v1::NetworkPolicyPeer},
    apimachinery::pkg::util::intstr::IntOrString,
};
use keyweir_contract::{
    source::{Delivery, Source},
    worker_config::{RunState, WorkerConfig},
};

use super::{dereference::Earlier, lagging::LagThreshold};
use crate::{
    cluster::{apply::Sweep, objects::Mark, owner::Owner},
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
    /// What their pods stay until it is their turn.
    pub kept: Option<Earlier>,
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
    /// What pods are marked with before their number changes.
    pub marks: Vec<Mark>,
    /// How they are replaced.
    pub rollout: Rollout,
    /// From when on it is too far behind.
    pub lag_threshold: LagThreshold,
    /// Whether orphans are looked for.
    pub sweep: Sweep,
    /// Who may reach its pods; `None`: everybody.
    pub reached_by: Option<Vec<NetworkPolicyPeer>>,
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
            shared: self.membership != Membership::Single,
            replicas: self.replicas,
            metered: self.metered.is_some(),
            // Who is asked to stand still is not made more or fewer.
            scaling: self.scaling.clone().filter(|_| self.state() == RunState::Running),
        }
    }

    /// What the pods are made from.
    pub fn template(&self) -> PodTemplateSpec {
        let kept = self.kept.as_ref().map(|kept| kept.template.clone());
        kept.unwrap_or_else(|| self.pod.template(&self.owner))
    }

    /// The version of the operator that made the pods.
    pub fn version(&self) -> &str {
        self.kept.as_ref().map_or(env!("CARGO_PKG_VERSION"), |kept| &kept.version)
    }

    /// Which object it is.
    pub fn name(&self) -> Name {
        let object = &self.config.object;
        Name { namespace: object.namespace.clone(), name: object.name.clone() }
    }

    /// What is delivered of an etcd source; `None` = it has another source.
    pub fn delivery(&self) -> Option<Delivery> {
        match &self.config.fixed.source {
            Source::Etcd(etcd) => Some(etcd.delivery),
            Source::Kafka(_) | Source::Embedded(_) => None,
        }
    }

    /// Which topics are made for it where they are missing; `None`: none are.
    pub fn wanted_topics(&self) -> Option<String> {
        (!self.config.live.provision.is_empty()).then(|| self.config.provision_hash())
    }

    /// Whether records are taken.
    pub fn state(&self) -> RunState {
        self.config.live.state
    }
}

/// How members meet, and so which workload keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Membership {
    /// In etcd: any number of them, all alike.
    Shared,
    /// In etcd, each with an ordinal of its own.
    ByOrdinal,
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
