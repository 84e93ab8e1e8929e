//! Where records are written to: the embedded log, a process that has it open, or Kafka.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::try_join_all;
use keyweir_contract::endpoints::KafkaEndpoint;
use keyweir_embedded::{AppendError, DataDir, DataDirOptions, Log, OpenError};
use keyweir_engine::ports::{ProduceError, Source as _, SourceError};
use keyweir_engine::root_cause;
use keyweir_kafka::{ConfigError, Connection, KafkaProducer, KafkaSource, Mirroring};
use keyweir_worker::NewRecord;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::args::SendArgs;
use crate::control::{self, Control, ControlError};

/// How this client calls itself.
const NAME: &str = "keyweir-send";
/// How long a record is tried for.
const DELIVERY: Duration = Duration::from_secs(30);
/// How long a process that has just taken the directory may need until it can be asked.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// Where a record stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) partition: u32,
    pub(super) offset: i64,
}

/// Why records can't be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    /// The data directory can't be used.
    #[error(transparent)]
    Open(OpenError),
    /// The embedded log did not take them.
    #[error(transparent)]
    Append(AppendError),
    /// The process that has the directory open did not take them.
    #[error("failed to hand them to the running process")]
    Control(#[source] ControlError),
    /// The Kafka settings are wrong.
    #[error("failed to set up the Kafka client")]
    Config(#[source] ConfigError),
    /// No broker answers, or none lets us in.
    #[error("failed to reach {servers}")]
    Reach {
        /// The addresses.
        servers: String,
        /// Why.
        #[source]
        source: Unreached,
    },
    /// Kafka did not take them.
    #[error(transparent)]
    Produce(ProduceError),
}

/// Why no broker was reached, by its first cause: what was asked of it is of no interest here.
#[derive(Debug, thiserror::Error)]
#[error("{}", root_cause(.0))]
pub(super) struct Unreached(SourceError);

/// Where records are written to.
pub(super) enum Target {
    Log(Log),
    Running(Control),
    Kafka(Box<KafkaProducer>),
}

impl Target {
    pub(super) async fn open(args: &SendArgs) -> Result<Self, TargetError> {
        if !args.bootstrap_servers.is_empty() {
            return Ok(Self::Kafka(Box::new(kafka(args).await?)));
        }
        let began = Instant::now();
        loop {
            match tokio::task::block_in_place(|| DataDir::open(&args.data, DataDirOptions::default())) {
                Ok(directory) => return Ok(Self::Log(directory.log())),
                Err(OpenError::Held { .. }) => {}
                Err(error) => return Err(TargetError::Open(error)),
            }
            match running(args).await {
                Ok(control) => return Ok(Self::Running(control)),
                Err(error) if began.elapsed() > PATIENCE => return Err(TargetError::Control(error)),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Writes records in their order, durably; gives their places.
    pub(super) async fn write(
        &self,
        topic: &str,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Place>, TargetError> {
        match self {
            Self::Log(log) => {
                let places = log.append(topic, records).await.map_err(TargetError::Append)?;
                Ok(places.iter().map(|at| Place { partition: at.partition, offset: at.offset.0 }).collect())
            }
            Self::Running(control) => hand_over(control, topic, &records).await.map_err(TargetError::Control),
            Self::Kafka(producer) => {
                let written = records.into_iter().map(async |record| producer.write(topic, record).await);
                let places = try_join_all(written).await.map_err(TargetError::Produce)?;
                Ok(places
                    .iter()
                    .map(|(partition, at)| Place { partition: *partition, offset: at.0 })
                    .collect())
            }
        }
    }
}

/// A producer, once a broker has answered: what is written to one that is missing waits long before it fails.
async fn kafka(args: &SendArgs) -> Result<KafkaProducer, TargetError> {
    let given = args.property.iter().map(|pair| (pair.name.clone(), pair.value.clone()));
    // A broker that makes topics makes one in less; where it does not, nobody wants to wait for half a minute.
    let patience = ("topic.metadata.propagation.max.ms".to_owned(), "5000".to_owned());
    let properties = std::iter::once(patience).chain(given).collect();
    let bootstrap_servers = args.bootstrap_servers.clone();
    let endpoint = KafkaEndpoint { bootstrap_servers, tls: None, sasl: None, properties };
    let connection = Connection::new(endpoint, NAME);
    let producer = KafkaProducer::new(connection.clone(), DELIVERY).map_err(TargetError::Config)?;
    let topics = vec![args.topic.clone()];
    match KafkaSource::new(connection, topics, NAME, Mirroring::CheckpointsAreThere).shards().await {
        // A topic that is missing may be made by being written to: that is the broker's to say.
        Ok(_) | Err(SourceError::Missing { .. }) => Ok(producer),
        Err(error) => {
            let servers = args.bootstrap_servers.join(",");
            Err(TargetError::Reach { servers, source: Unreached(error) })
        }
    }
}

/// The process that has the directory open, once it answers.
async fn running(args: &SendArgs) -> Result<Control, ControlError> {
    let control = Control::reach(&args.data, None)?;
    control.ask(Method::GET, "/livez", &[], None).await?;
    Ok(control)
}

async fn hand_over(
    control: &Control,
    topic: &str,
    records: &[NewRecord],
) -> Result<Vec<Place>, ControlError> {
    let mut lines = Vec::new();
    for record in records {
        lines.extend_from_slice(as_line(record).to_string().as_bytes());
        lines.push(b'\n');
    }
    let path = format!("/v1/topics/{}", control::escape(topic));
    let response = control.ask(Method::POST, &path, &[], Some(lines)).await?;
    response.json().await.map_err(|error| ControlError::unanswered(path, error))
}

/// A record as the process reads it; bytes as they are.
fn as_line(record: &NewRecord) -> Value {
    let text = |bytes: &Bytes| Value::from(STANDARD.encode(bytes));
    let mut line = Map::new();
    line.extend(record.key.as_ref().map(|key| ("keyBase64".to_owned(), text(key))));
    line.extend(record.value.as_ref().map(|value| ("valueBase64".to_owned(), text(value))));
    line.extend(record.partition.map(|partition| ("partition".to_owned(), partition.into())));
    line.extend(record.timestamp.map(|timestamp| ("timestamp".to_owned(), timestamp.into())));
    let header = |(name, value): &(String, Option<Bytes>)| {
        (name.clone(), json!(value.as_ref().map(|value| String::from_utf8_lossy(value))))
    };
    let headers: Map<String, Value> = record.headers.iter().map(header).collect();
    if !headers.is_empty() {
        line.insert("headers".to_owned(), headers.into());
    }
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_handed_over_as_it_is() {
        let record = NewRecord {
            key: Some(Bytes::from_static(&[0xff, 0])),
            value: None,
            headers: vec![("kind".to_owned(), Some(Bytes::from("Order"))), ("none".to_owned(), None)],
            partition: Some(3),
            timestamp: Some(7),
        };
        let line = as_line(&record).to_string();
        assert_eq!(keyweir_worker::lines::record(line.as_bytes(), 1).expect("a record"), record);
    }
}
