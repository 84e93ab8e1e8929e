//! `KafkaParked`: parked records in a compacted topic of the cluster, for workers without a data directory.
//!
//! One record a name (`topic/partition@offset` is the key), a null value forgets it. The topic is made when the
//! first record is parked. What is there is known by reading the topic on to its end before each answer: keys and
//! places are kept in memory, records are read when they are asked for. Up: [`ParkedStore`].

mod form;
mod tail;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_engine::ports::{ParkedError, ParkedId, ParkedRecord, ParkedStore, Producer};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::cold;
use crate::config::{CALL_TIMEOUT, ConfigError, Connection};
use crate::context::Context;
use crate::producer::KafkaProducer;
use tail::{Tail, TailError};

/// How long a parked record may take to become durable before the pump is told and tries again.
const DELIVERY: Duration = Duration::from_secs(30);
/// A parked record is the record it was and its reason: it must fit where the record did.
const LARGEST: &str = "67108864";

/// Parked records in a compacted topic.
pub struct KafkaParked {
    connection: Connection,
    topic: Arc<str>,
    producer: KafkaProducer,
    /// Filled once the topic is known to be there and to keep what is written.
    ready: OnceCell<()>,
    /// Locked by blocking threads only.
    tail: Arc<Mutex<Tail>>,
}

/// Where a group's parked records lie.
pub(crate) fn parked_topic(group: &str) -> String {
    format!("{group}.parked")
}

/// Why the topic can't be used.
#[derive(Debug, Error)]
enum TopicError {
    #[error("failed to configure a client for the topic of parked records")]
    Config(#[source] ConfigError),
    #[error("failed to make the topic {topic}")]
    Make {
        topic: Arc<str>,
        #[source]
        source: KafkaError,
    },
    #[error("failed to read the settings of the topic {topic}")]
    Settings {
        topic: Arc<str>,
        #[source]
        source: KafkaError,
    },
    #[error("failed to accept the topic {topic}: parked records need cleanup.policy=compact, it has {found}")]
    NotCompacted { topic: Arc<str>, found: String },
}

impl KafkaParked {
    /// Parked records of a group, in the topic `<group>.parked`. Makes no topic before there is something to park.
    ///
    /// # Errors
    /// When the settings can't be used.
    pub fn new(connection: Connection, group: &str) -> Result<Self, ConfigError> {
        let topic: Arc<str> = parked_topic(group).into();
        Ok(Self {
            producer: KafkaProducer::new(connection.clone(), DELIVERY)?,
            tail: Arc::new(Mutex::new(Tail::new(connection.clone(), Arc::clone(&topic)))),
            ready: OnceCell::new(),
            connection,
            topic,
        })
    }

    async fn make_ready(&self) -> Result<(), TopicError> {
        self.ready.get_or_try_init(|| self.make_topic()).await?;
        Ok(())
    }

    async fn make_topic(&self) -> Result<(), TopicError> {
        let cluster = || self.connection.name();
        let admin: AdminClient<Context> = self
            .connection
            .cold(None)
            .and_then(|config| {
                config
                    .create_with_context(Context::default())
                    .map_err(|source| ConfigError::Client { cluster: cluster(), source })
            })
            .map_err(TopicError::Config)?;
        let options =
            AdminOptions::new().request_timeout(Some(CALL_TIMEOUT)).operation_timeout(Some(CALL_TIMEOUT));
        // As many copies as the cluster's default has.
        let new = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact")
            .set("max.message.bytes", LARGEST);
        let make = |source| TopicError::Make { topic: Arc::clone(&self.topic), source };
        for made in admin.create_topics([&new], &options).await.map_err(make)? {
            match made {
                Ok(_) => return Ok(()),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(make(KafkaError::AdminOp(code))),
            }
        }
        self.check_topic(&admin, &options).await
    }

    /// A topic that somebody else made may drop what is old.
    async fn check_topic(
        &self,
        admin: &AdminClient<Context>,
        options: &AdminOptions,
    ) -> Result<(), TopicError> {
        let settings = |source| TopicError::Settings { topic: Arc::clone(&self.topic), source };
        let asked = [ResourceSpecifier::Topic(&self.topic)];
        for described in admin.describe_configs(&asked, options).await.map_err(settings)? {
            let described = described.map_err(|code| settings(KafkaError::AdminOp(code)))?;
            let found = described.get("cleanup.policy").and_then(|entry| entry.value.clone());
            let found = found.unwrap_or_default();
            if found != "compact" {
                return Err(TopicError::NotCompacted { topic: Arc::clone(&self.topic), found });
            }
        }
        Ok(())
    }

    /// Reads on to the end, then answers.
    async fn ask<T: Send + 'static>(
        &self,
        act: &'static str,
        answer: impl FnOnce(&mut Tail) -> Result<T, TailError> + Send + 'static,
    ) -> Result<T, ParkedError> {
        let tail = Arc::clone(&self.tail);
        let read = cold::blocking(move || {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.read_on()?;
            answer(&mut tail)
        });
        match read.await {
            Ok(answered) => answered.map_err(failed(act)),
            Err(gone) => Err(failed(act)(gone)),
        }
    }

    async fn keep(&self, record: ParkedRecord) -> Result<(), ParkedError> {
        self.make_ready().await.map_err(failed("keep"))?;
        let written = self.producer.produce(&self.topic, form::kept(record));
        written.await.map_err(failed("keep"))
    }

    async fn forget(&self, id: ParkedId) -> Result<bool, ParkedError> {
        let asked = id.clone();
        if !self.ask("forget", move |tail| Ok(tail.knows(&asked))).await? {
            return Ok(false);
        }
        let written = self.producer.produce(&self.topic, form::forgotten(&id));
        written.await.map_err(failed("forget")).map(|()| true)
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(act: &'static str) -> impl Fn(E) -> ParkedError {
    move |source| ParkedError { act, source: source.into() }
}

impl ParkedStore for KafkaParked {
    fn park(&self, record: ParkedRecord) -> BoxFuture<'_, Result<(), ParkedError>> {
        self.keep(record).boxed()
    }

    fn list(
        &self,
        after: Option<ParkedId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ParkedRecord>, ParkedError>> {
        self.ask("list", move |tail| tail.list(after.as_ref(), limit)).boxed()
    }

    fn get<'a>(&'a self, id: &'a ParkedId) -> BoxFuture<'a, Result<Option<ParkedRecord>, ParkedError>> {
        let id = id.clone();
        self.ask("read", move |tail| tail.get(&id)).boxed()
    }

    fn remove<'a>(&'a self, id: &'a ParkedId) -> BoxFuture<'a, Result<bool, ParkedError>> {
        self.forget(id.clone()).boxed()
    }

    fn count(&self) -> BoxFuture<'_, Result<u64, ParkedError>> {
        self.ask("count", |tail| Ok(tail.count())).boxed()
    }
}
