//! A steady load: keyed records on every partition, at a rate, until it is told to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::kafka::{Kafka, KafkaError, failed};

/// How often records are sent.
const STEP: Duration = Duration::from_millis(5);

/// A record that the broker has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its key.
    pub key: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was given to the client, in milliseconds since the epoch.
    pub at: u64,
}

/// Records on their way to a topic. Dropping it stops it.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Acknowledged,
    sender: Option<JoinHandle<Result<(), KafkaError>>>,
}

impl Load {
    /// Begins to send `records_per_second` to all partitions of a topic, with `keys` keys; a key keeps its partition.
    ///
    /// # Errors
    /// When no producer can be made.
    pub fn start(
        kafka: &Kafka,
        topic: &str,
        partitions: i32,
        records_per_second: u32,
        keys: u32,
    ) -> Result<Load, KafkaError> {
        let sent = Acknowledged::default();
        let mut config = kafka.config();
        // Nothing is lost and nothing changes places, whatever the broker does meanwhile.
        config.set("enable.idempotence", "true").set("linger.ms", "1").set("message.timeout.ms", "120000");
        let producer: ThreadedProducer<Acknowledged> =
            config.create_with_context(sent.clone()).map_err(failed("make a producer"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let pace = Pace { producer, topic: topic.to_owned(), partitions, records_per_second, keys };
        let stopped = Arc::clone(&stop);
        let sender = std::thread::spawn(move || pace.run(&stopped).map_err(failed("produce the load")));
        Ok(Load { stop, sent, sender: Some(sender) })
    }

    /// How many records are acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.sent.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Stops, waits until the broker has everything, and gives what was sent.
    ///
    /// # Errors
    /// When a record could not be stored.
    ///
    /// # Panics
    /// When the sending thread has panicked.
    pub fn finish(mut self) -> Result<Vec<Sent>, KafkaError> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            sender.join().expect("the load does not panic")?;
        }
        Ok(std::mem::take(&mut *self.sent.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Now, in milliseconds since the epoch: the clock of event logs.
#[must_use]
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

struct Pace {
    producer: ThreadedProducer<Acknowledged>,
    topic: String,
    partitions: i32,
    records_per_second: u32,
    keys: u32,
}

impl Pace {
    fn run(&self, stop: &AtomicBool) -> Result<(), ClientError> {
        let began = Instant::now();
        let mut sent: u64 = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = began.elapsed().as_micros() as u64 * u64::from(self.records_per_second) / 1_000_000;
            while sent < due && !stop.load(Ordering::Relaxed) {
                match self.send(sent) {
                    Ok(()) => sent += 1,
                    // The broker is away and everything waits for it: so does this.
                    Err(ClientError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {
                        std::thread::sleep(STEP);
                    }
                    Err(error) => return Err(error),
                }
            }
            std::thread::sleep(STEP);
        }
        self.producer.flush(Duration::from_secs(120))
    }

    fn send(&self, number: u64) -> Result<(), ClientError> {
        // Keys take turns by a stride, so that a burst does not always meet the same ones.
        let key = number.wrapping_mul(7919) % u64::from(self.keys);
        let partition = i32::try_from(key % self.partitions.unsigned_abs() as u64).unwrap_or(0);
        let (key, value) = (format!("key-{key}"), number.to_string());
        let at = Box::new(unix_millis());
        let record = BaseRecord::with_opaque_to(&self.topic, at).key(&key).payload(&value);
        self.producer.send(record.partition(partition)).map_err(|(error, _)| error)
    }
}

/// What the broker has acknowledged.
#[derive(Debug, Clone, Default)]
struct Acknowledged(Arc<Mutex<Vec<Sent>>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, at: Box<u64>) {
        match delivery {
            Ok(stored) => {
                let key = String::from_utf8_lossy(stored.key().unwrap_or_default()).into_owned();
                let sent = Sent { key, partition: stored.partition(), offset: stored.offset(), at: *at };
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
            }
            // It was never promised: the oracle asks only for what was acknowledged.
            Err((error, _)) => eprintln!("a record of the load was not stored: {error}"),
        }
    }
}
