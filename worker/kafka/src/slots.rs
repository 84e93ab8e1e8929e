//! Which partitions are being read, how far, and how to find one by a message.
//!
//! A table owned by the intake's thread; it asks the fetcher to start and stop and knows nothing of batches.
//! Up: [`crate::intake`].

use std::sync::Arc;

use keyweir_core::{ShardId, ShardIndex};
use rdkafka::error::KafkaError;

use crate::fetch::{Fetcher, StartAt, Topic, TopicHandle};

/// How a partition is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Its records come.
    On,
    /// The engine wants none for now.
    Paused,
    /// Its position was outside of the log: started at the first kept record, to see on which side.
    Seeking,
    /// Its topic was not there: stopped until it is known whether it is the same one again.
    Unsure,
    /// Its position means nothing in the log that is there. It is left alone until it is opened anew.
    Held,
}

/// A partition to be read.
pub(crate) struct Opening {
    pub(crate) shard: ShardIndex,
    pub(crate) id: ShardId,
    pub(crate) from: i64,
    /// The id of the topic that its position is of, where that is known.
    pub(crate) log: Option<String>,
}

/// One open partition.
pub(crate) struct Slot {
    pub(crate) shard: ShardIndex,
    pub(crate) id: ShardId,
    /// Everything below has been given out.
    pub(crate) next: i64,
    pub(crate) reading: Reading,
    /// Something came since it was started: a record, the end of the log or an error. Each start gives one of
    /// these soon, unless the topic can't even be looked up; then the library says nothing.
    pub(crate) heard: bool,
    /// The stable word of the trouble that was reported and is not over.
    pub(crate) trouble: Option<&'static str>,
    /// The topic's id, as it was opened or from the first answer since.
    pub(crate) topic_id: Option<String>,
    /// A broker has said that the topic has this id.
    pub(crate) is_known: bool,
    topic: usize,
}

impl Slot {
    /// Whether a record needs no more thought than its offset.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.heard && self.trouble.is_none() && self.reading == Reading::On
    }

    /// Whether it is started.
    pub(crate) fn is_started(&self) -> bool {
        matches!(self.reading, Reading::On | Reading::Seeking)
    }

    /// Nothing came since it was started, or something stands in its way: worth a question soon.
    fn is_in_trouble(&self) -> bool {
        let is_stuck = !self.heard || self.trouble.is_some() || !self.is_known;
        self.reading == Reading::Unsure || (self.is_started() && is_stuck)
    }

    fn partition(&self) -> i32 {
        i32::try_from(self.id.index).unwrap_or(-1)
    }
}

struct TopicSlots {
    topic: Topic,
    name: Arc<str>,
    /// Slot of each partition; [`NOBODY`] = not open.
    by_partition: Vec<u32>,
}

const NOBODY: u32 = u32::MAX;

/// The table of open partitions.
#[derive(Default)]
pub(crate) struct Slots {
    slots: Vec<Option<Slot>>,
    topics: Vec<TopicSlots>,
    /// The last message's place: messages come in runs of one partition.
    last: Option<(TopicHandle, i32, u32)>,
}

impl Slots {
    /// The open slot a message belongs to.
    #[inline]
    pub(crate) fn find(&mut self, topic: TopicHandle, partition: i32) -> Option<&mut Slot> {
        let index = match self.last {
            Some((last_topic, last_partition, index))
                if last_topic == topic && last_partition == partition =>
            {
                index
            }
            _ => {
                let of = self.topics.iter().find(|of| of.topic.is(topic))?;
                let index = *of.by_partition.get(usize::try_from(partition).ok()?)?;
                self.last = Some((topic, partition, index));
                index
            }
        };
        self.slots.get_mut(index as usize)?.as_mut()
    }

    pub(crate) fn get(&mut self, shard: ShardIndex) -> Option<&mut Slot> {
        self.slots.get_mut(shard.as_usize())?.as_mut()
    }

    /// The shards that are open.
    pub(crate) fn open_shards(&self) -> Vec<ShardIndex> {
        self.slots.iter().flatten().map(|slot| slot.shard).collect()
    }

    /// The topics of which something is open.
    pub(crate) fn open_topics(&self) -> impl Iterator<Item = &str> {
        let is_open = |of: &&TopicSlots| of.by_partition.iter().any(|slot| *slot != NOBODY);
        self.topics.iter().filter(is_open).map(|of| &*of.name)
    }

