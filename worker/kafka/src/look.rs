//! Looks at partitions: reads one from an offset on for a while, and stops.
//!
//! For what is read beside the engine's own reading: the end of a topic of parked records, records that are wanted
//! again. Blocking; each look has a queue and a deadline of its own, several may run at the same time on one client,
//! though of one partition only one: the library reads a partition once. A client is made at the first look and again when its secrets have changed. Up: [`crate::parked`], [`crate::recall`].

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use crate::config::{ConfigError, Connection};
use crate::context::Context;
use crate::fetch::{Fetched, Fetcher, StartAt};

/// Messages taken at a time.
const MOST: usize = 100;
/// Longest wait for the next ones; the client's log lines and errors are served as often.
const WAIT: Duration = Duration::from_millis(100);

/// Why nothing could be looked at.
#[derive(Debug, Error)]
pub(crate) enum LookError {
    #[error("failed to configure a client that looks at partitions")]
    Config(#[source] ConfigError),
    #[error("failed to read a partition")]
    Read(#[source] KafkaError),
}

/// How a look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// What was shown is enough.
    Enough,
    /// The log ends at that offset.
    End(i64),
    /// The partition can't be read.
    Failed(RDKafkaErrorCode),
    /// Its time is over.
    Late,
}

/// A client for looks.
pub(crate) struct Looks {
    connection: Connection,
    /// How many bytes one look may read ahead.
    read_ahead: usize,
    /// Locked by blocking threads only, and never while a broker is asked.
    made: Mutex<Option<Made>>,
    /// Partitions that are looked at. Held for moments, by blocking threads only.
    under_way: Mutex<BTreeSet<(String, i32)>>,
    ended: Condvar,
}

struct Made {
    client: Arc<BaseConsumer<Context>>,
    secrets: u64,
}

/// One partition to be looked at.
pub(crate) struct Place<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) at: StartAt,
}

impl Looks {
    /// Connects to nobody yet.
    pub(crate) fn new(connection: Connection, read_ahead: usize) -> Self {
        Self {
            connection,
            read_ahead,
            made: Mutex::default(),
            under_way: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    /// The client, for questions.
    pub(crate) fn client(&self) -> Result<Arc<BaseConsumer<Context>>, LookError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = self.connection.fingerprint();
        if let Some(made) = made.as_ref().filter(|made| made.secrets == secrets) {
            return Ok(Arc::clone(&made.client));
        }
        let mut config = self.connection.reading(self.read_ahead).map_err(LookError::Config)?;
        // Each look begins where the last one may still be waiting for more.
        config.set("fetch.wait.max.ms", "10");
        let client = config
            .create_with_context(Context::default())
            .map(Arc::new)
            .map_err(|source| ConfigError::Client { cluster: self.connection.name(), source })
            .map_err(LookError::Config)?;
        *made = Some(Made { client: Arc::clone(&client), secrets });
        Ok(client)
    }

    /// Lets the client go, which may wait for connections to end; the next look makes another one.
    pub(crate) fn forget(&self) {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(made);
    }

    /// Shows messages of a partition until `show` says that it is enough, the log ends or the time is over.
    pub(crate) fn look(
        &self,
        place: &Place<'_>,
        deadline: Instant,
        mut show: impl FnMut(&Fetched<'_>) -> bool,
    ) -> Result<Seen, LookError> {
        let Some(_turn) = self.turn(place, deadline) else { return Ok(Seen::Late) };
        let client = self.client()?;
        let mut fetcher = Fetcher::new(Arc::clone(&client), MOST);
        let topic = fetcher.topic(place.topic).map_err(LookError::Read)?;
        fetcher.start(&topic, place.partition, place.at).map_err(LookError::Read)?;
        let mut seen = None;
        while seen.is_none() && Instant::now() < deadline {
            fetcher.take(MOST, WAIT, |message| {
                if seen.is_some() {
                    return;
                }
                seen = match message.error() {
                    None => show(&message).then_some(Seen::Enough),
                    Some(RDKafkaErrorCode::PartitionEOF) => Some(Seen::End(message.offset())),
                    Some(code) => Some(Seen::Failed(code)),
                };
            });
            // Log lines and errors go to the context.
            let _ = client.poll(Duration::ZERO);
        }
        let _ = fetcher.stop(&topic, place.partition);
        Ok(seen.unwrap_or(Seen::Late))
    }

    /// Waits until nobody looks at that partition; `None` = not in time.
    fn turn(&self, place: &Place<'_>, deadline: Instant) -> Option<Turn<'_>> {
        let name = (place.topic.to_owned(), place.partition);
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let time = deadline.saturating_duration_since(Instant::now());
        let waited = self.ended.wait_timeout_while(under_way, time, |under_way| under_way.contains(&name));
        let (mut under_way, _) = waited.unwrap_or_else(PoisonError::into_inner);
        under_way.insert(name.clone()).then_some(Turn { looks: self, name })
    }
}

/// A look under way.
struct Turn<'a> {
    looks: &'a Looks,
    name: (String, i32),
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.looks.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
        self.looks.ended.notify_all();
    }
}
