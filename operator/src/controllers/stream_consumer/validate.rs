//! From what was found to what can be built. Pure, and the only place where a user can be wrong.

use k8s_openapi::api::core::v1::{Container, LocalObjectReference, Pod};
use keyweir_contract::{
    ByteSize,
    bytes::ByteSizeError,
    policy::Routing,
    source::{Coordination, PEER_PORT, Source},
    worker_config::WorkerConfig,
};
use keyweir_crds::{
    StreamConsumer, StreamConsumerSpec,
    coordination::CoordinationType,
    quantities::DurationText,
    scaling::{BuiltinScalingSpec, ScalingMode},
};
use keyweir_render::{Environment, Place, render};
use kube::ResourceExt;

use super::{
    dereference::{Earlier, Found, Turn},
    lagging::LagThreshold,
    model::{Membership, Nouns, Rollout, ValidStreamConsumer},
};
use crate::{
    cluster::{
        apply::Sweep,
        objects::{COST, Mark, REPLICAS},
        owner::Owner,
    },
    meters::{Meter, Metered},
    registry::gather::Load,
    scaling::{
        decide::{Plan, Row},
        idlest::costs,
    },
    settings::Settings,
    workload::{
        HTTP_PORT, handler,
        overrides::{OverrideError, Overrides, pull_policy},
        pod::{DATA_DIRECTORY, DATA_VOLUME, DataDirectory, RESTART_HASH, RESTARTED_AT, WorkerPod},
        secrets::{CONFIG_MAPS, Files, SECRETS},
        wire,
    },
};

/// Why an object can't be built: a reason in one word, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The word.
    pub reason: &'static str,
    /// What is wrong, for the user.
    pub message: String,
    /// Whether it is about the pods only, not about what the workers would be told.
    pub of_pods: bool,
    /// Whether what runs must end, too. Else it goes on as it is.
    pub ends: bool,
}

/// Another object has the group.
pub const GROUP_IN_USE: &str = "GroupInUse";

impl Refusal {
    /// A refusal of what the user says about the object.
    pub fn of_spec(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), of_pods: false, ends: false }
    }

    /// A refusal of what the user says about pods.
    pub fn of_pods(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), of_pods: true, ends: false }
    }
}

impl From<OverrideError> for Refusal {
    fn from(error: OverrideError) -> Self {
        Self::of_pods("PodOverridesRejected", error.to_string())
    }
}

/// What can be built, or why nothing can.
pub fn validate(found: &Found, settings: &Settings) -> Result<ValidStreamConsumer, Refusal> {
    let consumer = found.consumer.as_ref().map_err(|problem| {
        Refusal::of_spec("Unsupported", format!("this operator can't read the object: {problem}"))
    })?;
    if let Some(rival) = &found.rival {
        return Err(Refusal { ends: true, ..Refusal::of_spec(GROUP_IN_USE, rival) });
    }
    let spec = &consumer.spec;
    let Configured { config, files, of_source } = configuration(consumer, &found.owner, settings)?;
    let membership = membership(&config, spec)?;
    let pod = WorkerPod {
        image: image(spec, settings),
        image_pull_policy: Some(
            spec.worker
                .image_pull_policy
                .map_or_else(|| settings.worker_image_pull_policy.clone(), pull_policy),
        ),
        restart_hash: config.restart_hash(),
        restarted_at: consumer.annotations().get(RESTARTED_AT).cloned(),
        drain: config.live.drain_timeout,
        data: match config.fixed.process.data_directory {
            Some(_) => DataDirectory::Mounted,
            None => DataDirectory::Absent,
        },
        files,
        speaks: speaks(&config),
        handler: handler_container(spec, &config)?,
        overrides: Overrides::read(&spec.pod)?,
    };
    Ok(ValidStreamConsumer {
        kept: kept(found, consumer, &pod),
        owner: found.owner.clone(),
        nouns: nouns(&config, spec),
        pod,
        membership,
        replicas: spec.replicas,
        marks: marks(found, membership, spec.replicas),
        metered: metered(found, &config, spec, of_source, settings),
        lag_is_asked_for: spec.scaling.mode == ScalingMode::External,
        scaling: scaling(spec)?,
        rollout: Rollout {
            max_surge: spec.rollout.max_surge.clone(),
            max_unavailable: spec.rollout.max_unavailable.clone(),
        },
        lag_threshold: LagThreshold::read(&spec.observability.lag_threshold)?,
        sweep: sweep(consumer),
        reached_by: settings.defaults.network_policy.as_ref().map(|policy| policy.from.clone()),
        config,
    })
}

/// What the workers are told, and the files they need for it.
struct Configured {
    config: WorkerConfig,
    files: Files,
    /// Those of them that the source needs.
    of_source: Files,
}

