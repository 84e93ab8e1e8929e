//! A group's committed offsets, as the usual tools read and reset them.

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::{CALL, Kafka, KafkaError, failed};

/// One partition's committed offset of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The partition.
    pub partition: i32,
    /// The offset, if there is one.
    pub offset: Option<i64>,
    /// What the committer wrote beside it.
    pub metadata: String,
}

impl Kafka {
    /// What `group` has committed for each partition of `topic`.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn committed(&self, group: &str, topic: &str) -> Result<Vec<Committed>, KafkaError> {
        let act = format!("read the offsets of the group {group}");
        let consumer = self.member_of(group, &act)?;
        let mut list = TopicPartitionList::new();
        for partition in self.partitions(&consumer, topic)? {
            list.add_partition(topic, partition);
        }
        let found = consumer.committed_offsets(list, CALL).map_err(failed(&act))?;
        let committed = found.elements().into_iter().map(|element| Committed {
            partition: element.partition(),
            offset: match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            },
            metadata: element.metadata().to_owned(),
        });
        Ok(committed.collect())
    }

    /// Commits an offset for `group`, as somebody's reset does.
    ///
    /// # Errors
    /// When the broker refuses, as it does while the group has subscribed members.
    pub fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
        metadata: &str,
    ) -> Result<(), KafkaError> {
        let act = format!("commit an offset of the group {group}");
        let consumer = self.member_of(group, &act)?;
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(offset)).map_err(failed(&act))?;
        element.set_metadata(metadata);
        consumer.commit(&list, CommitMode::Sync).map_err(failed(&act))
    }

    /// The sum over a topic of what the group has yet to read; a partition without an offset counts whole.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn lag(&self, group: &str, topic: &str) -> Result<i64, KafkaError> {
        let ends = self.ends(topic)?;
        let committed = self.committed(group, topic)?;
        let behind =
            committed.iter().zip(ends).map(|(committed, (low, high))| high - committed.offset.unwrap_or(low));
        Ok(behind.sum())
    }

    fn member_of(&self, group: &str, act: &str) -> Result<BaseConsumer, KafkaError> {
        self.config().set("group.id", group).set("enable.auto.commit", "false").create().map_err(failed(act))
    }
}
