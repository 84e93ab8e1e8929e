//! A valid object, written as a worker reads it.
//!
//! What depends on another field is decided here: concurrency where no profile is set (64); what follows the last
//! attempt (`DeadLetter` where one is named, else `Park`); undecodable records like exhausted ones.

use std::time::Duration;

use keyweir_contract::handler::{
    Batch, Builtin, ExecHandler, Handler, HandlerConfig, HandlerOptions, Output, Route,
};
use keyweir_contract::policy::{
    Concurrency, Decode, ExhaustedAction, KeyPolicy, KeySelector, Limits, OnUnknown, RateLimit, RetryPolicy,
    Routing,
};
use keyweir_contract::worker_config::{
    CONTRACT_VERSION, Execution, FixedConfig, LiveConfig, ObjectIdentity, PausedPartition, ProcessConfig,
};
use keyweir_contract::{ByteSize, WorkerConfig};
use keyweir_crds::execution::{ExecutionSpec, KeyFrom, KeySpec, Profile};
use keyweir_crds::exhausted::{
    DeadLetterSpec, EndAction, ExhaustedSpec, ParkSpec, UnknownAction, UnknownSpec,
};
use keyweir_crds::handler::{BuiltinHandlerSpec, BuiltinType, HandlerOptionsSpec, HandlerSpec};
use keyweir_crds::{StreamConsumer, StreamConsumerSpec};

use crate::Rendered;
use crate::environment::Environment;
use crate::mistakes::Mistake;
use crate::secrets::Files;

mod sources;
mod topics;

/// Everything a lowering step may look at or add to.
pub(crate) struct Lowering<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) files: Files<'a>,
    pub(crate) mistakes: &'a mut Vec<Mistake>,
    pub(crate) notes: Vec<String>,
}

pub(crate) fn lower(
    object: &StreamConsumer,
    environment: &Environment,
    mistakes: &mut Vec<Mistake>,
) -> Rendered {
    let mut lowering = Lowering { environment, files: Files::new(environment), mistakes, notes: Vec::new() };
    let identity = lowering.identity(object);
    let fixed = lowering.fixed(&object.spec, &identity);
    let mut live = lowering.live(&object.spec);
    live.replicas = fixed.coordination.is_static().then(|| u32::try_from(object.spec.replicas).unwrap_or(0));
    lowering.note_cluster_only(&object.spec, live.replicas.is_some());
    let config = WorkerConfig { contract_version: CONTRACT_VERSION, object: identity, fixed, live };
    Rendered { config, files: lowering.files.needed(), notes: lowering.notes }
}

