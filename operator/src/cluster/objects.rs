//! [`Objects`]: what one owner is to have, before it is written; [`Applied`]: the part that came back.

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::{ConfigMap, Secret, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};

/// Annotation of pods: the lower, the sooner it goes when there are to be fewer.
pub const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Annotation of pods with ordinals: how many there are to be. It is there to be changed: a node looks at a pod's ConfigMap
/// at once when the pod changes, and else within a minute.
pub const REPLICAS: &str = "keyweir.io/replicas";

/// An annotation for one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The pod.
    pub pod: String,
    /// The annotation.
    pub annotation: &'static str,
    /// Its value.
    pub value: String,
}

/// All objects of one owner, desired.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// What the pods run as: an account without rights and without a token.
    pub service_account: ServiceAccount,
    /// What the workers are told.
    pub config_map: ConfigMap,
    /// The headless service by which the pods have names.
    pub service: Service,
    /// The service at which an autoscaler asks for the lag, where one does.
    pub lag_service: Option<Service>,
    /// By what the workers recognise each other, where they have to: it is made once, with a content that nobody knows.
    pub wire_secret: Option<Secret>,
    /// How many pods may be taken away at a time.
    pub disruption_budget: PodDisruptionBudget,
    /// Who may reach the pods, where that is limited.
    pub network_policy: Option<NetworkPolicy>,
    /// What pods are marked with before their number changes.
    pub marks: Vec<Mark>,
    /// What keeps the pods.
    pub workload: Workload,
}

/// What keeps the pods of an owner.
#[derive(Debug, Clone, PartialEq)]
pub enum Workload {
    /// Any number of members that share the work.
    Deployment(Box<Deployment>),
    /// Workers with ordinals; or one at most, which needs no coordination: a StatefulSet never starts a pod before the
    /// one before it of the same name has ended.
    StatefulSet(Box<StatefulSet>),
}

/// What a meter is to have.
#[derive(Debug, Clone, PartialEq)]
pub struct MeterObjects {
    /// What keeps its pod.
    pub deployment: Deployment,
    /// The name by which it is found. It goes with the Deployment.
    pub service: Service,
    /// Who may reach it, where that is limited. It goes with the Deployment, too.
    pub network_policy: Option<NetworkPolicy>,
}

/// What purges a deleted object.
#[derive(Debug, Clone, PartialEq)]
pub struct PurgeObjects {
    /// What the Job is told.
    pub config_map: ConfigMap,
    /// What does it.
    pub job: Job,
}

/// What the API server returned for the objects that it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The workload with its status; `None` while a workload of the other sort still has pods.
    pub workload: Option<Workload>,
}

impl Applied {
    /// Pods that are wanted now.
    pub fn desired(&self) -> i32 {
        self.workload.as_ref().map_or(0, |workload| workload.progress().desired)
    }
}

/// How many pods a workload has, and how far its last change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Pods that are wanted.
    pub desired: i32,
    /// Pods that exist.
    pub current: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Whether the numbers speak of the newest template at all.
    pub observed: bool,
}

impl Progress {
    /// Whether exactly the wanted pods exist, all of the newest template.
    pub fn rolled_out(&self) -> bool {
        self.observed && self.updated == self.desired && self.current == self.desired
    }

    /// Whether, besides, all of them are ready.
    pub fn complete(&self) -> bool {
        self.rolled_out() && self.ready == self.desired
    }
}

impl Workload {
    /// How far the last change has come.
    pub fn progress(&self) -> Progress {
        match self {
            Self::Deployment(deployment) => {
                let status = deployment.status.clone().unwrap_or_default();
                Progress {
                    desired: deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
                    current: status.replicas.unwrap_or(0),
                    ready: status.ready_replicas.unwrap_or(0),
                    updated: status.updated_replicas.unwrap_or(0),
                    observed: status.observed_generation >= deployment.metadata.generation,
                }
            }
            Self::StatefulSet(set) => {
                let status = set.status.clone().unwrap_or_default();
                let current = status.replicas;
                // updatedReplicas is not set again once an update is complete.
                let rolling = status.current_revision != status.update_revision;
                Progress {
                    desired: set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
                    current,
                    ready: status.ready_replicas.unwrap_or(0),
                    updated: if rolling { status.updated_replicas.unwrap_or(0) } else { current },
                    observed: status.observed_generation >= set.metadata.generation,
                }
            }
        }
    }
}
