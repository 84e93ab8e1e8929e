//! `KafkaProducer`: durable writes of outputs, dead letters and whatever is sent.
//!
//! One idempotent producer with all replicas' acknowledgement and Java's partitioner, so that a key goes where any
//! other client would put it. A full queue waits. A producer that failed for good, or whose secrets have changed,
//! is replaced by a new one. Up: [`Producer`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::Offset;
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{ProduceError, Producer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use crate::config::{ConfigError, Connection};
use crate::context::Context;
use crate::error::{cause, trouble};

/// How long a full queue is left alone before the next try.
const FULL: Duration = Duration::from_millis(2);

/// Writes to topics of one cluster.
pub struct KafkaProducer {
    connection: Connection,
    delivery: Duration,
    /// Replaced when it has failed for good. Never locked across a wait.
    made: Mutex<Made>,
}

struct Made {
    producer: Arc<FutureProducer<Context>>,
    context: Context,
    secrets: u64,
}

impl KafkaProducer {
    /// A producer that gives up a record after `delivery`; nothing of it is written later than that. Connects at
    /// once, in the background.
    ///
    /// # Errors
    /// When the settings can't be used.
    pub fn new(connection: Connection, delivery: Duration) -> Result<Self, ConfigError> {
        let made = Mutex::new(make(&connection, delivery)?);
        Ok(Self { connection, delivery, made })
    }

    /// Forgets what is queued and not sent: for a member that has lost its tenure. Each such record ends with an
    /// error.
    pub fn purge(&self) {
        self.producer().purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    }

    fn producer(&self) -> Arc<FutureProducer<Context>> {
        Arc::clone(&self.made.lock().unwrap_or_else(PoisonError::into_inner).producer)
    }

    /// Writes one record, durably; says in which partition it stands, and where there.
    ///
    /// # Errors
    /// When it was not written, or nobody knows whether it was.
    pub async fn write(&self, topic: &str, record: NewRecord) -> Result<(u32, Offset), ProduceError> {
        let producer = self.producer();
        let mut waiting = vendor_record(topic, &record);
        let delivery = loop {
            match producer.send_result(waiting) {
                Ok(delivery) => break delivery,
                Err((error, back)) if is_full(&error) => waiting = back,
                Err((error, _)) => return Err(self.failed(topic, error, &producer)),
            }
            tokio::time::sleep(FULL).await;
        };
        match delivery.await {
            Ok(Ok(place)) => Ok((u32::try_from(place.partition).unwrap_or(0), Offset(place.offset))),
            Ok(Err((error, _))) => Err(self.failed(topic, error, &producer)),
            Err(_gone) => Err(self.failed(topic, KafkaError::Canceled, &producer)),
        }
    }

    fn failed(&self, topic: &str, error: KafkaError, with: &FutureProducer<Context>) -> ProduceError {
        let context = self.made.lock().unwrap_or_else(PoisonError::into_inner).context.clone();
        let context = Some(&context);
        self.replace_if_due(with);
        let topic = topic.to_owned();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord) => {
                ProduceError::Refused { topic, source: cause(error, context) }
            }
            Some(code) if trouble(code).is_refusal() && code != RDKafkaErrorCode::Authentication => {
                ProduceError::Refused { topic, source: cause(error, context) }
            }
            _ => ProduceError::Unreachable { topic, source: cause(error, context) },
        }
    }

    fn replace_if_due(&self, failed: &FutureProducer<Context>) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = std::ptr::eq(Arc::as_ptr(&made.producer), failed);
        let is_due = failed.client().fatal_error().is_some() || made.secrets != self.connection.fingerprint();
        if !is_same || !is_due {
            return;
        }
        match make(&self.connection, self.delivery) {
            Ok(new) => *made = new,
            Err(error) => tracing::warn!(%error, "a failed producer can't be replaced yet"),
        }
    }
}

fn make(connection: &Connection, delivery: Duration) -> Result<Made, ConfigError> {
    let secrets = connection.fingerprint();
    let context = Context::default();
    let producer = connection
        .writing(delivery)?
        .create_with_context(context.clone())
        .map_err(|source| ConfigError::Client { cluster: connection.name(), source })?;
    Ok(Made { producer: Arc::new(producer), context, secrets })
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

fn vendor_record<'a>(topic: &'a str, record: &'a NewRecord) -> FutureRecord<'a, [u8], [u8]> {
    let headers = (!record.headers.is_empty()).then(|| {
        record
            .headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_deref() })
            })
    });
    FutureRecord {
        topic,
        partition: record.partition.and_then(|partition| i32::try_from(partition).ok()),
        payload: record.value.as_deref(),
        key: record.key.as_ref().map(Bytes::as_ref),
        timestamp: record.timestamp,
        headers,
    }
}

impl Producer for KafkaProducer {
    fn produce<'a>(&'a self, topic: &'a str, record: NewRecord) -> BoxFuture<'a, Result<(), ProduceError>> {
        self.write(topic, record).map(|written| written.map(|_place| ())).boxed()
    }
}
