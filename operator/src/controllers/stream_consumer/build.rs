//! From a valid object to all that is made for it. Pure: the same in, the same out.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment, StatefulSet, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};

use super::model::{Membership, ValidStreamConsumer};
use crate::{
    cluster::objects::{Objects, Workload},
    meters::build::lag_service,
    workload::{
        config_map::config_map, disruption::disruption_budget, network_policy::network_policy,
        service::service, service_account::service_account, wire,
    },
};

/// Old ReplicaSets that are kept for a look at what ran before.
const HISTORY: i32 = 3;
/// A pod counts as available when it has been ready for so long.
const MIN_READY_SECONDS: i32 = 1;

/// All that the object is to have.
pub fn build(valid: &ValidStreamConsumer) -> Objects {
    // Plain data always serialises; an empty text would be refused by the worker, not obeyed.
    let text = serde_json::to_string_pretty(&valid.config).unwrap_or_default();
    Objects {
        service_account: service_account(&valid.owner),
        config_map: config_map(&valid.owner, text),
        service: service(&valid.owner),
        lag_service: valid
            .metered
            .as_ref()
            .filter(|_| valid.lag_is_asked_for)
            .map(|metered| lag_service(&valid.owner, &metered.meter)),
        wire_secret: valid.pod.speaks.then(|| wire::secret(&valid.owner)),
        disruption_budget: disruption_budget(&valid.owner),
        network_policy: valid
            .reached_by
            .as_ref()
            .map(|from| network_policy(valid.owner.metadata(), &valid.owner.labels, from, valid.pod.speaks)),
        marks: valid.marks.clone(),
        workload: match valid.membership {
            Membership::Shared => Workload::Deployment(Box::new(deployment(valid))),
            Membership::ByOrdinal => Workload::StatefulSet(Box::new(ordinals(valid))),
            Membership::Single => Workload::StatefulSet(Box::new(stateful_set(valid, valid.replicas.min(1)))),
        },
    }
}

fn deployment(valid: &ValidStreamConsumer) -> Deployment {
    Deployment {
        metadata: valid.owner.metadata(),
        spec: Some(DeploymentSpec {
            replicas: Some(valid.replicas),
            selector: valid.owner.labels.selector(),
            template: valid.template(),
            min_ready_seconds: Some(MIN_READY_SECONDS),
            revision_history_limit: Some(HISTORY),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(valid.rollout.max_surge.clone()),
                    max_unavailable: Some(valid.rollout.max_unavailable.clone()),
                }),
            }),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// Pods with ordinals wait for each other neither to start nor to end: each has its own shards.
fn ordinals(valid: &ValidStreamConsumer) -> StatefulSet {
    let mut set = stateful_set(valid, valid.replicas);
    if let Some(spec) = &mut set.spec {
        spec.pod_management_policy = Some("Parallel".to_owned());
        spec.min_ready_seconds = Some(MIN_READY_SECONDS);
    }
    set
}

fn stateful_set(valid: &ValidStreamConsumer, replicas: i32) -> StatefulSet {
    StatefulSet {
        metadata: valid.owner.metadata(),
        spec: Some(StatefulSetSpec {
            replicas: Some(replicas),
            selector: valid.owner.labels.selector(),
            service_name: Some(valid.owner.child.to_string()),
            template: valid.template(),
            revision_history_limit: Some(HISTORY),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}