fn configuration(
    consumer: &StreamConsumer,
    owner: &Owner,
    settings: &Settings,
) -> Result<Configured, Refusal> {
    let environment = Environment {
        secrets: SECRETS.into(),
        config_maps: CONFIG_MAPS.into(),
        coordination: None,
        wire_secret: Some(wire::secret_name(&owner.child)),
        place: Place::Cluster,
    };
    let whole = with_defaults(consumer, settings);
    let mut rendered = render(&whole, &environment).map_err(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        Refusal::of_spec("Invalid", lines.join("; "))
    })?;
    if keeps_data(&rendered.config, &consumer.spec) {
        rendered.config.fixed.process.data_directory = Some(DATA_DIRECTORY.into());
    }
    let (mut files, mut of_source) = (Files::default(), Files::default());
    for file in &rendered.files {
        let needed = if file.field.starts_with("spec.source.") { &mut of_source } else { &mut files };
        if file.secret {
            needed.secret(&file.name, &file.key);
        } else {
            needed.config_map(&file.name, &file.key);
        }
    }
    files.extend(&of_source);
    Ok(Configured { config: rendered.config, files, of_source })
}

/// What an earlier operator's workers stay, unless it is their turn, or they must be replaced anyhow.
fn kept(found: &Found, consumer: &StreamConsumer, pod: &WorkerPod) -> Option<Earlier> {
    let earlier = found.earlier.as_ref().filter(|earlier| earlier.turn != Turn::Now)?;
    let annotations = earlier.template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
    let says = |name: &str| annotations.and_then(|annotations| annotations.get(name));
    // Another version may write down the same spec in another way.
    let observed = consumer.status.as_ref().and_then(|status| status.observed_generation);
    let same = says(RESTART_HASH) == Some(&pod.restart_hash) || observed == consumer.metadata.generation;
    (same && says(RESTARTED_AT) == pod.restarted_at.as_ref()).then(|| earlier.clone())
}

/// Before there are fewer pods, the idlest are marked to go. Of pods with ordinals the last ones go; all are told how many
/// there are to be.
fn marks(found: &Found, membership: Membership, replicas: i32) -> Vec<Mark> {
    let marked = |pod, annotation, value: i32| Mark { pod, annotation, value: value.to_string() };
    if membership != Membership::ByOrdinal {
        let costs = costs(&found.pods, loads(found), replicas).into_iter();
        return costs.map(|(pod, cost)| marked(pod, COST, cost)).collect();
    }
    let known =
        |pod: &Pod| pod.annotations().get(REPLICAS).is_some_and(|known| *known == replicas.to_string());
    let untold = found.pods.iter().filter(|pod| !known(pod));
    untold.map(|pod| marked(pod.name_any(), REPLICAS, replicas)).collect()
}

/// How busy its workers were when they were last asked.
fn loads(found: &Found) -> &[Load] {
    found.known.picture.as_ref().map_or(&[], |picture| &picture.loads)
}

/// How the object is measured while it has no workers, or by an autoscaler, and has its topics made; `None`: none of it.
fn metered(
    found: &Found,
    config: &WorkerConfig,
    spec: &StreamConsumerSpec,
    files: Files,
    settings: &Settings,
) -> Option<Metered> {
    let Source::Kafka(kafka) = &config.fixed.source else { return None };
    let may_sleep = match spec.scaling.mode {
        ScalingMode::Fixed => false,
        ScalingMode::Builtin => spec.scaling.builtin.min_replicas == 0,
        ScalingMode::External => true,
    };
    let has_topics_made = !config.live.provision.is_empty();
    let pull_secrets = spec.pod.image_pull_secrets.iter();
    (may_sleep || spec.replicas == 0 || has_topics_made).then(|| Metered {
        meter: Meter::of(&found.owner.namespace, &kafka.endpoint, &settings.class),
        owner: found.owner.reference(),
        config_map: found.owner.child.to_string(),
        print: config.restart_hash(),
        files,
        image_pull_secrets: pull_secrets
            .map(|secret| LocalObjectReference { name: secret.name.as_str().to_owned() })
            .collect(),
    })
}

/// The object as if it said itself what the installation says for it.
fn with_defaults(consumer: &StreamConsumer, settings: &Settings) -> StreamConsumer {
    let mut whole = consumer.clone();
    let default = settings.defaults.coordination.as_ref();
    match &mut whole.spec.coordination {
        Some(own) if own.kind == CoordinationType::Etcd && own.etcd.is_none() => {
            own.etcd = default.and_then(|default| default.etcd.clone());
        }
        Some(_) => {}
        None => whole.spec.coordination = default.cloned(),
    }
    whole
}

/// An embedded log lies in a data directory, and so do the checkpoints of a single reader of etcd. A single member of a
/// broker needs none, unless the user gives one: checkpoints in the group's offsets outlive a pod's own directory.
fn keeps_data(config: &WorkerConfig, spec: &StreamConsumerSpec) -> bool {
    let given = || spec.pod.volumes.iter().any(|volume| volume.get("name") == Some(&DATA_VOLUME.into()));
    let single = config.fixed.coordination == Coordination::None;
    single && (matches!(config.fixed.source, Source::Embedded(_) | Source::Etcd(_)) || given())
}