impl Lowering<'_> {
    pub(crate) fn duration(&mut self, field: &str, text: &str) -> Duration {
        keyweir_contract::duration::parse(text).unwrap_or_else(|error| {
            self.mistakes.push(Mistake::new(field, error.to_string()));
            Duration::ZERO
        })
    }

    pub(crate) fn bytes(&mut self, field: &str, text: &str) -> ByteSize {
        text.parse().unwrap_or_else(|error: keyweir_contract::bytes::ByteSizeError| {
            self.mistakes.push(Mistake::new(field, error.to_string()));
            ByteSize::new(0)
        })
    }

    fn identity(&mut self, object: &StreamConsumer) -> ObjectIdentity {
        let name = object.metadata.name.clone().unwrap_or_default();
        if name.is_empty() {
            self.mistakes.push(Mistake::new("metadata.name", "give the object a name"));
        }
        ObjectIdentity {
            kind: "StreamConsumer".to_owned(),
            namespace: object.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            name,
            uid: object.metadata.uid.clone().unwrap_or_default(),
        }
    }

    fn fixed(&mut self, spec: &StreamConsumerSpec, identity: &ObjectIdentity) -> FixedConfig {
        let options = self.options("spec.handlerOptions", &spec.handler_options);
        let handler =
            HandlerConfig { handler: self.handler("spec.handler", &spec.handler), options: options.clone() };
        let mut routes = Vec::new();
        for (place, route) in spec.routes.iter().enumerate() {
            let handler = self.handler(&format!("spec.routes[{place}].handler"), &route.handler);
            routes.push(Route {
                name: route.name.as_str().to_owned(),
                topics: route.topics.iter().map(|topic| topic.as_str().to_owned()).collect(),
                record_types: route.record_types.clone(),
                handler: HandlerConfig { handler, options: options.clone() },
            });
        }
        let on_exhausted = exhausted(spec.on_exhausted.as_ref());
        let on_undecodable =
            spec.on_undecodable.as_ref().map_or_else(|| on_exhausted.clone(), |spec| exhausted(Some(spec)));
        let outputs = spec.outputs.iter().map(|output| Output {
            name: output.name.as_str().to_owned(),
            topic: output.kafka.topic.as_str().to_owned(),
        });
        let source = self.source(spec, identity);
        let coordination = self.coordination(spec);
        self.keep_apart(&source, &coordination, identity);
        let on_unknown = unknown(&spec.on_unknown);
        let parks = |action: &ExhaustedAction| matches!(action, ExhaustedAction::Park { .. });
        let ends = [
            ("spec.onExhausted", parks(&on_exhausted)),
            ("spec.onUndecodable", spec.on_undecodable.is_some() && parks(&on_undecodable)),
            ("spec.onUnknown", matches!(&on_unknown, OnUnknown::Exhaust(action) if parks(action))),
        ];
        self.find_places_to_park(&source, &coordination, &ends);
        FixedConfig {
            source,
            coordination,
            decode: Decode {
                format: spec.decode.format,
                record_type_header: spec.decode.record_type_header.clone(),
            },
            key: key(&spec.key),
            ordering: spec.ordering,
            routing: spec.routing,
            handler,
            routes,
            on_unknown,
            on_undecodable,
            on_exhausted,
            outputs: outputs.collect(),
            process: self.process(spec),
        }
    }

    fn process(&mut self, spec: &StreamConsumerSpec) -> ProcessConfig {
        let local = self.environment.as_local();
        let otlp = &spec.observability.tracing.otlp_endpoint;
        let max_lifetime = &spec.worker.max_lifetime;
        let lifetime = match max_lifetime.as_str() {
            "" => None,
            text => Some(self.duration("spec.worker.maxLifetime", text)),
        };
        let memory = match spec.worker.max_memory.as_str() {
            "" => None,
            text => Some(self.bytes("spec.worker.maxMemory", text)),
        };
        ProcessConfig {
            data_directory: local.and_then(|local| local.data.clone()),
            listen: None,
            event_log: local.and_then(|local| local.event_log.clone()),
            otlp_endpoint: (!otlp.is_empty()).then(|| otlp.clone()),
            max_lifetime: lifetime,
            max_memory: memory,
        }
    }

    fn live(&mut self, spec: &StreamConsumerSpec) -> LiveConfig {
        let retry = &spec.retry;
        let paused = spec.paused_partitions.iter().flat_map(|paused| {
            let topic = paused.topic.as_str().to_owned();
            paused
                .partitions
                .iter()
                .map(move |partition| PausedPartition { topic: topic.clone(), partition: *partition })
        });
        LiveConfig {
            execution: self.execution(&spec.execution),
            retry: RetryPolicy {
                max_attempts: retry.max_attempts,
                initial_delay: self.duration("spec.retry.initialDelay", retry.initial_delay.as_str()),
                factor: retry.factor,
                max_delay: self.duration("spec.retry.maxDelay", retry.max_delay.as_str()),
                jitter_percent: retry.jitter_percent,
                retry_on: retry.retry_on.clone(),
            },
            state: spec.state,
            paused_partitions: paused.collect(),
            checkpoint_interval: self.duration("spec.checkpointInterval", spec.checkpoint_interval.as_str()),
            drain_timeout: self.duration("spec.drainTimeout", spec.drain_timeout.as_str()),
            log_level: spec.observability.log_level,
            provision: self.provision(spec),
            replicas: None,
        }
    }

    fn execution(&mut self, spec: &ExecutionSpec) -> Execution {
        let concurrency = match (spec.concurrency, spec.profile) {
            (Some(count), _) => Concurrency::Fixed(count),
            (None, Some(profile)) => Concurrency::PerCpu(per_cpu(profile)),
            (None, None) => Concurrency::default(),
        };
        let defaults = Limits::default();
        let limits = Limits {
            records: spec.limits.records.into(),
            bytes: self.bytes("spec.execution.limits.bytes", spec.limits.bytes.as_str()),
            keys: spec.limits.keys.into(),
            records_per_key: spec
                .limits
                .records_per_key
                .map_or_else(|| spec.profile.map_or(defaults.records_per_key, depth), u64::from),
        };
        let rate_limit =
            spec.rate_limit.as_ref().map(|limit| RateLimit { records_per_second: limit.records_per_second });
        Execution { concurrency, limits, rate_limit }
    }

    fn options(&mut self, field: &str, spec: &HandlerOptionsSpec) -> HandlerOptions {
        let timeout = match spec.timeout.as_str() {
            "None" => None,
            text => Some(self.duration(&format!("{field}.timeout"), text)),
        };
        let heartbeat = match spec.heartbeat.as_str() {
            "" => None,
            text => Some(self.duration(&format!("{field}.heartbeat"), text)),
        };
        let batch = spec.batch.as_ref().map(|batch| Batch {
            max_records: batch.max_records,
            linger: self.duration(&format!("{field}.batch.linger"), batch.linger.as_str()),
        });
        let max_response_bytes =
            self.bytes(&format!("{field}.maxResponseBytes"), spec.max_response_bytes.as_str());
        HandlerOptions { timeout, heartbeat, max_response_bytes, batch }
    }

    fn handler(&mut self, field: &str, spec: &HandlerSpec) -> Handler {
        let override_url = self.environment.as_local().and_then(|local| local.handler_url.clone());
        if let Some(http) = &spec.http {
            return Handler::Http { url: override_url.unwrap_or_else(|| http.url.as_str().to_owned()) };
        }
        if let Some(container) = &spec.container {
            return match override_url {
                Some(url) => Handler::Http { url },
                None => Handler::Container { port: container.port, path: container.path.clone() },
            };
        }
        if let Some(exec) = &spec.exec {
            let (command, first) =
                exec.command.split_first().map_or(("", &[][..]), |(head, rest)| (head.as_str(), rest));
            return Handler::Exec(ExecHandler {
                command: command.to_owned(),
                args: first.iter().chain(&exec.args).cloned().collect(),
                env: exec.env.clone(),
                working_directory: exec.working_directory.as_ref().map(Into::into),
                processes: exec.processes,
                records_per_process: exec.records_per_process,
            });
        }
        if let Some(native) = &spec.native {
            return Handler::Native { name: native.name.clone() };
        }
        Handler::Builtin(spec.builtin.as_ref().map_or(Builtin::Drop, |builtin| self.builtin(field, builtin)))
    }

    fn builtin(&mut self, field: &str, spec: &BuiltinHandlerSpec) -> Builtin {
        match spec.kind {
            BuiltinType::Echo => Builtin::Echo,
            BuiltinType::Drop => Builtin::Drop,
            BuiltinType::Delay => {
                let text = spec.delay.as_ref().map_or("", |delay| delay.as_str());
                Builtin::Delay { duration: self.duration(&format!("{field}.builtin.delay"), text) }
            }
            BuiltinType::Map => match &spec.map {
                Some(map) => Builtin::Map {
                    expression: map.expression.clone(),
                    output: map.output.as_str().to_owned(),
                },
                None => {
                    self.mistakes.push(Mistake::new(format!("{field}.builtin.map"), "say what to map"));
                    Builtin::Drop
                }
            },
            BuiltinType::Fail => Builtin::Fail {
                reason: spec.fail.as_ref().map_or_else(|| "Requested".to_owned(), |fail| fail.reason.clone()),
                attempts: spec.fail.as_ref().and_then(|fail| fail.attempts),
            },
        }
    }

    /// What a laptop does not do is said, not silently dropped.
    fn note_cluster_only(&mut self, spec: &StreamConsumerSpec, has_ordinals: bool) {
        if self.environment.as_local().is_none() {
            return;
        }
        let defaults = (1, keyweir_crds::pod::PodSpec::default());
        if spec.replicas != defaults.0 && !has_ordinals {
            self.notes.push("spec.replicas needs a cluster: one process runs here".to_owned());
        }
        if spec.pod != defaults.1 {
            self.notes.push("spec.pod needs a cluster".to_owned());
        }
        if spec.routing == Routing::Key {
            self.notes.push(
                "spec.routing: Key needs a cluster: records are handled where they are read".to_owned(),
            );
        }
        if spec.scaling != Default::default() {
            self.notes.push("spec.scaling needs a cluster".to_owned());
        }
    }
}

