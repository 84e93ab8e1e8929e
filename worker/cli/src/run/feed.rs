//! `--feed`: files and standard input, appended to the embedded log while it runs.

use std::path::PathBuf;
use std::str::FromStr;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use keyweir_contract::source::Source;
use keyweir_embedded::{AppendError, DataDir, Log};

use crate::args::{Format, RunArgs};
use crate::manifests::Object;
use crate::records::{Records, RecordsError};

/// Records of one append at most.
const BATCH: usize = 1_000;

/// A topic and the file whose records go there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feed {
    topic: String,
    file: PathBuf,
}

impl FromStr for Feed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, file) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?}: want TOPIC=FILE, or TOPIC=- for standard input"))?;
        Log::check_name(topic).map_err(|error| error.to_string())?;
        Ok(Self { topic: topic.to_owned(), file: file.into() })
    }
}

impl Feed {
    /// What is wrong with feeding these objects so: a topic that none of them reads would be filled in silence.
    pub(super) fn unread(&self, objects: &[Object]) -> Option<String> {
        let embedded = objects.iter().filter_map(|object| match &object.config.fixed.source {
            Source::Embedded(embedded) => Some(&embedded.topics),
            Source::Kafka(_) | Source::Etcd(_) => None,
        });
        let read: Vec<&str> = embedded.flatten().map(String::as_str).collect();
        if read.contains(&self.topic.as_str()) {
            return None;
        }
        let way = if read.is_empty() {
            "give --embedded, or use `keyweir send` for a topic of Kafka".to_owned()
        } else {
            format!("name one that is read: {}", read.join(", "))
        };
        Some(format!("--feed {}=…: no object reads that topic of the embedded log; {way}", self.topic))
    }
}

/// Why feeding ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// The file gives no more.
    #[error("failed to feed {topic}")]
    Read {
        topic: String,
        #[source]
        source: RecordsError,
    },
    /// The log takes no more.
    #[error("failed to feed {topic}")]
    Append {
        topic: String,
        #[source]
        source: AppendError,
    },
    /// There is no log.
    #[error("failed to feed: there is no data directory")]
    NoLog,
}

/// One step: a batch appended, and the rest of the file; `None` = it was read to its end.
type Step = BoxFuture<'static, Result<Option<(Feed, Records)>, FeedError>>;

/// All feeds under way.
pub(super) struct Feeding {
    log: Option<Log>,
    steps: FuturesUnordered<Step>,
}

impl Feeding {
    /// Opens the files.
    pub(super) async fn start(args: &RunArgs, directory: Option<&DataDir>) -> Result<Self, FeedError> {
        let log = directory.map(DataDir::log);
        let mut feeding = Self { log, steps: FuturesUnordered::new() };
        for feed in &args.feed {
            let records = open(feed, args.feed_format).await?;
            feeding.go_on(feed.clone(), records)?;
        }
        Ok(feeding)
    }

    fn go_on(&mut self, feed: Feed, records: Records) -> Result<(), FeedError> {
        let log = self.log.clone().ok_or(FeedError::NoLog)?;
        self.steps.push(step(log, feed, records).boxed());
        Ok(())
    }

    /// Appends one batch; never ready when nothing is left. Cancel-safe: a step that has begun goes on next time.
    pub(super) async fn next(&mut self) -> Result<(), FeedError> {
        match self.steps.next().await {
            Some(Ok(Some((feed, records)))) => self.go_on(feed, records),
            Some(Ok(None)) => Ok(()),
            Some(Err(error)) => Err(error),
            None => std::future::pending().await,
        }
    }

    /// Whether every file was read to its end.
    pub(super) fn is_over(&self) -> bool {
        self.steps.is_empty()
    }
}

async fn open(feed: &Feed, format: Format) -> Result<Records, FeedError> {
    let opened = Records::open(&feed.file, format, None).await;
    opened.map_err(|source| FeedError::Read { topic: feed.topic.clone(), source })
}

async fn step(log: Log, feed: Feed, mut records: Records) -> Result<Option<(Feed, Records)>, FeedError> {
    let batch = records.next(BATCH).await;
    let batch = batch.map_err(|source| FeedError::Read { topic: feed.topic.clone(), source })?;
    if batch.is_empty() {
        return Ok(None);
    }
    match log.append(&feed.topic, batch).await {
        Ok(_) => Ok(Some((feed, records))),
        Err(source) => Err(FeedError::Append { topic: feed.topic, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_names_topic_and_file() {
        let feed: Feed = "orders=data/a=b.jsonl".parse().expect("a feed");
        assert_eq!((feed.topic.as_str(), feed.file), ("orders", PathBuf::from("data/a=b.jsonl")));
        assert!("orders".parse::<Feed>().is_err());
        assert!("a b=x".parse::<Feed>().is_err());
    }
}
