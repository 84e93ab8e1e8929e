//! Trouble: what is wrong with a partition or with the cluster, said once, and said again when it is over.
//!
//! The second half of the intake's loop: it decides what follows an error, asks when nothing comes, and makes
//! another client when secrets have changed. Up: [`crate::intake`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyweir_core::{Offset, ShardIndex};
use keyweir_engine::ports::{Batch, Intake, SourceError};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{IntakeLoop, MOST, WAIT, client};
use crate::context::Context;
use crate::describe::{Described, Describer, NO_ID};
use crate::error::{self, Trouble, trouble};
use crate::fetch::Fetcher;
use crate::slots::{Reading, Slot};

/// How long a broker has to describe the topics.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a broker has to say that it is there, to a reader that reads nothing: what is opened then waits for it.
const SIGN: Duration = Duration::from_millis(500);
/// How often it is asked while something is wrong or not yet known.
const SOON: Duration = Duration::from_millis(500);
/// How often it is asked while all is well: a topic made anew is found within that time.
const LATER: Duration = Duration::from_secs(5);
/// How often the files with secrets are looked at.
const SECRETS: Duration = Duration::from_secs(10);

/// Something about one shard that is no record.
pub(super) enum Note {
    End(ShardIndex, i64),
    Failed(ShardIndex, RDKafkaErrorCode),
    Settled(ShardIndex),
    BeyondEnd(ShardIndex),
}

/// What is known of the cluster as a whole.
pub(super) struct Health {
    /// The stable word of the trouble that was reported and is not over.
    trouble: Option<&'static str>,
    served: Instant,
    asked: Instant,
    secrets: u64,
    secrets_seen: Instant,
}

impl Health {
    /// Nothing is wrong yet; these are the secrets the client was made with.
    pub(super) fn new(secrets: u64) -> Self {
        let now = Instant::now();
        Self { trouble: None, served: now, asked: now, secrets, secrets_seen: now }
    }
}

impl IntakeLoop {
    /// Deals with what was no record. Gives whether positions were found.
    pub(super) fn settle(&mut self, batch: &mut Batch) -> bool {
        let mut notes = std::mem::take(&mut self.notes);
        for note in notes.drain(..) {
            match note {
                Note::End(shard, end) => self.ended(shard, end, batch),
                Note::Settled(shard) => self.settled(shard),
                Note::BeyondEnd(shard) => self.hold(shard, out_of_range),
                Note::Failed(shard, code) => self.failed(shard, code),
            }
        }
        self.notes = notes;
        !batch.positions.is_empty()
    }

    /// The end of the log was reached: everything below is read, markers and gaps too.
    fn ended(&mut self, shard: ShardIndex, end: i64, batch: &mut Batch) {
        let Some(slot) = self.slots.get(shard) else { return };
        if slot.reading == Reading::Seeking && end < slot.next {
            return self.hold(shard, out_of_range);
        }
        if end > slot.next {
            slot.next = end;
            batch.positions.push((shard, Offset(end)));
        }
        if !slot.is_settled() {
            slot.reading = Reading::On;
            slot.heard = true;
            self.settled(shard);
        }
    }

    fn settled(&mut self, shard: ShardIndex) {
        if self.slots.get(shard).and_then(|slot| slot.trouble.take()).is_some() {
            self.tell(Intake::Recovered(Some(shard)));
        }
    }

    /// Leaves a partition alone whose position means nothing any more, and says why.
    fn hold(&mut self, shard: ShardIndex, why: impl FnOnce(&Slot) -> SourceError) {
        self.slots.stop(&self.fetcher, shard, Reading::Held);
        let Some(slot) = self.slots.get(shard) else { return };
        slot.reading = Reading::Held;
        let why = why(slot);
        if slot.trouble == Some(why.reason()) {
            return;
        }
        tracing::error!(shard = %slot.id, offset = slot.next, reason = why.reason(),
            "the position means nothing in the log that is there: reset the group's offset to go on");
        self.say(shard, |_| why);
    }

    fn failed(&mut self, shard: ShardIndex, code: RDKafkaErrorCode) {
        let Some(slot) = self.slots.get(shard) else { return };
        slot.heard = true;
        let is_started = slot.is_started();
        match code {
            RDKafkaErrorCode::LogTruncation => self.hold(shard, out_of_range),
            RDKafkaErrorCode::AutoOffsetReset => {
                self.say(shard, out_of_range);
                if is_started {
                    self.slots.stop(&self.fetcher, shard, Reading::Paused);
                    self.start(shard, Reading::Seeking);
                }
            }
            code if trouble(code) == Trouble::Missing => {
                self.say(shard, |slot| failure(slot, code));
                self.slots.stop(&self.fetcher, shard, Reading::Unsure);
            }
            code => self.say(shard, |slot| failure(slot, code)),
        }
    }

    /// Tells of trouble of one partition, unless that word was the last one told.
    fn say(&mut self, shard: ShardIndex, trouble: impl FnOnce(&Slot) -> SourceError) {
        let Some(slot) = self.slots.get(shard) else { return };
        let trouble = trouble(slot);
        let known = slot.trouble.replace(trouble.reason());
        if known != Some(trouble.reason()) {
            self.tell(Intake::Trouble(Some(shard), trouble));
        }
    }

    fn start(&mut self, shard: ShardIndex, reading: Reading) {
        if let Err(error) = self.slots.start(&self.fetcher, shard, reading) {
            tracing::warn!(shard = shard.0, %error, "a partition can't be started again");
        }
    }