fn per_cpu(profile: Profile) -> u32 {
    match profile {
        Profile::Compute => 1,
        Profile::FastNetwork => 4,
        Profile::SlowNetwork => 16,
        Profile::WideNetwork => 32,
    }
}

fn depth(profile: Profile) -> u64 {
    match profile {
        Profile::Compute | Profile::WideNetwork => 1000,
        Profile::FastNetwork | Profile::SlowNetwork => 100,
    }
}

fn key(spec: &KeySpec) -> KeyPolicy {
    let selector = match spec.from {
        KeyFrom::RecordKey => KeySelector::RecordKey,
        KeyFrom::Header => KeySelector::Header(spec.header.clone().unwrap_or_default()),
        KeyFrom::JsonPointer => KeySelector::JsonPointer(spec.json_pointer.clone().unwrap_or_default()),
    };
    KeyPolicy { selector, null_key: spec.null_key }
}

fn exhausted(spec: Option<&ExhaustedSpec>) -> ExhaustedAction {
    let given = spec.cloned().unwrap_or_default();
    match given.action {
        Some(EndAction::Skip) => ExhaustedAction::Skip,
        Some(EndAction::Stop) => ExhaustedAction::Stop,
        Some(EndAction::Park) => park(given.park.as_ref()),
        Some(EndAction::DeadLetter) | None => dead_letter(given.dead_letter.as_ref(), given.park.as_ref()),
    }
}

fn unknown(spec: &UnknownSpec) -> OnUnknown {
    match spec.action {
        UnknownAction::Default => OnUnknown::Default,
        UnknownAction::Skip => OnUnknown::Exhaust(ExhaustedAction::Skip),
        UnknownAction::Stop => OnUnknown::Exhaust(ExhaustedAction::Stop),
        UnknownAction::Park => OnUnknown::Exhaust(park(spec.park.as_ref())),
        UnknownAction::DeadLetter => {
            OnUnknown::Exhaust(dead_letter(spec.dead_letter.as_ref(), spec.park.as_ref()))
        }
    }
}

fn park(spec: Option<&ParkSpec>) -> ExhaustedAction {
    ExhaustedAction::Park { blocks_key: spec.is_some_and(|park| park.blocks_key) }
}

fn dead_letter(letter: Option<&DeadLetterSpec>, parked: Option<&ParkSpec>) -> ExhaustedAction {
    match letter {
        Some(letter) => ExhaustedAction::DeadLetter { topic: letter.topic.as_str().to_owned() },
        None => park(parked),
    }
}
