//! A bare rdkafka loop: one thread polls and counts. What the client itself can do, and the yardstick.

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{Contender, PeerError};
use crate::child::Task;
use crate::meter::Meter;

/// Deep fetch queues, and no pause when one is full.
const TUNED: [(&str, &str); 3] = [
    ("queued.min.messages", "1000000"),
    ("queued.max.messages.kbytes", "524288"),
    ("fetch.queue.backoff.ms", "5"),
];

pub(super) fn command(_: &Contender, task: &Task) -> Result<Command, PeerError> {
    itself("bare", task)
}

/// This program as the named contender.
pub(super) fn itself(contender: &str, task: &Task) -> Result<Command, PeerError> {
    let mut command = Command::new(std::env::current_exe().map_err(PeerError::Sources)?);
    command.args(["child", contender]).args(task.words());
    Ok(command)
}

/// Polls until it is killed.
///
/// # Errors
/// When the consumer can't be made or the topic not be read.
pub fn run(task: &Task) -> Result<(), Box<dyn Error>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &task.bootstrap)
        .set("group.id", &task.group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "true");
    if task.setting == "tuned" {
        for (name, value) in TUNED {
            config.set(name, value);
        }
    }
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[&task.topic])?;
    let meter = Meter::start(task);
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let key = message.key().unwrap_or_default();
                let begun = meter.begin(key, message.payload().unwrap_or_default());
                meter.end(&begun);
            }
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
}
