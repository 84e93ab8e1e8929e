//! The one match that picks adapters for a configuration.
//!
//! Everything else in this crate speaks of ports. What can be wrong with a configuration at start-up ends here, as
//! a [`StartError`] that names the act.

use std::sync::Arc;
use std::time::Duration;

use keyweir_contract::WorkerConfig;
use keyweir_contract::endpoints::EtcdEndpoint;
use keyweir_contract::keys::ObjectPrefix;
use keyweir_contract::source::{
    Coordination, Delivery, EmbeddedSource, EtcdSource as EtcdConfig, EtcdStart, KafkaSource as KafkaConfig,
    Source as SourceConfig, StartAt as StartConfig,
};
use keyweir_embedded::{DataDir, OpenError, TopicOptions};
use keyweir_engine::notices::Notices;
use keyweir_engine::ownership::LeaseCheckpoints;
use keyweir_engine::ports::{CheckpointStore, LeaseStore, ParkedStore, Recall, Source, StartAt};
use keyweir_engine::pump::Ports;
use keyweir_etcd::EtcdStore;
use keyweir_etcd::source::{PrefixReader, PrefixSource, Settings as PrefixSettings};
use keyweir_handlers::{AnyHandler, BuildError, HandlerContext, Registry};
use keyweir_kafka::{
    ConfigError, Connection, GroupCheckpoints, KafkaParked, KafkaProducer, KafkaReader, KafkaRecall,
    KafkaSource, Mirroring,
};

use crate::event_log::{EventLog, EventLogError};
use crate::nowhere::Nowhere;
use crate::sources::AnyReader;

/// How long a write to Kafka is tried before it counts as failed (and is then tried again, visibly).
const DELIVERY: Duration = Duration::from_secs(5);

/// How long a call to an etcd source may take: a page of its largest values takes a while.
const ETCD_CALL: Duration = Duration::from_secs(10);

/// How often the slots of an etcd source are looked up, which never change.
const SLOTS_ARE_FIXED: Duration = Duration::from_secs(3600);

