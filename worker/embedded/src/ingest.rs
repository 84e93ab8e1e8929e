//! `Log`: topics, and appending to them. What `keyweir send`, the local endpoint and dead letters write through.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{ProduceError, Producer};

use crate::log::topic::View;
use crate::log::{TopicNameError, TopicOptions, topic};
use crate::store::error::StoreError;
use crate::writer::{AppendError, Followed, Place, Request, Writer};

/// A topic, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: Arc<str>,
    /// What tells it from another one of the same name.
    pub id: String,
    /// Its partitions and what is kept.
    pub options: TopicOptions,
    /// How many records can be read.
    pub records: u64,
}

/// Topics, and appending to them. Clones share one writer; many calls at once share one sync.
#[derive(Clone, Debug)]
pub struct Log {
    writer: Writer,
    followed: Followed,
}

impl Log {
    pub(crate) fn new(writer: Writer, followed: Followed) -> Self {
        Self { writer, followed }
    }

    /// Appends records to a topic, which is made if it is missing. They are durable (fdatasync) when this returns,
    /// with their places in the order of `records`; records of one partition keep that order. All or none.
    pub async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Place>, AppendError> {
        let room = self.writer.room_for(&records).await;
        let request = |done| Request::Append { topic: topic.to_owned(), records, room, done };
        self.writer.ask(request, |source| AppendError::Store { topic: topic.to_owned(), source }).await
    }

    /// Makes a topic if it is missing. Of one that is there the retention is set; its partitions stay.
    pub async fn ensure_topic(&self, name: &str, options: TopicOptions) -> Result<(), AppendError> {
        let request = |done| Request::EnsureTopic { name: name.to_owned(), options, done };
        self.writer.ask(request, |source| AppendError::Store { topic: name.to_owned(), source }).await
    }

    /// Forgets a topic and its records; `false` = there was none. A later topic of that name has another identity.
    pub async fn delete_topic(&self, name: &str) -> Result<bool, StoreError> {
        let request = |done| Request::DeleteTopic { name: name.to_owned(), done };
        self.writer.ask(request, |closed| closed).await
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<TopicInfo> {
        let view: Arc<View> = self.followed.view.borrow().clone();
        let info = |topic: &Arc<topic::Topic>| {
            let bounds = (0..topic.partitions()).map(|partition| topic.bounds(partition));
            TopicInfo {
                name: topic.name.clone(),
                id: topic.row.id.to_string(),
                options: topic.row.options,
                records: bounds.map(|bounds| (bounds.end.0 - bounds.first.0).max(0) as u64).sum(),
            }
        };
        view.topics.values().map(info).collect()
    }

    /// Checks a topic's name, without making it.
    pub fn check_name(name: &str) -> Result<(), TopicNameError> {
        topic::check_name(name)
    }
}

impl Producer for Log {
    fn produce<'a>(&'a self, topic: &'a str, record: NewRecord) -> BoxFuture<'a, Result<(), ProduceError>> {
        async move {
            match self.append(topic, vec![record]).await {
                Ok(_) => Ok(()),
                Err(AppendError::Store { source, .. }) if source.is_retryable() => {
                    Err(ProduceError::Unreachable { topic: topic.to_owned(), source: Box::new(source) })
                }
                Err(source) => {
                    Err(ProduceError::Refused { topic: topic.to_owned(), source: Box::new(source) })
                }
            }
        }
        .boxed()
    }
}
