//! `KafkaRecall`: reads single records of a partition again, beside the reading that goes on.
//!
//! Blocking, on threads that may; few reads at a time, each with a small queue of its own. It reads on from wanted record
//! to wanted record, and starts anew where what lies between is more than a start costs. read_committed, as the reader.
//! Up: [`Recall`].

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::Offset;
use keyweir_engine::ports::{Recall, Recalled, Search, SourceError, Wanted};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::Semaphore;

use crate::cold::blocking;
use crate::config::{CALL_TIMEOUT, Connection};
use crate::describe::{NO_ID, describe};
use crate::error::{config_error, source_error};
use crate::fetch::{Fetched, StartAt};
use crate::look::{LookError, Looks, Place, Seen};
use crate::record::record;
use crate::topics;

/// Reads at a time: each may hold its read-ahead.
const AT_ONCE: usize = 4;
/// How many bytes one read may keep that nobody has taken.
const READ_AHEAD: usize = 2 << 20;
/// A start costs about as much as to read on over so many bytes.
const JUMP: u64 = 1 << 20;
/// What is read besides the wanted records before those that were found are given.
const MOST_BESIDES: u64 = 32 << 20;

/// Reads records of a Kafka cluster again. Connects when it is first asked, and lets go when it may rest.
pub struct KafkaRecall {
    looks: Arc<Looks>,
    turns: Arc<Semaphore>,
}

impl KafkaRecall {
    /// A way to that cluster of its own.
    pub fn new(connection: Connection) -> Self {
        Self { looks: Arc::new(Looks::new(connection, READ_AHEAD)), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Recall for KafkaRecall {
    fn recall(&self, wanted: Wanted) -> BoxFuture<'_, Result<Recalled, SourceError>> {
        async move {
            let what = wanted.id.to_string();
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let looks = Arc::clone(&self.looks);
            let work = blocking(move || {
                let _turn = turn;
                read_again(&looks, &wanted)
            });
            work.await.unwrap_or_else(|gone| Err(SourceError::Unreachable { what, source: gone.into() }))
        }
        .boxed()
    }

    fn rest(&self) {
        let looks = Arc::clone(&self.looks);
        // It ends by itself, and nobody waits for connections that are given up.
        drop(blocking(move || looks.forget()));
    }
}

fn read_again(looks: &Looks, wanted: &Wanted) -> Result<Recalled, SourceError> {
    let (id, deadline) = (&*wanted.id, Instant::now() + CALL_TIMEOUT);
    let mut passing = Passing { search: Search::new(wanted), messages: 0, bytes: 0, besides: 0 };
    while let Some(next) = passing.next() {
        let place =
            Place { topic: &id.stream, partition: topics::partition(id), at: StartAt::Offset(next.0) };
        let seen = looks.look(&place, deadline, |message| passing.show(message));
        let trouble = match seen.map_err(|error| look_error(id.to_string(), error))? {
            Seen::Enough => continue,
            Seen::End(end) => {
                passing.search.pass(Offset(end));
                SourceError::OutOfRange { shard: id.clone(), offset: next }
            }
            Seen::Failed(RDKafkaErrorCode::AutoOffsetReset) => {
                let first = first_of(looks, wanted)?;
                if next < first {
                    passing.search.pass(first);
                    continue;
                }
                SourceError::OutOfRange { shard: id.clone(), offset: next }
            }
            Seen::Failed(code) => source_error(id.to_string(), KafkaError::MessageConsumption(code)),
            Seen::Late => {
                source_error(id.to_string(), KafkaError::Global(RDKafkaErrorCode::OperationTimedOut))
            }
        };
        // What was found until then is worth having; the next call says the rest.
        if !passing.search.has_decided() {
            check_log(looks, wanted)?;
            return Err(trouble);
        }
        break;
    }
    // Asked behind the reading: while the topic is still the same one, so was all that was read.
    check_log(looks, wanted)?;
    Ok(passing.search.found())
}

/// Refuses what was read of a topic that is another one by now.
fn check_log(looks: &Looks, wanted: &Wanted) -> Result<(), SourceError> {
    let Some(log) = wanted.log.as_deref() else { return Ok(()) };
    let what = wanted.id.to_string();
    let client = looks.client().map_err(|error| look_error(what.clone(), error))?;
    let found = describe(&client, &wanted.id.stream, CALL_TIMEOUT);
    let found = found.map_err(|error| source_error(what, error))?.id;
    match found.filter(|id| id != NO_ID) {
        Some(id) if id != log => Err(SourceError::MadeAnew { shard: (*wanted.id).clone() }),
        _ => Ok(()),
    }
}

/// The first offset that is kept.
fn first_of(looks: &Looks, wanted: &Wanted) -> Result<Offset, SourceError> {
    let what = wanted.id.to_string();
    let client = looks.client().map_err(|error| look_error(what.clone(), error))?;
    let found = topics::bounds(&client, std::slice::from_ref(&*wanted.id));
    let found = found.map_err(|error| source_error(what, error))?;
    Ok(found.first().map_or(Offset::ZERO, |bounds| bounds.first))
}

fn look_error(what: String, error: LookError) -> SourceError {
    match error {
        LookError::Config(source) => config_error(what, source),
        LookError::Read(source) => source_error(what, source),
    }
}

/// A search, and what it has passed on its way.
struct Passing<'a> {
    search: Search<'a>,
    messages: u64,
    bytes: u64,
    /// Bytes of what was not wanted.
    besides: u64,
}

impl Passing<'_> {
    fn next(&self) -> Option<Offset> {
        self.search.next().filter(|_| self.besides < MOST_BESIDES || !self.search.has_decided())
    }

    /// Takes a message that is wanted; says whether it is enough from this start.
    fn show(&mut self, message: &Fetched<'_>) -> bool {
        let offset = Offset(message.offset());
        let weight =
            [message.key(), message.value()].into_iter().flatten().map(<[u8]>::len).sum::<usize>() as u64;
        self.messages += 1;
        self.bytes += weight;
        if !self.search.meet(offset, |shard, arena| record(arena, shard, message)) {
            self.besides += weight;
        }
        let mean = self.bytes / self.messages;
        self.next().is_none_or(|next| next.0.abs_diff(offset.0).saturating_mul(mean) > JUMP)
    }
}