    /// The open partitions of a topic.
    pub(crate) fn of_topic(&self, name: &str) -> Vec<ShardIndex> {
        let is_of_it = |slot: &&Slot| &*slot.id.stream == name;
        self.slots.iter().flatten().filter(is_of_it).map(|slot| slot.shard).collect()
    }

    /// Whether a question to a broker would help some partition.
    pub(crate) fn is_any_in_trouble(&self) -> bool {
        self.slots.iter().flatten().any(Slot::is_in_trouble)
    }

    /// Opens a partition and starts it.
    pub(crate) fn open(
        &mut self,
        fetcher: &Fetcher,
        Opening { shard, id, from, log }: Opening,
    ) -> Result<(), KafkaError> {
        self.close(fetcher, shard);
        let topic = self.topic(fetcher, &id)?;
        let slot = Slot {
            shard,
            id,
            next: from,
            reading: Reading::On,
            heard: false,
            trouble: None,
            topic_id: log,
            is_known: false,
            topic,
        };
        let by_partition = &mut self.topics[topic].by_partition;
        let partition = slot.id.index as usize;
        if by_partition.len() <= partition {
            by_partition.resize(partition + 1, NOBODY);
        }
        by_partition[partition] = shard.0;
        fetcher.start(&self.topics[topic].topic, slot.partition(), StartAt::Offset(from))?;
        if self.slots.len() <= shard.as_usize() {
            self.slots.resize_with(shard.as_usize() + 1, || None);
        }
        self.slots[shard.as_usize()] = Some(slot);
        Ok(())
    }

    /// Stops a partition and forgets it.
    pub(crate) fn close(&mut self, fetcher: &Fetcher, shard: ShardIndex) {
        self.stop(fetcher, shard, Reading::Paused);
        if let Some(slot) = self.slots.get_mut(shard.as_usize()).and_then(Option::take) {
            self.topics[slot.topic].by_partition[slot.id.index as usize] = NOBODY;
        }
        self.last = None;
    }

    /// Stops a partition that is being read, at its position.
    pub(crate) fn stop(&mut self, fetcher: &Fetcher, shard: ShardIndex, then: Reading) {
        let Some(slot) = self.slots.get_mut(shard.as_usize()).and_then(Option::as_mut) else { return };
        if slot.is_started() {
            if let Err(error) = fetcher.stop(&self.topics[slot.topic].topic, slot.partition()) {
                tracing::debug!(shard = %slot.id, %error, "a partition was stopped that was not being read");
            }
            slot.reading = then;
        }
    }

    /// Starts a stopped partition, at its position or (`Seeking`) at the first kept record.
    pub(crate) fn start(
        &mut self,
        fetcher: &Fetcher,
        shard: ShardIndex,
        reading: Reading,
    ) -> Result<(), KafkaError> {
        let Some(slot) = self.slots.get_mut(shard.as_usize()).and_then(Option::as_mut) else { return Ok(()) };
        let at = if reading == Reading::Seeking { StartAt::First } else { StartAt::Offset(slot.next) };
        slot.reading = reading;
        slot.heard = false;
        fetcher.start(&self.topics[slot.topic].topic, slot.partition(), at)
    }

    /// Moves all that is open to another fetcher, each at its position.
    pub(crate) fn renew(&mut self, fetcher: &Fetcher) -> Result<(), KafkaError> {
        self.last = None;
        for of in &mut self.topics {
            of.topic = fetcher.topic(&of.name)?;
        }
        for shard in self.open_shards() {
            let reading = self.get(shard).map_or(Reading::Held, |slot| slot.reading);
            if matches!(reading, Reading::On | Reading::Seeking) {
                self.start(fetcher, shard, reading)?;
            }
        }
        Ok(())
    }

    fn topic(&mut self, fetcher: &Fetcher, id: &ShardId) -> Result<usize, KafkaError> {
        if let Some(known) = self.topics.iter().position(|of| of.name == id.stream) {
            return Ok(known);
        }
        let topic = fetcher.topic(&id.stream)?;
        self.topics.push(TopicSlots { topic, name: Arc::clone(&id.stream), by_partition: Vec::new() });
        Ok(self.topics.len() - 1)
    }
}
