//! Drops old records, a segment at a time: by age, and by how much a topic holds.

use std::sync::Arc;
use std::time::Duration;

use super::{Owner, now};
use crate::log::topic::{Fill, Topic};
use crate::store::Store;

impl Owner {
    /// One small step for each topic: closes its open segment when that is due, or drops its oldest one.
    pub(super) fn retain(&mut self, store: &Arc<Store>) {
        let topics: Vec<_> = self.view.borrow().topics.values().cloned().collect();
        for topic in topics {
            self.retain_step(store, &topic);
        }
    }

    /// One small step for a topic. A topic that grows takes a step with each new segment too, so that it can't grow
    /// faster than it is cut.
    pub(super) fn retain_step(&mut self, store: &Arc<Store>, topic: &Topic) {
        let now = now();
        let fills: Vec<_> = topic.segments.iter().map(|segment| self.fill(topic, segment.number)).collect();
        let opened_at = topic.segments.last().map_or(now, |open| open.row.opened_at);
        match due(topic, &fills, opened_at, now) {
            Some(Step::Close) => {
                self.roll(store, topic);
            }
            Some(Step::Drop) => match self.drop_oldest(store, topic) {
                Ok(()) => tracing::debug!(topic = %topic.name, "old records dropped"),
                Err(error) => tracing::warn!(topic = %topic.name, %error, "old records stay"),
            },
            None => {}
        }
    }

    fn fill(&self, topic: &Topic, segment: u64) -> Fill {
        self.fills.get(&(topic.row.number, segment)).copied().unwrap_or_default()
    }
}

/// What retention does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Close,
    Drop,
}

/// What is due for a topic whose segments hold so much, oldest first. The open segment is never dropped.
fn due(topic: &Topic, fills: &[Fill], opened_at: i64, now: i64) -> Option<Step> {
    let (open, closed) = fills.split_last()?;
    let options = &topic.row.options;
    let total: u64 = fills.iter().map(|fill| fill.bytes).sum();
    let old = |then: i64, age: Duration| now.saturating_sub(then) as u128 > age.as_millis();
    if let Some(oldest) = closed.first()
        && (total > options.retention_bytes || old(oldest.last_append, options.retention_age))
    {
        return Some(Step::Drop);
    }
    (open.bytes > 0 && old(opened_at, options.segment_age())).then_some(Step::Close)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::topic::{TopicOptions, TopicRow};

    fn topic() -> Topic {
        let options =
            TopicOptions { partitions: 1, retention_age: Duration::from_millis(800), retention_bytes: 1_000 };
        let row = TopicRow { number: 0, id: uuid::Uuid::nil(), options };
        Topic::new("t", row, Vec::new(), &[keyweir_core::Offset::ZERO])
    }

    fn fill(bytes: u64, last_append: i64) -> Fill {
        Fill { bytes, last_append }
    }

    #[test]
    fn the_oldest_segment_goes_by_size_or_by_age() {
        let topic = topic();
        assert_eq!(due(&topic, &[fill(600, 1_000), fill(500, 1_000)], 1_000, 1_000), Some(Step::Drop));
        assert_eq!(due(&topic, &[fill(6, 100), fill(5, 1_000)], 1_000, 1_000), Some(Step::Drop));
        assert_eq!(due(&topic, &[fill(6, 200), fill(5, 1_000)], 1_000, 1_000), None);
    }

    #[test]
    fn the_open_segment_is_closed_by_age_and_never_dropped() {
        let topic = topic();
        assert_eq!(due(&topic, &[fill(5_000, 0)], 950, 1_000), None);
        assert_eq!(due(&topic, &[fill(5, 0)], 800, 1_000), Some(Step::Close));
        assert_eq!(due(&topic, &[fill(0, 0)], 0, 1_000), None);
        assert_eq!(due(&topic, &[], 0, 1_000), None);
    }
}