    /// Now and then: what the library says, whether a broker is there again, whether secrets have changed.
    pub(super) fn serve(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.health.served) < WAIT {
            return;
        }
        self.health.served = now;
        for _ in 0..16 {
            // Log lines and errors go to the context.
            let _ = self.client.poll(Duration::ZERO);
        }
        if let Some(error) = self.client.context().take_trouble() {
            let context = self.client.context();
            self.troubled(error::source_error_of(self.connection.name(), error, Some(context.as_ref())));
        }
        self.ask(now);
        if now.duration_since(self.health.secrets_seen) >= SECRETS {
            self.health.secrets_seen = now;
            self.renew_if_secrets_changed();
        }
    }

    fn troubled(&mut self, error: SourceError) {
        let word = error.reason();
        // Who refuses us also seems to be away: the word that somebody must act upon stays.
        let stays = |known| ["NotAuthorized", "AuthenticationFailed"].contains(&known);
        if self.health.trouble.is_none_or(|known| known != word && (stays(word) || !stays(known))) {
            self.health.trouble = Some(word);
            self.tell(Intake::Trouble(None, error));
        }
    }

    pub(super) fn recovered(&mut self) {
        if self.health.trouble.take().is_some() {
            self.tell(Intake::Recovered(None));
        }
    }

    /// Asks for the topics and takes an answer that has come. The library keeps to itself what is wrong with a
    /// topic that it can't look up, and that a topic was made anew; and an answer, whatever it says, is the sign
    /// that somebody is there again.
    fn ask(&mut self, now: Instant) {
        if let Some(answer) = self.describer.answer(Duration::ZERO) {
            match answer {
                Ok(topics) => {
                    self.recovered();
                    topics.iter().for_each(|topic| self.look_up(topic));
                }
                Err(error) => tracing::debug!(%error, "no broker has described the topics"),
            }
        }
        let is_troubled = self.health.trouble.is_some();
        let pause = if is_troubled || self.slots.is_any_in_trouble() { SOON } else { LATER };
        if self.describer.is_waiting() || now.duration_since(self.health.asked) < pause {
            return;
        }
        self.health.asked = now;
        if is_troubled {
            self.renew_if_secrets_changed();
        }
        if self.slots.open_topics().next().is_none() {
            if is_troubled {
                self.look_for_a_broker();
            }
        } else if let Err(error) = self.describer.ask(self.slots.open_topics(), ANSWER) {
            tracing::debug!(%error, "no broker was asked to describe the topics");
        }
    }

    /// A member in trouble is given no shard, and without one there is no topic to ask about: any answer will do.
    fn look_for_a_broker(&mut self) {
        match self.client.fetch_metadata(None, SIGN) {
            Ok(_) => self.recovered(),
            Err(error) => tracing::debug!(%error, "no broker answers"),
        }
    }

    /// Compares what a broker says of a topic with what is being read of it.
    fn look_up(&mut self, topic: &Described) {
        let mut is_back = false;
        let found = topic.id.as_ref().filter(|id| *id != NO_ID);
        for shard in self.slots.of_topic(&topic.name) {
            let Some(slot) = self.slots.get(shard) else { continue };
            let is_there = (slot.id.index as usize) < topic.partitions;
            let is_another = slot.topic_id.is_some() && found.is_some() && slot.topic_id.as_ref() != found;
            match topic.error {
                // One that was held because its log is too short is told why it is.
                None if is_another => {
                    self.hold(shard, |slot| SourceError::MadeAnew { shard: slot.id.clone() });
                }
                _ if slot.reading == Reading::Held => {}
                Some(code) if trouble(code) != Trouble::Unreachable => self.failed(shard, code),
                Some(_) => {}
                None if !is_there => self.failed(shard, RDKafkaErrorCode::UnknownPartition),
                None => {
                    slot.is_known = true;
                    // A broker that is too old to know ids takes none away.
                    if let Some(found) = found {
                        slot.topic_id.get_or_insert_with(|| found.clone());
                    }
                    if slot.reading == Reading::Unsure {
                        is_back = true;
                        self.start(shard, Reading::On);
                    }
                }
            }
        }
        if is_back {
            // The library looks for a topic that is back in its own time unless it is asked for one.
            let _ = self.client.fetch_metadata(Some(&topic.name), ANSWER);
        }
    }

    /// A client keeps the secrets it was made with: changed ones need another client.
    fn renew_if_secrets_changed(&mut self) {
        let secrets = self.connection.fingerprint();
        if secrets == self.health.secrets {
            return;
        }
        match client(&self.connection, self.read_ahead) {
            Ok(client) => {
                self.health.secrets = secrets;
                self.renew(client);
            }
            Err(error) => tracing::warn!(%error, "changed secrets can't be used yet"),
        }
    }

    fn renew(&mut self, client: BaseConsumer<Context>) {
        let client = Arc::new(client);
        let fetcher = Fetcher::new(Arc::clone(&client), MOST);
        if let Err(error) = self.slots.renew(&fetcher) {
            tracing::warn!(%error, "a partition can't be read with the changed secrets");
        }
        self.fetcher = fetcher;
        self.describer = Describer::new(Arc::clone(&client));
        self.client = client;
        tracing::info!("secrets changed: reading goes on with a new client");
    }
}

fn out_of_range(slot: &Slot) -> SourceError {
    SourceError::OutOfRange { shard: slot.id.clone(), offset: Offset(slot.next) }
}

fn failure(slot: &Slot, code: RDKafkaErrorCode) -> SourceError {
    let source = KafkaError::MessageConsumption(code);
    if error::is_damage(code) {
        let what = format!("{} at {}", slot.id, slot.next);
        return SourceError::Damaged { what, source: source.into() };
    }
    error::source_error(slot.id.to_string(), source)
}
