//! The end of the topic of parked records: what stands there, found by reading on.
//!
//! Blocking; one caller at a time. Holds names and places, never records. Up: [`crate::parked`].

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use keyweir_engine::ports::{ParkedId, ParkedRecord};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use super::form;
use crate::config::{CALL_TIMEOUT, Connection};
use crate::fetch::{Fetched, StartAt};
use crate::look::{LookError, Looks, Place, Seen};
use crate::topics;

/// Bytes that the library may read ahead.
const READ_AHEAD: usize = 4 << 20;

/// Why the topic could not be read. Always tried again.
#[derive(Debug, Error)]
pub(super) enum TailError {
    #[error("failed to look at the topic of parked records")]
    Look(#[source] LookError),
    #[error("failed to read the topic of parked records")]
    Read(#[source] KafkaError),
    #[error("failed to reach the end of the topic of parked records in time")]
    Late,
}

/// Where a parked record stands.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kept {
    partition: i32,
    offset: i64,
}

/// What is known of the topic so far.
pub(super) struct Tail {
    looks: Looks,
    topic: Arc<str>,
    /// The next offset of each partition; `None` = from the first one.
    next: Vec<Option<i64>>,
    places: BTreeMap<ParkedId, Kept>,
}

impl Tail {
    /// Nothing is known yet. Connects when it is asked.
    pub(super) fn new(connection: Connection, topic: Arc<str>) -> Self {
        let looks = Looks::new(connection, READ_AHEAD);
        Self { looks, topic, next: Vec::new(), places: BTreeMap::new() }
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
        let client = self.looks.client().map_err(TailError::Look)?;
        let partitions = match topics::partitions(&client, &self.topic) {
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
                        Some(_) => places.insert(id, Kept { partition, offset }),
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
        show: impl FnMut(&Fetched<'_>) -> bool,
    ) -> Result<(), TailError> {
        let place = Place { topic: &self.topic, partition, at };
        match self.looks.look(&place, Instant::now() + CALL_TIMEOUT, show).map_err(TailError::Look)? {
            Seen::Enough | Seen::End(_) => Ok(()),
            Seen::Late => Err(TailError::Late),
            Seen::Failed(code) => {
                // Whatever it was, a new client and a new look from the first record are the surest way on.
                self.looks.forget();
                self.next.clear();
                self.places.clear();
                Err(TailError::Read(KafkaError::MessageConsumption(code)))
            }
        }
    }
}
