//! The end of the topic of parked records: what stands there, found by reading on.
//!
//! Blocking; one caller at a time. Holds names and places, never records. Up: [`crate::parked`].

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyweir_engine::ports::{ParkedId, ParkedRecord};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use super::form;
use crate::config::{CALL_TIMEOUT, ConfigError, Connection};
use crate::context::Context;
use crate::fetch::{Fetched, Fetcher, StartAt, Topic};
use crate::topics;

/// Messages taken at a time, and bytes the library may read ahead.
const MOST: usize = 100;
const READ_AHEAD: usize = 4 << 20;
const WAIT: Duration = Duration::from_millis(100);

/// Why the topic could not be read. Always tried again.
#[derive(Debug, Error)]
pub(super) enum TailError {
    #[error("failed to configure a client for the topic of parked records")]
    Config(#[source] ConfigError),
    #[error("failed to read the topic of parked records")]
    Read(#[source] KafkaError),
    #[error("failed to reach the end of the topic of parked records in time")]
    Late,
}

/// Where a parked record stands.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    partition: i32,
    offset: i64,
}

/// What is known of the topic so far.
pub(super) struct Tail {
    connection: Connection,
    topic: Arc<str>,
    made: Option<Made>,
    /// The next offset of each partition; `None` = from the first one.
    next: Vec<Option<i64>>,
    places: BTreeMap<ParkedId, Place>,
}

/// A client and what was made with it, dropped in this order.
struct Made {
    topic: Topic,
    fetcher: Fetcher,
    client: Arc<BaseConsumer<Context>>,
    secrets: u64,
}

impl Tail {
    /// Nothing is known yet. Connects when it is asked.
    pub(super) fn new(connection: Connection, topic: Arc<str>) -> Self {
        Self { connection, topic, made: None, next: Vec::new(), places: BTreeMap::new() }
    }

    pub(super) fn knows(&self, id: &ParkedId) -> bool {
        self.places.contains_key(id)
    }

    pub(super) fn count(&self) -> u64 {
        self.places.len() as u64
    }

    pub(super) fn list(
        &mut self,
        after: Option<&ParkedId>,
        limit: usize,
    ) -> Result<Vec<ParkedRecord>, TailError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids: Vec<ParkedId> =
            self.places.range((from, Bound::Unbounded)).take(limit).map(|(id, _)| id.clone()).collect();
        let mut records = Vec::with_capacity(ids.len());
        for id in ids {
            records.extend(self.get(&id)?);
        }
        Ok(records)
    }

    pub(super) fn get(&mut self, id: &ParkedId) -> Result<Option<ParkedRecord>, TailError> {
        let Some(&place) = self.places.get(id) else { return Ok(None) };
        let mut record = None;
        self.read(place.partition, StartAt::Offset(place.offset), |message| {
            // What was written again since is compacted away, and another one stands there.
            if message.offset() == place.offset {
                record = form::read(id.clone(), message.value(), message.headers());
            }
            true
        })?;
        Ok(record)
    }

    /// Reads all that was written since the last time.
    pub(super) fn read_on(&mut self) -> Result<(), TailError> {
        let topic = Arc::clone(&self.topic);
        let partitions = match topics::partitions(&self.made()?.client, &topic) {
            Ok(partitions) => partitions.len(),
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)) => 0,
            Err(error) => return Err(TailError::Read(error)),
        };
        if partitions == 0 {
            self.places.clear();
        }
        self.next.resize(partitions, None);
        for index in 0..partitions {
            let mut places = std::mem::take(&mut self.places);
            let mut next = self.next[index];
            let partition = index as i32;
            let done = self.read(partition, next.map_or(StartAt::First, StartAt::Offset), |message| {
                let offset = message.offset();
                next = Some(offset + 1);
                if let Some(id) = message.key().and_then(form::id) {
                    match message.value() {
                        Some(_) => places.insert(id, Place { partition, offset }),
                        None => places.remove(&id),
                    };
                }
                false
            });
            self.places = places;
            self.next[index] = next;
            done?;
        }
        Ok(())
    }

    /// Shows messages of a partition until the end of the log or until `show` says that it is enough.
    fn read(
        &mut self,
        partition: i32,
        at: StartAt,
        mut show: impl FnMut(&Fetched<'_>) -> bool,
    ) -> Result<(), TailError> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let made = self.made()?;
        made.fetcher.start(&made.topic, partition, at).map_err(TailError::Read)?;
        let mut ended = None;
        while ended.is_none() && Instant::now() < deadline {
            made.fetcher.take(MOST, WAIT, |message| {
                if ended.is_some() {
                    return;
                }
                match message.error() {
                    None if show(&message) => ended = Some(Ok(())),
                    None => {}
                    Some(RDKafkaErrorCode::PartitionEOF) => ended = Some(Ok(())),
                    Some(code) => ended = Some(Err(TailError::Read(KafkaError::MessageConsumption(code)))),
                }
            });
            // Log lines and errors go to the context.
            let _ = made.client.poll(Duration::ZERO);
        }
        let _ = made.fetcher.stop(&made.topic, partition);
        if let Some(Err(TailError::Read(_))) = ended {
            // Whatever it was, a new client and a new look from the first record are the surest way on.
            self.made = None;
            self.next.clear();
            self.places.clear();
        }
        ended.unwrap_or(Err(TailError::Late))
    }

    fn made(&mut self) -> Result<&mut Made, TailError> {
        let secrets = self.connection.fingerprint();
        if self.made.as_ref().is_some_and(|made| made.secrets != secrets) {
            self.made = None;
        }
        if self.made.is_none() {
            let mut config = self.connection.reading(READ_AHEAD).map_err(TailError::Config)?;
            // Each look begins where the last one may still be waiting for more.
            config.set("fetch.wait.max.ms", "10");
            let client: BaseConsumer<Context> = config
                .create_with_context(Context::default())
                .map_err(|source| ConfigError::Client { cluster: self.connection.name(), source })
                .map_err(TailError::Config)?;
            let client = Arc::new(client);
            let fetcher = Fetcher::new(Arc::clone(&client), MOST);
            let topic = fetcher.topic(&self.topic).map_err(TailError::Read)?;
            self.made = Some(Made { topic, fetcher, client, secrets });
        }
        self.made.as_mut().ok_or(TailError::Late)
    }
}
