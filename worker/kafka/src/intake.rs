//! The thread that reads: takes messages from the client library in batches and sends them to the reader.
//!
//! ```text
//!  commands ─▶ apply ─▶ take what is there ─▶ records ─▶ try to send ──full──▶ wait for room or a command
//! ```
//!
//! It never waits for a batch to fill, and never waits for room without hearing commands. It survives every
//! trouble: the library goes on trying, this file says so once and says when it is over. Up: [`crate::reader`].

mod trouble;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use keyweir_core::ShardIndex;
use keyweir_engine::Arena;
use keyweir_engine::ports::{Batch, Intake};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::config::{ConfigError, Connection, ReadAhead};
use crate::context::Context;
use crate::describe::Describer;
use crate::error;
use crate::fetch::{Fetched, Fetcher, Waker};
use crate::record::record;
use crate::slots::{Opening, Reading, Slot, Slots};
use trouble::{Health, Note};

/// Most records of one batch.
pub(crate) const MOST: usize = 1_000;
/// Longest wait for a message or for room: what ends it sooner is a message, room or a command.
const WAIT: Duration = Duration::from_millis(100);

/// What the reader wants. Each is applied in order, before anything else is taken.
pub(crate) enum Command {
    Open(Opening),
    Close(ShardIndex),
    Pause(ShardIndex),
    Resume(ShardIndex),
    End,
}

/// Something for the engine, and how many commands had been applied when it was taken.
pub(crate) struct Item {
    pub(crate) applied: u64,
    pub(crate) intake: Intake,
}

/// The thread's own state.
pub(crate) struct IntakeLoop {
    connection: Connection,
    read_ahead: usize,
    client: Arc<BaseConsumer<Context>>,
    fetcher: Fetcher,
    slots: Slots,
    arena: Arena,
    commands: Receiver<Command>,
    applied: u64,
    items: Sender<Item>,
    /// What could not be sent yet; at most what one take gives.
    outgoing: VecDeque<Item>,
    /// Found while messages were shown, dealt with right after.
    notes: Vec<Note>,
    /// The last take gave nothing: the next one may wait.
    idle: bool,
    pace: Pace,
    describer: Describer,
    health: Health,
}

/// How many messages a batch may have, so that its bytes stay bounded.
struct Pace {
    batch: usize,
    mean: usize,
    last: usize,
}

impl Pace {
    fn most(&self) -> usize {
        (self.batch / self.mean.max(1)).clamp(1, MOST)
    }

    fn saw(&mut self, count: usize, bytes: usize) {
        self.last = count;
        if let Some(mean) = bytes.checked_div(count) {
            // Large ones are believed at once, small ones slowly: the bound is on bytes.
            self.mean = mean.max((self.mean * 7 + mean) / 8);
        }
    }
}

impl IntakeLoop {
    /// Makes the client; connects to nobody yet.
    pub(crate) fn new(
        connection: Connection,
        read_ahead: usize,
        commands: Receiver<Command>,
        items: Sender<Item>,
    ) -> Result<Self, ConfigError> {
        let secrets = connection.fingerprint();
        let client = Arc::new(client(&connection, read_ahead)?);
        let batch = ReadAhead::of(read_ahead).batch;
        Ok(Self {
            fetcher: Fetcher::new(Arc::clone(&client), MOST),
            describer: Describer::new(Arc::clone(&client)),
            client,
            slots: Slots::default(),
            arena: Arena::new(),
            commands,
            applied: 0,
            items,
            outgoing: VecDeque::new(),
            notes: Vec::new(),
            idle: true,
            pace: Pace { batch, mean: batch / 64, last: 0 },
            health: Health::new(secrets),
            connection,
            read_ahead,
        })
    }

    /// Ends waits of this loop from another thread.
    pub(crate) fn waker(&self) -> Waker {
        self.fetcher.waker()
    }

    /// Reads until it is told to end or nobody listens any more.
    pub(crate) fn run(mut self) {
        while self.apply() {
            self.serve();
            if !self.send() {
                return;
            }
            if self.outgoing.is_empty() {
                self.take();
            } else {
                // Room or a command ends this.
                std::thread::park_timeout(WAIT);
            }
        }
        for shard in self.slots.open_shards() {
            self.slots.close(&self.fetcher, shard);
        }
    }

