//! The records: 1,000 keys, uniform or Zipf, each key's records numbered; values of 96 bytes. The same seed
//! gives the same records.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keyweir_e2e::kafka::{Kafka, KafkaError, unique};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::plan::{Keys, Shape};

/// How many keys there are.
pub const KEYS: usize = 1000;
/// Where the broker has not taken more than this, the steady rate was not kept: its latencies mean nothing.
pub const BEHIND: Duration = Duration::from_secs(1);
/// A broker that is warm takes records within this time.
const WARM: Duration = Duration::from_millis(100);
/// How often the steady producer writes.
const TICK: Duration = Duration::from_millis(1);
const WARM_ROUNDS: u32 = 20;
const VALUE: usize = 96;
const SEED: u64 = 88_172_645_463_325_252;

/// Why the records could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The topic could not be created.
    #[error("failed to create the topic")]
    Topic(#[source] KafkaError),
    /// A record could not be written.
    #[error("failed to write the records")]
    Write(#[source] ClientError),
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `number time padding`, decimal and of fixed width.
    Plain,
    /// Streamback's JSON envelope around the same.
    Envelope,
}

/// Creates a topic and fills it.
///
/// # Errors
/// When the broker refuses.
pub fn fill(
    kafka: &Kafka,
    topic: &str,
    shape: Shape,
    format: Format,
    records: u64,
) -> Result<(), DatasetError> {
    let partitions = i32::try_from(shape.partitions).unwrap_or(i32::MAX);
    kafka.create_topic(topic, partitions, &[("retention.ms", "-1")]).map_err(DatasetError::Topic)?;
    pour(kafka, topic, shape.keys, format, records)
}

/// Fills a topic that is there.
///
/// # Errors
/// When the broker refuses.
pub fn pour(
    kafka: &Kafka,
    topic: &str,
    keys: Keys,
    format: Format,
    records: u64,
) -> Result<(), DatasetError> {
    let producer: ThreadedProducer<DefaultProducerContext> = kafka
        .config()
        .set("linger.ms", "20")
        .set("batch.num.messages", "20000")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "500000")
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .create()
        .map_err(DatasetError::Write)?;
    let mut draw = Draw::of(keys);
    let mut values = Values::new(format);
    for _ in 0..records {
        let key = draw.next();
        write(&producer, topic, &key_text(key), values.next(key, 0), Duration::from_millis(2))?;
    }
    producer.flush(Duration::from_secs(120)).map_err(DatasetError::Write)
}

/// Writes at a steady rate to a throw-away topic until the broker takes it without delay: a JVM that has only
/// seen large batches needs a while to get fast at small ones.
///
/// # Errors
/// When the broker refuses.
pub fn warm(kafka: &Kafka, rate: u32) -> Result<(), DatasetError> {
    let topic = unique("bench-warm");
    kafka.create_topic(&topic, 8, &[]).map_err(DatasetError::Topic)?;
    for _ in 0..WARM_ROUNDS {
        let stop = AtomicBool::new(false);
        let behind = std::thread::scope(|scope| {
            let producer = scope.spawn(|| trickle(kafka, &topic, rate, &stop));
            std::thread::sleep(Duration::from_secs(3));
            stop.store(true, Ordering::Relaxed);
            producer.join().unwrap_or(Ok(Duration::MAX))
        })?;
        if behind < WARM {
            break;
        }
    }
    Ok(())
}

/// Writes `rate` records a second, key after key, until it is told to stop: so many each [`TICK`], which costs a broker a
/// fraction of what single ones cost. Each bears the time at which it was to be written: a pause of this producer or of
/// the machine makes records late and never hides one. Says how much the broker had not taken at the end.
///
/// # Errors
/// When the broker refuses.
pub fn trickle(kafka: &Kafka, topic: &str, rate: u32, stop: &AtomicBool) -> Result<Duration, DatasetError> {
    let producer: ThreadedProducer<DefaultProducerContext> = kafka
        .config()
        .set("linger.ms", "0")
        .set("enable.idempotence", "true")
        .create()
        .map_err(DatasetError::Write)?;
    let mut values = Values::new(Format::Plain);
    let (begun, wall, mut written) = (Instant::now(), now(), 0u64);
    for tick in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = TICK * tick;
        std::thread::sleep((begun + due).saturating_duration_since(Instant::now()));
        let (all, at) =
            (due.as_nanos() as u64 * u64::from(rate) / 1_000_000_000, (wall + due).as_micros() as u64);
        while written < all {
            let key = (written % KEYS as u64) as usize;
            write(&producer, topic, &key_text(key), values.next(key, at), Duration::ZERO)?;
            written += 1;
        }
    }
    let unwritten = u32::try_from(producer.in_flight_count()).unwrap_or_default();
    producer.flush(Duration::from_secs(20)).map_err(DatasetError::Write)?;
    Ok(Duration::from_secs(1) * unwritten / rate)
}

