//! The worker's pod: non-root, its root read-only, without capabilities and without a token.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
        PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecurityContext,
        Toleration, TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use keyweir_contract::source::PEER_PORT;

use super::{HTTP_PORT, HTTP_PORT_NAME, config_map::FILE, env, overrides::Overrides, probes, secrets::Files};
use crate::cluster::owner::Owner;

/// Where the ConfigMap is mounted; the worker reads `worker.json` in it.
pub const CONFIG_DIRECTORY: &str = "/etc/keyweir";
/// Where a worker without coordination keeps what it must not lose.
pub const DATA_DIRECTORY: &str = "/var/lib/keyweir";
/// The volume at [`DATA_DIRECTORY`]. A volume of that name in `pod.volumes` takes the place of an empty one.
pub const DATA_VOLUME: &str = "data";
/// The worker's container.
pub const WORKER: &str = "worker";

/// Annotation of pods: what a running worker can't take up.
pub const RESTART_HASH: &str = "keyweir.io/restart-hash";
/// Annotation of objects and pods: when somebody last asked for new pods.
pub const RESTARTED_AT: &str = "keyweir.io/restartedAt";

/// The user and group of all containers, unless an image's own container says otherwise.
const NOBODY: i64 = 65_532;
/// What a pod may take longer to end than its drain: closing connections, and a last checkpoint.
const AFTER_DRAIN: Duration = Duration::from_secs(10);
/// How long a pod stays bound to a node that can't be reached.
const UNREACHABLE_SECONDS: i64 = 30;

/// Whether the pod keeps data between restarts of its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataDirectory {
    /// It has none: checkpoints lie elsewhere.
    Absent,
    /// It has one.
    Mounted,
}

/// All that makes one pod differ from another.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerPod {
    /// The worker's image.
    pub image: String,
    /// When it is pulled.
    pub image_pull_policy: Option<String>,
    /// Changes when a running worker must be replaced.
    pub restart_hash: String,
    /// When somebody last asked for new pods.
    pub restarted_at: Option<String>,
    /// How long records may finish.
    pub drain: Duration,
    /// Whether there is a data directory.
    pub data: DataDirectory,
    /// Secrets and ConfigMaps to mount.
    pub files: Files,
    /// Whether other workers speak to it.
    pub speaks: bool,
    /// The handler's container, where it runs beside the worker.
    pub handler: Option<Container>,
    /// What the user says.
    pub overrides: Overrides,
}

impl WorkerPod {
    /// The template of the owner's pods.
    pub fn template(&self, owner: &Owner) -> PodTemplateSpec {
        PodTemplateSpec { metadata: Some(self.metadata(owner)), spec: Some(self.spec(owner)) }
    }

