//! What every contender is told, and the contenders that are part of this program.
//!
//! A contender's process prints `{"started":true}` with its first record and one line of JSON ([`Said`]) at
//! the end of its window; then it waits to be killed, so that its memory can still be read.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::peers::{self, bare, group, ours};
use crate::service;

/// What a contender is to do. Travels as `name=value` words, which every language reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// `host:port` of the broker.
    pub bootstrap: String,
    /// The topic.
    pub topic: String,
    /// The consumer group; new for each trial.
    pub group: String,
    /// How many partitions the topic has.
    pub partitions: u32,
    /// How many records the topic holds; 0 = it is being written.
    pub records: u64,
    /// How long the handler sleeps.
    pub handler: Duration,
    /// Records, threads or processes at once.
    pub concurrency: u32,
    /// Which set-up.
    pub setting: String,
    /// How long it is measured, from its first record.
    pub window: Duration,
    /// Records produced earlier than this after the first one do not count for the latency; 0 = no latency.
    pub warm_up: Duration,
}

impl Task {
    /// As words for a command line.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let milliseconds = |time: Duration| time.as_millis().to_string();
        [
            ("bootstrap", self.bootstrap.clone()),
            ("topic", self.topic.clone()),
            ("group", self.group.clone()),
            ("partitions", self.partitions.to_string()),
            ("records", self.records.to_string()),
            ("handler_ms", milliseconds(self.handler)),
            ("concurrency", self.concurrency.to_string()),
            ("setting", self.setting.clone()),
            ("window_ms", milliseconds(self.window)),
            ("warm_up_ms", milliseconds(self.warm_up)),
        ]
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
    }

    /// From the words of a command line.
    ///
    /// # Errors
    /// When one is missing or no number where it must be.
    pub fn of(words: &[String]) -> Result<Task, String> {
        let text = |name: &str| text(words, name);
        let number = |name: &str| number(words, name);
        let small = |name: &str| small(words, name);
        Ok(Task {
            bootstrap: text("bootstrap")?,
            topic: text("topic")?,
            group: text("group")?,
            partitions: small("partitions")?,
            records: number("records")?,
            handler: Duration::from_millis(number("handler_ms")?),
            concurrency: small("concurrency")?,
            setting: text("setting")?,
            window: Duration::from_millis(number("window_ms")?),
            warm_up: Duration::from_millis(number("warm_up_ms")?),
        })
    }
}

/// What a member of a group is told whose members come and go. It works until it is asked to end, and writes to its
/// log when each record has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `host:port` of the broker.
    pub bootstrap: String,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// How many partitions the topic has.
    pub partitions: u32,
    /// How long the handler sleeps.
    pub handler: Duration,
    /// A line of JSON for each record that has ended: step, verdict, partition, offset, wallMs.
    pub log: PathBuf,
}

impl Member {
    /// As words for a command line.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        vec![
            format!("bootstrap={}", self.bootstrap),
            format!("topic={}", self.topic),
            format!("group={}", self.group),
            format!("partitions={}", self.partitions),
            format!("handler_ms={}", self.handler.as_millis()),
            format!("log={}", self.log.display()),
        ]
    }

    /// From the words of a command line.
    ///
    /// # Errors
    /// When one is missing or no number where it must be.
    pub fn of(words: &[String]) -> Result<Member, String> {
        Ok(Member {
            bootstrap: text(words, "bootstrap")?,
            topic: text(words, "topic")?,
            group: text(words, "group")?,
            partitions: small(words, "partitions")?,
            handler: Duration::from_millis(number(words, "handler_ms")?),
            log: text(words, "log")?.into(),
        })
    }
}

fn text(words: &[String], name: &str) -> Result<String, String> {
    let found = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found.map(str::to_owned).ok_or_else(|| format!("failed to find {name}="))
}

fn number(words: &[String], name: &str) -> Result<u64, String> {
    text(words, name)?.parse().map_err(|_| format!("failed to read {name} as a number"))
}

fn small(words: &[String], name: &str) -> Result<u32, String> {
    u32::try_from(number(words, name)?).map_err(|_| format!("failed to fit {name}"))
}

/// What a contender says of its window.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Said {
    /// Records whose handler ended.
    pub records: u64,
    /// From the first record.
    pub seconds: f64,
    /// Records in the second half of that time.
    pub second_half: u64,
    /// Records that began out of the order of their key, or beside another one of it.
    pub violations: u64,
    /// Most handlers at once.
    pub most_at_once: u64,
    /// How long the handler really took, in milliseconds on average.
    pub handler_ms: f64,
    /// From producing to the handler's start, in milliseconds: median, 99 %, highest.
    pub latency_ms: Option<[f64; 3]>,
}

/// Runs a contender of this program.
///
/// # Errors
/// When the words are wrong or it fails.
pub fn run(contender: &str, words: &[String]) -> Result<(), Box<dyn Error>> {
    if let ("service", [address]) = (contender, words) {
        return service::run(address);
    }
    if contender == peers::GROUP {
        return group::run(&Member::of(words)?);
    }
    let task = Task::of(words)?;
    match contender {
        "ours" => ours::run(&task),
        "bare" => bare::run(&task),
        _ => Err(format!("failed to find the contender {contender}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_survives_its_words() {
        let task = Task {
            bootstrap: "127.0.0.1:9092".into(),
            topic: "t".into(),
            group: "g".into(),
            partitions: 8,
            records: 5,
            handler: Duration::from_millis(10),
            concurrency: 64,
            setting: "tuned".into(),
            window: Duration::from_secs(10),
            warm_up: Duration::ZERO,
        };
        assert_eq!(Task::of(&task.words()), Ok(task));
        assert!(Task::of(&["topic=t".to_owned()]).is_err());
    }

    #[test]
    fn a_member_survives_its_words() {
        let member = Member {
            bootstrap: "127.0.0.1:9092".into(),
            topic: "t".into(),
            group: "g".into(),
            partitions: 8,
            handler: Duration::from_millis(10),
            log: "events.jsonl".into(),
        };
        assert_eq!(Member::of(&member.words()), Ok(member));
        assert_eq!(Member::of(&["topic=t".to_owned()]), Err("failed to find bootstrap=".to_owned()));
    }
}
