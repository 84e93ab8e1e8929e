//! `KafkaReader`: the engine's side of the reading thread.
//!
//! Commands go to the thread at once, batches come back through a channel of few. A batch that was taken before a
//! command was applied is sifted here: nothing of a shard that was closed or opened anew since gets through.
//! Up: the pump calls it through [`Reader`].

use std::sync::mpsc as commands;
use std::thread::JoinHandle;

use keyweir_core::{Offset, ShardId, ShardIndex};
use keyweir_engine::ports::{Batch, Intake, Reader};
use tokio::sync::mpsc;

use crate::config::{ConfigError, Connection};
use crate::fetch::Waker;
use crate::intake::{Command, IntakeLoop, Item};
use crate::slots::Opening;

/// Batches on their way to the engine.
const BATCHES: usize = 4;

/// Reads Kafka partitions, assigned by hand.
///
/// Waits for nobody: everything that blocks happens on its own thread, which ends when this is dropped. Files with
/// secrets are looked at again while it runs.
pub struct KafkaReader {
    /// At most as many as the owner's calls since the thread last looked, which it does before it takes anything.
    commands: commands::Sender<Command>,
    sent: u64,
    items: mpsc::Receiver<Item>,
    /// For each handle the number of the command that opened it; `None` = closed.
    opened: Vec<Option<u64>>,
    /// The last command that opened or closed: what was taken after it needs no sifting.
    changed: u64,
    /// The log of the shard that is opened next.
    expected: Option<(ShardIndex, String)>,
    waker: Option<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl KafkaReader {
    /// A reader that keeps at most about `read_ahead` bytes that nobody has taken. Connects when something is opened.
    ///
    /// # Errors
    /// When the settings can't be used or no thread can be started.
    pub fn new(connection: Connection, read_ahead: usize) -> Result<Self, ConfigError> {
        let (commands, received) = commands::channel();
        let (sender, items) = mpsc::channel(BATCHES);
        let intake = IntakeLoop::new(connection, read_ahead, received, sender)?;
        let waker = intake.waker();
        let thread = std::thread::Builder::new()
            .name("kafka-intake".into())
            .spawn(move || intake.run())
            .map_err(|source| ConfigError::Thread { source })?;
        Ok(Self {
            commands,
            sent: 0,
            items,
            opened: Vec::new(),
            changed: 0,
            expected: None,
            waker: Some(waker),
            thread: Some(thread),
        })
    }

    fn send(&mut self, command: Command) {
        self.sent += 1;
        // A thread that has ended gives nothing any more: there is nobody to tell.
        let _ = self.commands.send(command);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    fn set_opened(&mut self, shard: ShardIndex, opened: Option<u64>) {
        let index = shard.as_usize();
        if self.opened.len() <= index {
            self.opened.resize(index + 1, None);
        }
        self.opened[index] = opened;
        self.changed = self.sent;
    }

    /// Lets through what is of shards that were already open when it was taken, and still are.
    fn sift(&self, item: Item) -> Option<Intake> {
        if item.applied >= self.changed {
            return Some(item.intake);
        }
        let known = |shard: ShardIndex| {
            self.opened.get(shard.as_usize()).copied().flatten().is_some_and(|at| at <= item.applied)
        };
        match item.intake {
            Intake::Batch(mut batch) => {
                batch.records.retain(|record| known(record.shard));
                batch.positions.retain(|(shard, _)| known(*shard));
                (!is_empty(&batch)).then_some(Intake::Batch(batch))
            }
            Intake::Trouble(Some(shard), _) | Intake::Recovered(Some(shard)) if !known(shard) => None,
            other => Some(other),
        }
    }
}

fn is_empty(batch: &Batch) -> bool {
    batch.records.is_empty() && batch.positions.is_empty()
}

impl Reader for KafkaReader {
    fn expect(&mut self, shard: ShardIndex, log: &str) {
        self.expected = Some((shard, log.to_owned()));
    }

    fn open(&mut self, shard: ShardIndex, id: &ShardId, from: Offset) {
        let log = self.expected.take().filter(|(of, _)| *of == shard).map(|(_, log)| log);
        self.send(Command::Open(Opening { shard, id: id.clone(), from: from.0, log }));
        self.set_opened(shard, Some(self.sent));
    }

    fn close(&mut self, shard: ShardIndex) {
        self.send(Command::Close(shard));
        self.set_opened(shard, None);
    }

    fn pause(&mut self, shard: ShardIndex) {
        self.send(Command::Pause(shard));
    }

    fn resume(&mut self, shard: ShardIndex) {
        self.send(Command::Resume(shard));
    }

    async fn next(&mut self) -> Intake {
        while let Some(item) = self.items.recv().await {
            // The thread may be waiting for this room.
            self.unpark();
            if let Some(intake) = self.sift(item) {
                return intake;
            }
        }
        std::future::pending().await
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.items.close();
        self.send(Command::End);
        // The thread must be the last to let go of the client: letting go may wait for connections to end.
        self.waker = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads Kafka has panicked");
        }
    }
}
