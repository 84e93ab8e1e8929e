//! The Job that removes what a deleted object has written, with the object's own logins.

use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::{Container, PodSpec, PodTemplateSpec},
};

use super::{
    config_map::FILE,
    pod::{CONFIG_DIRECTORY, WORKER, WorkerPod},
};
use crate::cluster::owner::Owner;

/// It is tried again so often; the object's deadline comes first.
const TRIES: i32 = 100;
/// One whose operator is gone goes by itself after this time.
const KEPT_SECONDS: i32 = 3600;

/// The Job of the owner, `NAME-stc-purge`. It does not belong to the owner: it must outlive what does.
pub fn job(owner: &Owner, pod: &WorkerPod) -> Job {
    let mut metadata = owner.metadata();
    let name = format!("{}-purge", owner.child);
    metadata.name = Some(name.clone());
    metadata.owner_references = None;
    let PodTemplateSpec { metadata: labels, spec } = pod.template(owner);
    let spec = spec.map(|spec| only(spec, &name));
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(TRIES),
            ttl_seconds_after_finished: Some(KEPT_SECONDS),
            template: PodTemplateSpec { metadata: labels, spec },
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}

/// A worker's pod with another task and no handler.
fn only(spec: PodSpec, name: &str) -> PodSpec {
    let worker = |container: Container| Container {
        args: Some(vec!["purge".to_owned(), "--config".to_owned(), format!("{CONFIG_DIRECTORY}/{FILE}")]),
        ports: None,
        startup_probe: None,
        liveness_probe: None,
        readiness_probe: None,
        ..container
    };
    let containers = spec.containers.into_iter().filter(|container| container.name == WORKER);
    let volumes = spec.volumes.into_iter().flatten().map(|mut volume| {
        if let Some(config_map) = volume.config_map.as_mut().filter(|_| volume.name == "config") {
            config_map.name = name.to_owned();
        }
        volume
    });
    PodSpec {
        restart_policy: Some("OnFailure".to_owned()),
        // The object's own account goes with the object.
        service_account_name: None,
        init_containers: None,
        topology_spread_constraints: None,
        volumes: Some(volumes.collect()),
        containers: containers.map(worker).collect(),
        ..spec
    }
}
