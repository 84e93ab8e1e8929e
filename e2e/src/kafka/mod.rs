//! What tests ask of a Kafka cluster beside the code under test: topics, records, offsets. A client of
//! its own, so that a mistake of ours can't hide behind the same code.

mod offsets;
mod records;

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::{Offset, TopicPartitionList};

pub use offsets::Committed;
pub use records::Record;

const CALL: Duration = Duration::from_secs(20);

/// Why a request to the cluster failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {act}")]
pub struct KafkaError {
    act: String,
    #[source]
    source: ClientError,
}

/// What to make of a failed request, by what was to be done.
pub(crate) fn failed(act: &str) -> impl Fn(ClientError) -> KafkaError {
    move |source| KafkaError { act: act.to_owned(), source }
}

/// A cluster, by its address.
#[derive(Debug, Clone)]
pub struct Kafka {
    bootstrap: String,
}

impl Kafka {
    /// The cluster at `host:port`, without encryption or authentication.
    #[must_use]
    pub fn at(bootstrap: &str) -> Kafka {
        Kafka { bootstrap: bootstrap.to_owned() }
    }

    /// `host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A client configuration with the address and nothing else.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// When the broker refuses, an existing topic included.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) -> Result<(), KafkaError> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let act = format!("create the topic {name}");
        let (admin, options) = self.admin(&act)?;
        settled(&act, block_on(admin.create_topics([&topic], &options)))
    }

    /// Creates a topic with a name that no other test has, and returns the name.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn unique_topic(&self, prefix: &str, partitions: i32) -> Result<String, KafkaError> {
        let name = unique(prefix);
        self.create_topic(&name, partitions, &[])?;
        Ok(name)
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn delete_topic(&self, name: &str) -> Result<(), KafkaError> {
        let act = format!("delete the topic {name}");
        let (admin, options) = self.admin(&act)?;
        settled(&act, block_on(admin.delete_topics(&[name], &options)))
    }

    /// Lets a topic grow to `partitions` partitions.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn grow_topic(&self, name: &str, partitions: usize) -> Result<(), KafkaError> {
        let act = format!("add partitions to the topic {name}");
        let grown = NewPartitions::new(name, partitions);
        let (admin, options) = self.admin(&act)?;
        settled(&act, block_on(admin.create_partitions([&grown], &options)))
    }

    /// Deletes the records of a partition below `before`: its low mark moves up.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<(), KafkaError> {
        let act = format!("delete records of the topic {topic}");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).map_err(failed(&act))?;
        let (admin, options) = self.admin(&act)?;
        block_on(admin.delete_records(&list, &options)).map(|_| ()).map_err(failed(&act))
    }

    /// A setting of a topic, as the broker has it.
    ///
    /// # Errors
    /// When the broker refuses, or there is no such topic.
    pub fn topic_setting(&self, topic: &str, name: &str) -> Result<Option<String>, KafkaError> {
        let act = format!("read the settings of the topic {topic}");
        let (admin, options) = self.admin(&act)?;
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = block_on(admin.describe_configs(&asked, &options)).map_err(failed(&act))?;
        let mut value = None;
        for answer in answers {
            let found = answer.map_err(|code| failed(&act)(ClientError::AdminOp(code)))?;
            value = found.get(name).and_then(|entry| entry.value.clone());
        }
        Ok(value)
    }

    fn admin(&self, act: &str) -> Result<(AdminClient<DefaultClientContext>, AdminOptions), KafkaError> {
        let admin = self.config().create().map_err(failed(act))?;
        Ok((admin, AdminOptions::new().operation_timeout(Some(CALL)).request_timeout(Some(CALL))))
    }
}

/// `prefix` with an ending that no other call, process or run has.
#[must_use]
pub fn unique(prefix: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{prefix}-{:x}-{:x}", std::process::id(), now.as_nanos())
}

fn settled(act: &str, answers: Result<Vec<TopicResult>, ClientError>) -> Result<(), KafkaError> {
    for answer in answers.map_err(failed(act))? {
        answer.map_err(|(_, code)| failed(act)(ClientError::AdminOp(code)))?;
    }
    Ok(())
}

/// Waits for a future of the client, whose own threads wake it: no runtime is needed, and a caller that
/// is inside one is merely blocked.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