/// Since the epoch.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn write(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    key: &str,
    value: &str,
    pause: Duration,
) -> Result<(), DatasetError> {
    let full = ClientError::MessageProduction(RDKafkaErrorCode::QueueFull);
    let mut next = BaseRecord::to(topic).key(key).payload(value);
    loop {
        match producer.send(next) {
            Ok(()) => return Ok(()),
            Err((error, refused)) if error == full => {
                next = refused;
                std::thread::sleep(pause);
            }
            Err((error, _)) => return Err(DatasetError::Write(error)),
        }
    }
}

/// The text of a key.
#[must_use]
pub fn key_text(key: usize) -> String {
    format!("key-{key:04}")
}

/// The number of a key, from its text.
#[must_use]
pub fn key_number(key: &[u8]) -> usize {
    decimal(key.get(4..).unwrap_or_default()) as usize % KEYS
}

/// Which record of its key it is, from its value.
#[must_use]
pub fn number(value: &[u8]) -> u64 {
    decimal(value.get(..10).unwrap_or_default())
}

/// When it was to be written, in microseconds since the epoch, from its value.
#[must_use]
pub fn produced_at(value: &[u8]) -> u64 {
    decimal(value.get(11..27).unwrap_or_default())
}

fn decimal(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit.wrapping_sub(b'0')))
}

/// Values, each key's records numbered from 0.
struct Values {
    format: Format,
    next: Vec<u64>,
    text: String,
}

impl Values {
    fn new(format: Format) -> Values {
        Values { format, next: vec![0; KEYS], text: String::with_capacity(2 * VALUE) }
    }

    /// The next value of a key, with the time in microseconds at which it is to be written.
    fn next(&mut self, key: usize, at: u64) -> &str {
        use std::fmt::Write as _;
        let number = self.next[key];
        self.next[key] += 1;
        self.text.clear();
        // Writing to a string can't fail.
        let _ = match self.format {
            Format::Plain => write!(self.text, "{number:010} {at:016} {:x<1$}", "", VALUE - 28),
            Format::Envelope => write!(
                self.text,
                r#"{{"value":{{"k":{key},"s":{number},"t":{at}}},"event":"main_stream_message","source_group":"bench"}}"#
            ),
        };
        &self.text
    }
}

/// Draws keys.
struct Draw {
    random: u64,
    /// For Zipf: the share of all draws that fall on this key or an earlier one, in 2^32.
    shares: Vec<u32>,
}

impl Draw {
    fn of(keys: Keys) -> Draw {
        let weight = |key: usize| match keys {
            Keys::Uniform => 1.0,
            Keys::Zipf => 1.0 / (key + 1) as f64,
        };
        let whole: f64 = (0..KEYS).map(weight).sum();
        let mut sum = 0.0;
        let shares = (0..KEYS).map(|key| {
            sum += weight(key);
            (sum / whole * f64::from(u32::MAX)) as u32
        });
        Draw { random: SEED, shares: shares.collect() }
    }

    fn next(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let drawn = (self.random >> 32) as u32;
        self.shares.partition_point(|share| *share < drawn).min(KEYS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_value_says_is_read_back() {
        let mut values = Values::new(Format::Plain);
        values.next(7, 0);
        let value = values.next(7, 1_700_000_000_123_456).to_owned();
        assert_eq!((value.len(), number(value.as_bytes())), (VALUE, 1));
        assert_eq!(produced_at(value.as_bytes()), 1_700_000_000_123_456);
        assert_eq!(key_number(key_text(7).as_bytes()), 7);
        assert_eq!(number(values.next(8, 0).as_bytes()), 0);
        let mut envelope = Values::new(Format::Envelope);
        let parsed: serde_json::Value = serde_json::from_str(envelope.next(3, 0)).unwrap();
        assert_eq!(parsed["value"]["k"], 3);
    }

    #[test]
    fn keys_are_drawn_as_often_as_they_should() {
        for (keys, first, last) in [(Keys::Uniform, 100, 100), (Keys::Zipf, 13_360, 13)] {
            let mut draw = Draw::of(keys);
            let mut drawn = vec![0i64; KEYS];
            (0..100_000).for_each(|_| drawn[draw.next()] += 1);
            assert!((drawn[0] - first).abs() < first / 3 + 30, "{keys:?}: {}", drawn[0]);
            assert!((drawn[KEYS - 1] - last).abs() < 50, "{keys:?}: {}", drawn[KEYS - 1]);
        }
    }
}
