//! Producing and reading records.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::{CALL, Kafka, KafkaError, failed, unique};

/// A record, to be produced or as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Where it lies; when producing, `None` leaves the choice to the key.
    pub partition: Option<i32>,
    /// Its offset, once it has one.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since the epoch, where known.
    pub timestamp: Option<i64>,
}

impl Record {
    /// A record with key and value.
    #[must_use]
    pub fn new(key: &str, value: &str) -> Record {
        Record { key: Some(key.into()), value: Some(value.into()), ..Record::default() }
    }

    /// The same on a certain partition.
    #[must_use]
    pub fn on(mut self, partition: i32) -> Record {
        self.partition = Some(partition);
        self
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Record {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    /// The value as text; nothing for a null value.
    #[must_use]
    pub fn text(&self) -> String {
        self.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned()
    }

    /// The value of the first header of that name, as text.
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned())
    }
}

impl Kafka {
    /// Stores records and returns once all of them are acknowledged by all replicas.
    ///
    /// # Errors
    /// When one could not be stored.
    pub fn produce(&self, topic: &str, records: &[Record]) -> Result<(), KafkaError> {
        let producer = self.producer(&mut self.config(), topic)?;
        producer.store(records)
    }

    /// Stores records in one transaction and commits or aborts it. Either way it leaves a marker, which
    /// takes an offset.
    ///
    /// # Errors
    /// When a step of the transaction fails.
    pub fn produce_transaction(
        &self,
        topic: &str,
        records: &[Record],
        commit: bool,
    ) -> Result<(), KafkaError> {
        let act = format!("run a transaction on the topic {topic}");
        let mut config = self.config();
        config.set("transactional.id", unique("test"));
        let batch = self.producer(&mut config, topic)?;
        batch.producer.init_transactions(CALL).map_err(failed(&act))?;
        batch.producer.begin_transaction().map_err(failed(&act))?;
        batch.store(records)?;
        let end = if commit {
            batch.producer.commit_transaction(CALL)
        } else {
            batch.producer.abort_transaction(CALL)
        };
        end.map_err(failed(&act))
    }

    /// Reads a topic from its beginning to the end that it has now, committed records only, in the order
    /// of each partition.
    ///
    /// # Errors
    /// When the topic can't be read, or not within the time.
    pub fn read_all(&self, topic: &str, within: Duration) -> Result<Vec<Record>, KafkaError> {
        let act = format!("read the topic {topic}");
        let consumer: BaseConsumer = self
            .config()
            .set("group.id", unique("reader"))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .create()
            .map_err(failed(&act))?;
        let mut open = self.partitions(&consumer, topic)?;
        let mut list = TopicPartitionList::new();
        for partition in &open {
            list.add_partition_offset(topic, *partition, Offset::Beginning).map_err(failed(&act))?;
        }
        consumer.assign(&list).map_err(failed(&act))?;
        let deadline = Instant::now() + within;
        let mut read = Vec::new();
        while !open.is_empty() {
            if Instant::now() > deadline {
                let late = ClientError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                return Err(failed(&act)(late));
            }
            match consumer.poll(Duration::from_millis(200)) {
                None => {}
                Some(Ok(message)) => read.push(owned(&message)),
                Some(Err(ClientError::PartitionEOF(ended))) => open.retain(|partition| *partition != ended),
                Some(Err(error)) if retriable(&error) => {}
                Some(Err(error)) => return Err(failed(&act)(error)),
            }
        }
        Ok(read)
    }

    /// The first and the next offset of each partition.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn ends(&self, topic: &str) -> Result<Vec<(i64, i64)>, KafkaError> {
        let act = format!("ask for the ends of the topic {topic}");
        let consumer: BaseConsumer = self.config().create().map_err(failed(&act))?;
        let partitions = self.partitions(&consumer, topic)?;
        let ends = partitions.iter().map(|partition| consumer.fetch_watermarks(topic, *partition, CALL));
        ends.collect::<Result<_, _>>().map_err(failed(&act))
    }

    pub(super) fn partitions(&self, consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>, KafkaError> {
        let act = format!("look up the topic {topic}");
        let metadata = consumer.fetch_metadata(Some(topic), CALL).map_err(failed(&act))?;
        let mut partitions: Vec<i32> =
            metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|found| found.id()).collect();
        partitions.sort_unstable();
        if partitions.is_empty() {
            let missing = RDKafkaErrorCode::UnknownTopicOrPartition;
            return Err(failed(&act)(ClientError::MetadataFetch(missing)));
        }
        Ok(partitions)
    }

    fn producer<'a>(&self, config: &mut ClientConfig, topic: &'a str) -> Result<Batch<'a>, KafkaError> {
        let act = format!("produce to the topic {topic}");
        let deliveries = Deliveries::default();
        let producer = config
            .set("acks", "all")
            .set("linger.ms", "2")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", "60000")
            .create_with_context(deliveries.clone())
            .map_err(failed(&act))?;
        Ok(Batch { topic, act, producer, deliveries })
    }
}

/// The first delivery that failed, if any.
#[derive(Debug, Clone, Default)]
struct Deliveries {
    failure: Arc<Mutex<Option<ClientError>>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = delivery {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
        }
    }
}

struct Batch<'a> {
    topic: &'a str,
    act: String,
    producer: ThreadedProducer<Deliveries>,
    deliveries: Deliveries,
}

impl Batch<'_> {
    fn store(&self, records: &[Record]) -> Result<(), KafkaError> {
        for record in records {
            self.send(record)?;
        }
        self.producer.flush(Duration::from_secs(60)).map_err(failed(&self.act))?;
        match self.deliveries.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(failed(&self.act)(error)),
            None => Ok(()),
        }
    }

    fn send(&self, record: &Record) -> Result<(), KafkaError> {
        let full = ClientError::MessageProduction(RDKafkaErrorCode::QueueFull);
        let mut next = base_record(self.topic, record);
        loop {
            match self.producer.send(next) {
                Ok(()) => return Ok(()),
                Err((error, refused)) if error == full => {
                    next = refused;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(failed(&self.act)(error)),
            }
        }
    }
}

fn base_record<'a>(topic: &'a str, record: &'a Record) -> BaseRecord<'a, [u8], [u8]> {
    let mut base = BaseRecord::to(topic);
    base.partition = record.partition;
    base.timestamp = record.timestamp;
    base.key = record.key.as_deref();
    base.payload = record.value.as_deref();
    if !record.headers.is_empty() {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        });
        base = base.headers(headers);
    }
    base
}

fn owned(message: &impl Message) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        partition: Some(message.partition()),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        timestamp: message.timestamp().to_millis(),
    }
}

/// A broker that just came up may say so for a moment; the client tries again by itself.
fn retriable(error: &ClientError) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, LeaderNotAvailable, NotLeaderForPartition,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(AllBrokersDown | BrokerTransportFailure | LeaderNotAvailable | NotLeaderForPartition)
    )
}