    fn metadata(&self, owner: &Owner) -> ObjectMeta {
        let user = &self.overrides.metadata;
        let mut labels = user.labels.clone();
        labels.extend(owner.labels.all());
        let mut annotations = user.annotations.clone();
        annotations.insert(RESTART_HASH.to_owned(), self.restart_hash.clone());
        annotations.insert("kubectl.kubernetes.io/default-container".to_owned(), WORKER.to_owned());
        if let Some(at) = &self.restarted_at {
            annotations.insert(RESTARTED_AT.to_owned(), at.clone());
        }
        ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() }
    }

    fn spec(&self, owner: &Owner) -> PodSpec {
        let user = &self.overrides;
        let account = user.service_account_name.clone().unwrap_or_else(|| owner.child.to_string());
        PodSpec {
            service_account_name: Some(account),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod_security()),
            termination_grace_period_seconds: Some(seconds(self.drain + AFTER_DRAIN)),
            image_pull_secrets: some(user.image_pull_secrets.clone()),
            priority_class_name: user.priority_class_name.clone(),
            node_selector: some(user.node_selector.clone()).map(BTreeMap::from_iter),
            affinity: user.affinity.clone(),
            tolerations: Some(tolerations(&user.tolerations)),
            topology_spread_constraints: Some(self.spread(owner)),
            volumes: Some(self.volumes(owner)),
            init_containers: self.handler.clone().map(|handler| vec![handler]),
            containers: vec![self.worker()],
            ..PodSpec::default()
        }
    }

    fn worker(&self) -> Container {
        let probes = probes::worker();
        let mut variables = env::downward();
        override_by_name(&mut variables, &self.overrides.env);
        Container {
            name: WORKER.to_owned(),
            image: Some(self.image.clone()),
            image_pull_policy: self.image_pull_policy.clone(),
            args: Some(vec![
                "--config".to_owned(),
                format!("{CONFIG_DIRECTORY}/{FILE}"),
                "--listen".to_owned(),
                format!("0.0.0.0:{HTTP_PORT}"),
            ]),
            env: Some(variables),
            ports: Some(self.ports()),
            resources: Some(self.overrides.resources.clone().unwrap_or_else(default_resources)),
            startup_probe: Some(probes.startup),
            liveness_probe: Some(probes.liveness),
            readiness_probe: Some(probes.readiness),
            security_context: Some(container_security()),
            volume_mounts: Some(self.mounts()),
            ..Container::default()
        }
    }

    fn ports(&self) -> Vec<ContainerPort> {
        let port = |name: &str, number: u16| ContainerPort {
            name: Some(name.to_owned()),
            container_port: number.into(),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        };
        let wire = self.speaks.then(|| port("wire", PEER_PORT));
        [port(HTTP_PORT_NAME, HTTP_PORT)].into_iter().chain(wire).collect()
    }

    fn volumes(&self, owner: &Owner) -> Vec<Volume> {
        let config = ConfigMapVolumeSource { name: owner.child.to_string(), ..Default::default() };
        let mut volumes = vec![
            Volume { name: "config".to_owned(), config_map: Some(config), ..Volume::default() },
            empty_directory("tmp"),
        ];
        let own_data = self.overrides.volumes.iter().any(|volume| volume.name == DATA_VOLUME);
        if self.data == DataDirectory::Mounted && !own_data {
            volumes.push(empty_directory(DATA_VOLUME));
        }
        volumes.extend(self.files.volumes());
        volumes.extend(self.overrides.volumes.iter().cloned());
        volumes
    }

    fn mounts(&self) -> Vec<VolumeMount> {
        let read_only = VolumeMount { read_only: Some(true), ..mount("config", CONFIG_DIRECTORY) };
        let mut mounts = vec![read_only, mount("tmp", "/tmp")];
        if self.data == DataDirectory::Mounted {
            mounts.push(mount(DATA_VOLUME, DATA_DIRECTORY));
        }
        mounts.extend(self.files.mounts());
        mounts.extend(self.overrides.volume_mounts.iter().cloned());
        mounts
    }

    /// Over nodes and zones as far as it goes, unless the user says how.
    fn spread(&self, owner: &Owner) -> Vec<TopologySpreadConstraint> {
        if !self.overrides.topology_spread_constraints.is_empty() {
            return self.overrides.topology_spread_constraints.clone();
        }
        ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
            .into_iter()
            .map(|key| TopologySpreadConstraint {
                max_skew: 1,
                topology_key: key.to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                label_selector: Some(owner.labels.selector()),
                match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
                ..TopologySpreadConstraint::default()
            })
            .collect()
    }
}

/// What any container of the pod may do at most.
pub fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

/// The same for all of its containers.
pub fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NOBODY),
        run_as_group: Some(NOBODY),
        fs_group: Some(NOBODY),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// Memory is limited, so that a leak ends one pod only; the CPU is not, so that idle ones are used.
fn default_resources() -> ResourceRequirements {
    let amounts = |list: &[(&str, &str)]| {
        Some(list.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: amounts(&[("cpu", "250m"), ("memory", "256Mi")]),
        limits: amounts(&[("memory", "512Mi")]),
        ..ResourceRequirements::default()
    }
}

/// The user's, and half a minute for a node that is gone: the default of five would hold up no shard, but a place.
fn tolerations(user: &[Toleration]) -> Vec<Toleration> {
    let mut tolerations = user.to_vec();
    for key in ["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"] {
        if !user.iter().any(|toleration| toleration.key.as_deref() == Some(key)) {
            tolerations.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(UNREACHABLE_SECONDS),
                ..Toleration::default()
            });
        }
    }
    tolerations
}

fn override_by_name(variables: &mut Vec<EnvVar>, user: &[EnvVar]) {
    variables.retain(|variable| user.iter().all(|other| other.name != variable.name));
    variables.extend(user.iter().cloned());
}

fn empty_directory(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}