/// Why an object could not be started. All of these need a person.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory can't be used.
    #[error("failed to open the data directory")]
    DataDirectory(#[source] OpenError),
    /// A reader could not be started.
    #[error("failed to start reading the log")]
    Reader(#[source] std::io::Error),
    /// A topic of the embedded log could not be made.
    #[error("failed to make topic {topic}")]
    Topic {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: keyweir_embedded::AppendError,
    },
    /// A handler can't be built from its configuration.
    #[error("failed to build the handler of route {route}")]
    Handler {
        /// The route's name; `default` for the object's own handler.
        route: String,
        /// Why.
        #[source]
        source: BuildError,
    },
    /// The Kafka settings can't be used.
    #[error("failed to set up the Kafka client")]
    Kafka(#[source] ConfigError),
    /// The event log can't be written.
    #[error("failed to start the event log")]
    EventLog(#[source] EventLogError),
    /// Other members can't be listened to.
    #[error("failed to listen for other members on {address}")]
    Wire {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The object needs something that this program does not do yet.
    #[error("failed to start: {what}")]
    Unsupported {
        /// What, and what to do.
        what: String,
    },
}

/// The adapters of one object.
pub(crate) struct Adapters {
    pub(crate) reader: AnyReader,
    pub(crate) ports: Ports,
    pub(crate) handlers: Vec<Arc<AnyHandler>>,
    pub(crate) observer: Option<EventLog>,
    pub(crate) start: StartAt,
    pub(crate) discovery: Duration,
    pub(crate) fleet: Option<Fleet>,
}

/// Picks and builds the adapters. `directory` is the data directory, where there is one.
pub(crate) async fn build(
    config: &WorkerConfig,
    directory: Option<&DataDir>,
    natives: &Registry,
    member: &Arc<str>,
) -> Result<Adapters, StartError> {
    let observer = match &config.fixed.process.event_log {
        Some(path) => Some(EventLog::open(path, Arc::clone(member)).map_err(StartError::EventLog)?),
        None => None,
    };
    let handlers = handlers(config, natives)?;
    let fleet = fleet(config);
    let (reader, mut ports, start, discovery) = match &config.fixed.source {
        SourceConfig::Kafka(kafka) => {
            let (reader, ports) = kafka_adapters(config, kafka, directory)?;
            (reader, ports, start_at(&kafka.start_at), kafka.partition_discovery_interval)
        }
        SourceConfig::Embedded(embedded) => {
            let (reader, ports) = embedded_adapters(config, embedded, directory).await?;
            (reader, ports, start_at(&embedded.start_at), Duration::from_secs(1))
        }
        SourceConfig::Etcd(etcd) => {
            let (reader, ports) = etcd_adapters(config, etcd, directory, fleet.as_ref())?;
            let start = match etcd.start_at {
                EtcdStart::ListThenFollow => StartAt::Earliest,
                EtcdStart::Now => StartAt::Latest,
            };
            (reader, ports, start, SLOTS_ARE_FIXED)
        }
    };
    if let Some(fleet) = &fleet {
        ports.checkpoints = fleet.checkpoints();
    }
    Ok(Adapters { reader, ports, handlers, observer, start, discovery, fleet })
}

/// Where the members of an object meet, where it has several.
pub(crate) struct Fleet {
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) prefix: ObjectPrefix,
    pub(crate) ttl: Duration,
}

impl Fleet {
    fn checkpoints(&self) -> Arc<dyn CheckpointStore> {
        Arc::new(LeaseCheckpoints::new(Arc::clone(&self.store), self.prefix.clone()))
    }
}

/// Where the members of an object meet; `None` = it has one at most.
pub(crate) fn fleet(config: &WorkerConfig) -> Option<Fleet> {
    let Coordination::Etcd(etcd) = &config.fixed.coordination else {
        return None;
    };
    let prefix = ObjectPrefix::new(&etcd.prefix, &config.object.namespace, &config.object.name);
    Some(fleet_at(etcd.endpoint.clone(), etcd.member_ttl, prefix))
}

/// Where members meet whose keys begin so.
pub(crate) fn fleet_at(endpoint: EtcdEndpoint, ttl: Duration, prefix: ObjectPrefix) -> Fleet {
    // A call that takes longer than a third of the TTL is of no use to whoever keeps a lease.
    let connection = keyweir_etcd::Connection::new(endpoint, ttl / 3);
    Fleet { store: Arc::new(EtcdStore::new(connection)), prefix, ttl }
}

/// The cold half of an object's source, to be looked at from outside; `None` = it lies in a data directory.
pub(crate) fn source(config: &WorkerConfig) -> Option<Arc<dyn Source>> {
    match &config.fixed.source {
        SourceConfig::Kafka(kafka) => {
            let connection =
                Connection::new(kafka.endpoint.clone(), format!("keyweir-{}", config.object.name));
            let topics = kafka.topics.clone();
            Some(Arc::new(KafkaSource::new(connection, topics, &kafka.group, Mirroring::Mirror)))
        }
        SourceConfig::Etcd(etcd) => Some(Arc::new(prefix_source(etcd))),
        SourceConfig::Embedded(_) => None,
    }
}

/// Where such a source's shards start that were never read.
pub(crate) fn start(config: &WorkerConfig) -> Option<StartAt> {
    match &config.fixed.source {
        SourceConfig::Kafka(kafka) => Some(start_at(&kafka.start_at)),
        _ => None,
    }
}

/// The streams that an object's manifest names.
pub(crate) fn streams(config: &WorkerConfig) -> Vec<String> {
    match &config.fixed.source {
        SourceConfig::Kafka(kafka) => kafka.topics.clone(),
        SourceConfig::Embedded(embedded) => embedded.topics.clone(),
        SourceConfig::Etcd(etcd) => etcd.paths.clone(),
    }
}

/// Half of the byte budget may wait in the reader, so that both together stay near it.
fn read_ahead(config: &WorkerConfig) -> usize {
    let bytes = config.live.execution.limits.bytes.get() / 2;
    usize::try_from(bytes).unwrap_or(usize::MAX).clamp(1 << 20, 64 << 20)
}

fn kafka_adapters(
    config: &WorkerConfig,
    kafka: &KafkaConfig,
    directory: Option<&DataDir>,
) -> Result<(AnyReader, Ports), StartError> {
    let object = object_name(config);
    let connection = Connection::new(kafka.endpoint.clone(), format!("keyweir-{}", config.object.name));
    let reader = KafkaReader::new(connection.clone(), read_ahead(config)).map_err(StartError::Kafka)?;
    let producer = Arc::new(KafkaProducer::new(connection.clone(), DELIVERY).map_err(StartError::Kafka)?);
    let kept_elsewhere = directory.is_some() || matches!(config.fixed.coordination, Coordination::Etcd(_));
    let mirroring = if kept_elsewhere { Mirroring::Mirror } else { Mirroring::CheckpointsAreThere };
    let source = KafkaSource::new(connection.clone(), kafka.topics.clone(), &kafka.group, mirroring);
    let recall = KafkaRecall::new(connection.clone());
    let (checkpoints, parked): (Arc<dyn CheckpointStore>, Arc<dyn ParkedStore>) = match directory {
        Some(directory) => (Arc::new(directory.checkpoints(&object)), Arc::new(directory.parked(&object))),
        None => {
            let parked = KafkaParked::new(connection.clone(), &kafka.group).map_err(StartError::Kafka)?;
            (Arc::new(GroupCheckpoints::new(connection, &kafka.group)), Arc::new(parked))
        }
    };
    let recall: Option<Arc<dyn Recall>> = Some(Arc::new(recall));
    let notices = Notices::default();
    let ports =
        Ports { source: Arc::new(source), checkpoints, producer, parked: Some(parked), recall, notices };
    Ok((AnyReader::Kafka(reader), ports))
}

async fn embedded_adapters(
    config: &WorkerConfig,
    embedded: &EmbeddedSource,
    directory: Option<&DataDir>,
) -> Result<(AnyReader, Ports), StartError> {
    let Some(directory) = directory else {
        let what = "the embedded log needs a data directory: give one with --data DIR".to_owned();
        return Err(StartError::Unsupported { what });
    };
    let object = object_name(config);
    let log = directory.log();
    for topic in &embedded.topics {
        let options = TopicOptions {
            partitions: embedded.partitions,
            retention_age: embedded.retention_age,
            retention_bytes: embedded.retention_bytes.get(),
        };
        let made = log.ensure_topic(topic, options).await;
        made.map_err(|source| StartError::Topic { topic: topic.clone(), source })?;
    }
    let reader = directory.reader(read_ahead(config)).map_err(StartError::Reader)?;
    let source = Arc::new(directory.source(embedded.topics.clone()));
    let ports = Ports {
        recall: Some(source.clone()),
        source,
        checkpoints: Arc::new(directory.checkpoints(&object)),
        producer: Arc::new(log),
        parked: Some(Arc::new(directory.parked(&object))),
        notices: Notices::default(),
    };
    Ok((AnyReader::Embedded(reader), ports))
}

fn etcd_adapters(
    config: &WorkerConfig,
    etcd: &EtcdConfig,
    directory: Option<&DataDir>,
    fleet: Option<&Fleet>,
) -> Result<(AnyReader, Ports), StartError> {
    let object = object_name(config);
    let checkpoints = match (fleet, directory) {
        (Some(fleet), _) => fleet.checkpoints(),
        (None, Some(directory)) => Arc::new(directory.checkpoints(&object)) as Arc<dyn CheckpointStore>,
        (None, None) => {
            let what = "an etcd source needs a place for its checkpoints: set coordination.type: Etcd, or give a \
                        data directory with --data DIR";
            return Err(StartError::Unsupported { what: what.to_owned() });
        }
    };
    let settings = PrefixSettings {
        slots: etcd.slots,
        every: etcd.delivery == Delivery::Every,
        page_size: etcd.page_size,
        watch_buffer: etcd.watch_buffer,
        deadline: ETCD_CALL,
    };
    let connection = keyweir_etcd::Connection::new(etcd.endpoint.clone(), ETCD_CALL);
    let reader = PrefixReader::new(connection, settings, read_ahead(config));
    let parked = directory.map(|directory| Arc::new(directory.parked(&object)) as Arc<dyn ParkedStore>);
    let source = Arc::new(prefix_source(etcd));
    let (producer, notices) = (Arc::new(Nowhere), Notices::default());
    let ports = Ports { source, checkpoints, producer, parked, recall: None, notices };
    Ok((AnyReader::Etcd(reader), ports))
}

fn prefix_source(etcd: &EtcdConfig) -> PrefixSource {
    let connection = keyweir_etcd::Connection::new(etcd.endpoint.clone(), ETCD_CALL);
    PrefixSource::new(connection, etcd.paths.clone(), etcd.slots)
}

/// Whether a configuration's handlers can be had: asked before a running object gives way to a changed one.
pub(crate) fn check(config: &WorkerConfig, natives: &Registry) -> Result<(), StartError> {
    handlers(config, natives).map(drop)
}

fn handlers(config: &WorkerConfig, natives: &Registry) -> Result<Vec<Arc<AnyHandler>>, StartError> {
    let context = HandlerContext { object: &config.object, decode: &config.fixed.decode, registry: natives };
    let own = [("default", &config.fixed.handler)];
    let routes = config.fixed.routes.iter().map(|route| (route.name.as_str(), &route.handler));
    own.into_iter()
        .chain(routes)
        .map(|(route, handler)| {
            let built = AnyHandler::present(handler).and_then(|()| AnyHandler::build(handler, context));
            built.map(Arc::new).map_err(|source| StartError::Handler { route: route.to_owned(), source })
        })
        .collect()
}

fn start_at(start: &StartConfig) -> StartAt {
    match start {
        StartConfig::Earliest => StartAt::Earliest,
        StartConfig::Latest => StartAt::Latest,
        StartConfig::Timestamp { unix_millis } => StartAt::Timestamp(*unix_millis),
    }
}

/// How an object's checkpoints and parked records are told from another's in one data directory.
pub(crate) fn object_name(config: &WorkerConfig) -> String {
    format!("{}/{}", config.object.namespace, config.object.name)
}
