//! Making, changing and forgetting topics; opening a topic's next segment. Each is a commit of its own.

use std::sync::Arc;

use keyweir_core::Offset;
use uuid::Uuid;

use super::group::Appended;
use super::{AppendError, Owner, now};
use crate::log::catalogue;
use crate::log::topic::{Fill, Segment, SegmentRow, Topic, TopicOptions, TopicRow, View, check_name};
use crate::store::error::StoreError;
use crate::store::{Store, keys};

impl Owner {
    /// The topic, made if it is missing and changed if it has other options; `None` = as it is, or the defaults.
    pub(super) fn ensure_topic(
        &mut self,
        name: &str,
        options: Option<TopicOptions>,
    ) -> Result<Arc<Topic>, AppendError> {
        let failed = |source| AppendError::Store { topic: name.to_owned(), source };
        let store = self.store().map_err(failed)?;
        let known = self.view.borrow().topics.get(name).cloned();
        match (known, options) {
            (Some(topic), None) => Ok(topic),
            (Some(topic), Some(options)) => self.change_topic(&store, topic, options).map_err(failed),
            (None, options) => {
                check_name(name).map_err(AppendError::Name)?;
                let options = options.unwrap_or(self.topic_defaults);
                self.make_topic(&store, name, options).map_err(failed)
            }
        }
    }

    fn make_topic(
        &mut self,
        store: &Arc<Store>,
        name: &str,
        mut options: TopicOptions,
    ) -> Result<Arc<Topic>, StoreError> {
        options.partitions = options.partitions.clamp(1, TopicOptions::MAX_PARTITIONS);
        let number = catalogue::next_topic(store)?;
        let row = TopicRow { number, id: Uuid::new_v4(), options };
        let segment = SegmentRow { starts: Vec::new(), opened_at: now() };
        let rows = [
            (keys::NEXT_TOPIC.to_vec(), json(&(number + 1))?),
            (keys::topic(name), json(&row)?),
            (keys::segment(number, 0), json(&segment)?),
        ];
        let keyspace = self.prepare(store, number, 0)?;
        self.write_rows(store, &rows, &[])?;
        let ends = vec![Offset::ZERO; options.partitions as usize];
        let segments = vec![Segment { number: 0, keyspace, row: Arc::new(segment) }];
        tracing::info!(topic = name, partitions = options.partitions, "topic made");
        Ok(self.show(Topic::new(name, row, segments, &ends)))
    }

    /// Sets retention and adds partitions; it never takes any away.
    fn change_topic(
        &mut self,
        store: &Arc<Store>,
        topic: Arc<Topic>,
        mut options: TopicOptions,
    ) -> Result<Arc<Topic>, StoreError> {
        options.partitions = topic.partitions();
        if options == topic.row.options {
            return Ok(topic);
        }
        let row = TopicRow { options, ..topic.row.clone() };
        self.write_rows(store, &[(keys::topic(&topic.name), json(&row)?)], &[])?;
        Ok(self.show(topic.changed(row, topic.segments.clone())))
    }

    /// Forgets a topic and its records.
    pub(super) fn delete_topic(&mut self, name: &str) -> Result<bool, StoreError> {
        let store = self.store()?;
        let Some(topic) = self.view.borrow().topics.get(name).cloned() else { return Ok(false) };
        let number = topic.row.number;
        let mut gone = vec![keys::topic(name)];
        for segment in &topic.segments {
            gone.extend([keys::segment(number, segment.number), keys::fill(number, segment.number)]);
        }
        self.write_rows(&store, &[], &gone)?;
        let mut view = View::clone(&self.view.borrow());
        view.topics.remove(name);
        self.publish(view);
        for segment in &topic.segments {
            self.fills.remove(&(number, segment.number));
            self.drop_keyspace(&store, segment);
        }
        tracing::info!(topic = name, "topic deleted");
        Ok(true)
    }

    /// Opens the next segment of topics whose open one is full.
    pub(super) fn roll_full(&mut self, store: &Arc<Store>, appended: &[Appended]) {
        for append in appended {
            if append.fill.bytes >= append.topic.row.options.segment_bytes()
                && let Some(rolled) = self.roll(store, &append.topic)
            {
                self.retain_step(store, &rolled);
            }
        }
    }

    /// Opens a topic's next segment. A failure leaves the present one open; the next append tries again.
    pub(super) fn roll(&mut self, store: &Arc<Store>, topic: &Topic) -> Option<Arc<Topic>> {
        let rolled = self.try_roll(store, topic);
        rolled.inspect_err(|error| tracing::warn!(topic = %topic.name, %error, "no new segment")).ok()
    }

    fn try_roll(&mut self, store: &Arc<Store>, topic: &Topic) -> Result<Arc<Topic>, StoreError> {
        let number = topic.segments.last().map_or(0, |segment| segment.number + 1);
        let starts = (0..topic.partitions()).map(|partition| topic.end(partition)).collect();
        let row = SegmentRow { starts, opened_at: now() };
        let keyspace = self.prepare(store, topic.row.number, number)?;
        self.write_rows(store, &[(keys::segment(topic.row.number, number), json(&row)?)], &[])?;
        let mut segments = topic.segments.clone();
        segments.push(Segment { number, keyspace, row: Arc::new(row) });
        Ok(self.show(topic.changed(topic.row.clone(), segments)))
    }

    /// Drops a topic's oldest segment: first its row, then its records. Done on a full disk too: it makes room.
    pub(super) fn drop_oldest(&mut self, store: &Arc<Store>, topic: &Topic) -> Result<(), StoreError> {
        let Some((oldest, kept)) = topic.segments.split_first() else { return Ok(()) };
        let number = topic.row.number;
        let gone = [keys::segment(number, oldest.number), keys::fill(number, oldest.number)];
        self.write_rows(store, &[], &gone)?;
        self.show(topic.changed(topic.row.clone(), kept.to_vec()));
        self.fills.remove(&(number, oldest.number));
        self.drop_keyspace(store, oldest);
        Ok(())
    }

    fn drop_keyspace(&self, store: &Store, segment: &Segment) {
        // Its row is gone already: if this fails, the next opening removes it.
        if let Err(error) = store.drop_segment(segment.keyspace.clone()) {
            tracing::warn!(%error, "a dropped segment stays until the next start");
        }
    }

    /// The keyspace of a segment that is about to be made, and its empty fill.
    fn prepare(&mut self, store: &Store, topic: u32, segment: u64) -> Result<fjall::Keyspace, StoreError> {
        store.room_for(0)?;
        let keyspace = store.segment(topic, segment)?;
        self.fills.insert((topic, segment), Fill::default());
        Ok(keyspace)
    }

    fn write_rows(
        &mut self,
        store: &Store,
        put: &[(Vec<u8>, Vec<u8>)],
        gone: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        let mut batch = store.batch();
        for (key, row) in put {
            batch.insert(&store.catalogue, &key[..], &row[..]);
        }
        for key in gone {
            batch.remove(&store.catalogue, &key[..]);
        }
        store.commit(batch).inspect_err(|error| self.abandon(error.clone()))
    }

    /// Puts a topic into what readers see.
    fn show(&self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        let mut view = View::clone(&self.view.borrow());
        view.topics.insert(topic.name.clone(), topic.clone());
        self.publish(view);
        topic
    }
}

fn json(row: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(row).map_err(|source| StoreError::failed("write", source))
}