/// One worker at most where members can't meet.
fn membership(config: &WorkerConfig, spec: &StreamConsumerSpec) -> Result<Membership, Refusal> {
    match config.fixed.coordination {
        Coordination::Etcd(_) if config.fixed.coordination.is_static() => Ok(Membership::ByOrdinal),
        Coordination::Etcd(_) => Ok(Membership::Shared),
        Coordination::None if spec.replicas <= 1 => Ok(Membership::Single),
        Coordination::None => Err(Refusal::of_spec(
            "Unsupported",
            "without coordination there is one worker at most, and this installation has no default: set replicas to 0 \
             or 1, or coordination.type: Etcd with its endpoints",
        )),
    }
}

/// How the number of workers follows the lag, where that is the operator's to decide.
fn scaling(spec: &StreamConsumerSpec) -> Result<Option<Plan>, Refusal> {
    if spec.scaling.mode != ScalingMode::Builtin {
        return Ok(None);
    }
    let builtin = &spec.scaling.builtin;
    let duration = |field: &str, text: &DurationText| {
        keyweir_contract::duration::parse(text.as_str())
            .map_err(|error| Refusal::of_spec("Invalid", format!("spec.scaling.builtin.{field}: {error}")))
    };
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let rows = builtin.table.iter().map(|row| Row { lag: row.lag, replicas: count(row.replicas) });
    // Without a worker nobody knows how far any other source is behind.
    let least = if spec.source.kafka.is_some() { builtin.min_replicas } else { builtin.min_replicas.max(1) };
    Ok(Some(Plan {
        min: count(least),
        max: count(builtin.max_replicas),
        records_per_replica: builtin.records_per_replica.into(),
        table: rows.collect(),
        drain_time: builtin
            .target_drain_time
            .as_ref()
            .map(|time| duration("targetDrainTime", time))
            .transpose()?,
        down_delay: duration("scaleDownDelay", &builtin.scale_down_delay)?,
        max_memory: max_memory(builtin)?,
        beyond_shards: spec.routing == Routing::Key,
        dry_run: builtin.dry_run,
    }))
}

/// Bytes that all workers together may hold, where the user says it.
fn max_memory(builtin: &BuiltinScalingSpec) -> Result<Option<i64>, Refusal> {
    let text = builtin.max_memory.as_str();
    if text.is_empty() {
        return Ok(None);
    }
    let size: ByteSize = text.parse().map_err(|error: ByteSizeError| {
        Refusal::of_spec("Invalid", format!("spec.scaling.builtin.maxMemory: {error}"))
    })?;
    Ok(Some(i64::try_from(size.get()).unwrap_or(i64::MAX)))
}

fn image(spec: &StreamConsumerSpec, settings: &Settings) -> String {
    if spec.worker.image.is_empty() { settings.worker_image.clone() } else { spec.worker.image.clone() }
}

/// Whether workers speak to each other.
fn speaks(config: &WorkerConfig) -> bool {
    matches!(&config.fixed.coordination, Coordination::Etcd(etcd) if etcd.peer.is_some())
}

fn handler_container(spec: &StreamConsumerSpec, config: &WorkerConfig) -> Result<Option<Container>, Refusal> {
    let Some(container) = &spec.handler.container else { return Ok(None) };
    let port = container.port;
    if port == HTTP_PORT || port == PEER_PORT && speaks(config) {
        let message = format!(
            "the worker itself listens on port {port} of the pod: choose another handler.container.port"
        );
        return Err(Refusal::of_pods("PodOverridesRejected", message));
    }
    Ok(Some(handler::container(container)?))
}

/// Orphans can only be there when something else was built the last time.
fn sweep(consumer: &StreamConsumer) -> Sweep {
    let same = consumer.status.as_ref().is_some_and(|status| {
        status.observed_generation == consumer.metadata.generation
            && status.worker_version.as_deref() == Some(env!("CARGO_PKG_VERSION"))
    });
    if same { Sweep::Nothing } else { Sweep::Orphans }
}

fn nouns(config: &WorkerConfig, spec: &StreamConsumerSpec) -> Nouns {
    let handler = &spec.handler;
    let given = [
        (handler.http.is_some(), "HTTP"),
        (handler.container.is_some(), "Container"),
        (handler.exec.is_some(), "Exec"),
        (handler.builtin.is_some(), "Builtin"),
        (handler.native.is_some(), "Native"),
    ];
    Nouns {
        source: match config.fixed.source {
            Source::Kafka(_) => "Kafka",
            Source::Etcd(_) => "Etcd",
            Source::Embedded(_) => "Embedded",
        },
        handler: given.into_iter().find(|(given, _)| *given).map_or("Unknown", |(_, noun)| noun),
    }
}