    /// Applies what was asked for; `false` = the end.
    fn apply(&mut self) -> bool {
        loop {
            let command = match self.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            };
            self.applied += 1;
            let (shard, done) = match command {
                Command::Open(opening) => (opening.shard, self.slots.open(&self.fetcher, opening)),
                Command::Close(shard) => {
                    self.slots.close(&self.fetcher, shard);
                    (shard, Ok(()))
                }
                Command::Pause(shard) => {
                    self.slots.stop(&self.fetcher, shard, Reading::Paused);
                    (shard, Ok(()))
                }
                Command::Resume(shard) => (shard, self.resume(shard)),
                Command::End => return false,
            };
            if let Err(error) = done {
                self.tell(Intake::Trouble(
                    Some(shard),
                    error::source_error(format!("shard {}", shard.0), error),
                ));
            }
        }
    }

    fn resume(&mut self, shard: ShardIndex) -> Result<(), KafkaError> {
        match self.slots.get(shard) {
            Some(slot) if slot.reading == Reading::Paused => {
                self.slots.start(&self.fetcher, shard, Reading::On)
            }
            _ => Ok(()),
        }
    }

    fn tell(&mut self, intake: Intake) {
        self.outgoing.push_back(Item { applied: self.applied, intake });
    }

    /// Sends what there is room for; `false` = nobody listens.
    fn send(&mut self) -> bool {
        while let Some(item) = self.outgoing.pop_front() {
            match self.items.try_send(item) {
                Ok(()) => {}
                Err(TrySendError::Full(item)) => {
                    self.outgoing.push_front(item);
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        true
    }

    /// Takes what is there as one batch, or waits for something to come.
    fn take(&mut self) {
        let wait = if self.idle { WAIT } else { Duration::ZERO };
        let mut batch =
            Batch { records: Vec::with_capacity(self.pace.last.min(MOST)), positions: Vec::new() };
        let mut bytes = 0;
        let (slots, arena, notes) = (&mut self.slots, &mut self.arena, &mut self.notes);
        let count = self.fetcher.take(self.pace.most(), wait, |message| {
            let Some(slot) = slots.find(message.topic(), message.partition()) else { return };
            if is_wanted(slot, &message, notes) {
                let record = record(arena, slot.shard, &message);
                slot.next = message.offset() + 1;
                bytes += record.weight();
                batch.records.push(record);
            }
        });
        self.idle = count == 0;
        self.pace.saw(batch.records.len(), bytes);
        let ends = self.settle(&mut batch);
        if !batch.records.is_empty() || ends {
            self.outgoing.push_front(Item { applied: self.applied, intake: Intake::Batch(batch) });
            self.recovered();
        }
    }
}

fn client(connection: &Connection, read_ahead: usize) -> Result<BaseConsumer<Context>, ConfigError> {
    connection
        .reading(read_ahead)?
        .create_with_context(Context::default())
        .map_err(|source| ConfigError::Client { cluster: connection.name(), source })
}

/// Whether this is a record that the engine has not seen; anything else leaves a note.
#[inline]
fn is_wanted(slot: &mut Slot, message: &Fetched<'_>, notes: &mut Vec<Note>) -> bool {
    match message.error() {
        None if slot.is_settled() => message.offset() >= slot.next,
        None => is_wanted_after_trouble(slot, message.offset(), notes),
        Some(RDKafkaErrorCode::PartitionEOF) => {
            notes.push(Note::End(slot.shard, message.offset()));
            false
        }
        Some(code) => {
            notes.push(Note::Failed(slot.shard, code));
            false
        }
    }
}

fn is_wanted_after_trouble(slot: &mut Slot, offset: i64, notes: &mut Vec<Note>) -> bool {
    match slot.reading {
        // Below the position although it was outside of the log: the log ends before it.
        Reading::Seeking if offset < slot.next => {
            notes.push(Note::BeyondEnd(slot.shard));
            false
        }
        Reading::On | Reading::Seeking => {
            slot.reading = Reading::On;
            slot.heard = true;
            notes.push(Note::Settled(slot.shard));
            offset >= slot.next
        }
        Reading::Paused | Reading::Unsure | Reading::Held => false,
    }
}
