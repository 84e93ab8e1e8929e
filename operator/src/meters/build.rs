//! From the objects of one meter to its Deployment and its Service. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            ConfigMapProjection, Container, ContainerPort, EnvVar, KeyToPath, PodSpec, PodTemplateSpec,
            ProjectedVolumeSource, ResourceRequirements, Service, ServiceSpec, Volume, VolumeMount,
            VolumeProjection,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use keyweir_contract::hash::fnv1a;

use super::{Meter, Metered};
use crate::{
    cluster::{
        labels::{CLASS, Labels},
        objects::MeterObjects,
        owner::Owner,
    },
    registry::Name,
    settings::Settings,
    workload::{
        HTTP_PORT, HTTP_PORT_NAME,
        config_map::FILE,
        network_policy::network_policy,
        pod::{RESTART_HASH, container_security, pod_security},
        probes,
        secrets::Files,
        service::port,
    },
};

/// The kind that labels tell, beside those of objects.
pub const KIND: &str = "Meter";
/// The program that labels tell.
const PROGRAM: &str = "keyweir-meter";
/// Where the objects' configurations are mounted.
const OBJECTS: &str = "/etc/keyweir/objects";

/// What labels all that belongs to a meter.
pub fn labels(meter: &Meter) -> Labels {
    Labels::new(KIND, &meter.name).of_program(PROGRAM)
}

/// What a meter with these objects is to have.
pub fn build(meter: &Meter, objects: &[(Name, Metered)], settings: &Settings) -> MeterObjects {
    let mut metadata = ObjectMeta {
        name: Some(meter.name.clone()),
        namespace: Some(meter.namespace.clone()),
        labels: Some(labels(meter).all()),
        ..ObjectMeta::default()
    };
    metadata.labels.get_or_insert_default().insert(CLASS.to_owned(), settings.class.clone());
    let limits = settings.defaults.network_policy.as_ref();
    MeterObjects {
        service: service(meter, metadata.clone()),
        network_policy: limits
            .map(|limits| network_policy(metadata.clone(), &labels(meter), &limits.from, false)),
        deployment: Deployment {
            metadata: ObjectMeta {
                owner_references: Some(objects.iter().map(|(_, object)| object.owner.clone()).collect()),
                ..metadata
            },
            spec: Some(DeploymentSpec {
                replicas: Some(1),
                selector: labels(meter).selector(),
                revision_history_limit: Some(1),
                // The old one answers until the new one does.
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_surge: Some(IntOrString::Int(1)),
                        max_unavailable: Some(IntOrString::Int(0)),
                    }),
                }),
                template: template(meter, objects, settings),
                ..DeploymentSpec::default()
            }),
            ..Deployment::default()
        },
    }
}

fn service(meter: &Meter, metadata: ObjectMeta) -> Service {
    Service {
        metadata,
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(labels(meter).selected()),
            ports: Some(vec![port()]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn template(meter: &Meter, objects: &[(Name, Metered)], settings: &Settings) -> PodTemplateSpec {
    let prints = objects.iter().flat_map(|(name, object)| name.name.bytes().chain(object.print.bytes()));
    let restart_hash = format!("{:016x}", fnv1a(prints));
    let mut files = Files::default();
    let mut pull_secrets = BTreeMap::new();
    for (_, object) in objects {
        files.extend(&object.files);
        pull_secrets
            .extend(object.image_pull_secrets.iter().map(|secret| (secret.name.clone(), secret.clone())));
    }
    let mut volumes = vec![configurations(objects)];
    volumes.extend(files.volumes());
    let mut mounts = vec![VolumeMount {
        name: "objects".to_owned(),
        mount_path: OBJECTS.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }];
    mounts.extend(files.mounts());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels(meter).all()),
            annotations: Some([(RESTART_HASH.to_owned(), restart_hash)].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod_security()),
            termination_grace_period_seconds: Some(10),
            image_pull_secrets: (!pull_secrets.is_empty()).then(|| pull_secrets.into_values().collect()),
            volumes: Some(volumes),
            containers: vec![container(settings, mounts)],
            ..PodSpec::default()
        }),
    }
}

/// The configuration of each object, as its own workers have it.
fn configurations(objects: &[(Name, Metered)]) -> Volume {
    let sources = objects.iter().map(|(name, object)| VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: object.config_map.clone(),
            items: Some(vec![KeyToPath {
                key: FILE.to_owned(),
                path: format!("{}.json", name.name),
                mode: None,
            }]),
            optional: Some(true),
        }),
        ..VolumeProjection::default()
    });
    Volume {
        name: "objects".to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources.collect()), default_mode: None }),
        ..Volume::default()
    }
}

fn container(settings: &Settings, mounts: Vec<VolumeMount>) -> Container {
    let probes = probes::worker();
    let amounts = |list: &[(&str, &str)]| {
        Some(list.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect())
    };
    let arguments = ["meter", "--objects", OBJECTS, "--listen"].map(str::to_owned).into_iter();
    Container {
        name: "meter".to_owned(),
        image: Some(settings.worker_image.clone()),
        image_pull_policy: Some(settings.worker_image_pull_policy.clone()),
        args: Some(arguments.chain([format!("0.0.0.0:{HTTP_PORT}")]).collect()),
        // The client library has threads of its own: without this each of them keeps memory.
        env: Some(vec![EnvVar {
            name: "MALLOC_ARENA_MAX".to_owned(),
            value: Some("2".to_owned()),
            ..EnvVar::default()
        }]),
        ports: Some(vec![ContainerPort {
            name: Some(HTTP_PORT_NAME.to_owned()),
            container_port: HTTP_PORT.into(),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(ResourceRequirements {
            requests: amounts(&[("cpu", "20m"), ("memory", "32Mi")]),
            limits: amounts(&[("memory", "256Mi")]),
            ..ResourceRequirements::default()
        }),
        startup_probe: Some(probes.startup),
        liveness_probe: Some(probes.liveness),
        readiness_probe: Some(probes.readiness),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// The service `NAME-stc-lag`: the object's meter under a name that the object's manifest foretells.
pub fn lag_service(owner: &Owner, meter: &Meter) -> Service {
    let mut metadata = owner.metadata();
    metadata.name = Some(format!("{}-lag", owner.child));
    Service {
        metadata,
        spec: Some(ServiceSpec {
            selector: Some(labels(meter).selected()),
            ports: Some(vec![port()]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
