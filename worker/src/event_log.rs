//! The event log: every step of every record as JSON lines, for `keyweir verify`.
//!
//! Lines are written before the outcome is charged and before a checkpoint that knows it is saved: after a kill -9
//! the log may lack what began last, but never an ending that a checkpoint counts. A torn last line is the reader's
//! to allow. One file may serve several incarnations: it is appended to.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use keyweir_core::slots::key_hash;
use keyweir_core::{Fence, Offset, ShardId};
use keyweir_engine::ports::{Aside, Observer, RecordEvent, Request, ShardEvent};
use keyweir_engine::{Record, Verdict};
use keyweir_routing::ExecutionLog;
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// What happened.
    pub step: Step,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The record's place; absent for steps of a shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Hash of the ordering key, in hexadecimal; absent where there is no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Which attempt; the first is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How an attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Ending>,
    /// Where its road ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<Road>,
    /// Who wrote this.
    pub member: Arc<str>,
    /// The owner's fence.
    pub fence: Fence,
    /// Microseconds since this incarnation began, by a clock that never steps.
    pub monotonic_us: u64,
    /// Milliseconds since the epoch.
    pub wall_ms: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// A record was read and charged.
    Polled,
    /// A record was read that is complete by the checkpoint.
    Skipped,
    /// A handler was called.
    Started,
    /// A handler answered, or was cancelled.
    Ended,
    /// A handler of this member began with it, whoever owns it: where keys are routed.
    Running,
    /// That handler answered, or was cancelled.
    Ran,
    /// It is not handled, and where its road ends is durable.
    SetAside,
    /// Retention or compaction has removed it while it waited: nobody can handle it any more.
    Gone,
    /// A shard is owned from now on.
    Owned,
    /// A shard's last checkpoint is written and nothing of it is in flight.
    Released,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// The record is done.
    Done,
    /// Another attempt, or the end of the road.
    Retry,
    /// The end of the road at once.
    Reject,
    /// The handler could not begin.
    Unavailable,
    /// Cancelled: the shard was taken away, or the process stopped.
    Cancelled,
}

/// Where the road of a record ends that was not handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Road {
    /// In a dead-letter topic.
    DeadLettered,
    /// Parked, until a person releases or skips it.
    Parked,
    /// Dropped, because the policy says so.
    Skipped,
    /// A newer change of its key took its place.
    Superseded,
}

/// Why the event log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("failed to open the event log {path}")]
pub struct EventLogError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Writes the event log. A log that can't be written is said once and costs no record anything.
///
/// A clone writes to the same log: the pump tells what it does, and whoever executes records tells that, in one order.
#[derive(Clone)]
pub struct EventLog(Arc<Mutex<Lines>>);

struct Lines {
    file: BufWriter<File>,
    /// The line that is being written.
    text: Vec<u8>,
    member: Arc<str>,
    began: Instant,
    broken: bool,
}

impl EventLog {
    /// Appends to that file.
    pub fn open(path: &Path, member: Arc<str>) -> Result<Self, EventLogError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| EventLogError { path: path.to_owned(), source })?;
        let file = BufWriter::with_capacity(256 * 1024, file);
        let mut log = Lines { file, text: Vec::new(), member, began: Instant::now(), broken: false };
        // A killed predecessor may have left half a line: what follows must not be glued to it.
        if log.file.get_ref().metadata().is_ok_and(|known| known.len() > 0) {
            log.file.write_all(b"\n").map_err(|source| EventLogError { path: path.to_owned(), source })?;
        }
        Ok(Self(Arc::new(Mutex::new(log))))
    }

    /// Held for one line, never across an await.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn line(&self, step: Step, shard: &ShardId, fence: Fence) -> Line {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Line {
            step,
            topic: Arc::clone(&shard.stream),
            partition: shard.index,
            offset: None,
            key: None,
            attempt: None,
            verdict: None,
            aside: None,
            member: Arc::clone(&self.member),
            fence,
            monotonic_us: self.began.elapsed().as_micros() as u64,
            wall_ms: wall.as_millis() as u64,
        }
    }

    fn write(&mut self, line: &Line) {
        self.text.clear();
        let written = serde_json::to_writer(&mut self.text, line).map_err(std::io::Error::from);
        self.text.push(b'\n');
        // A line is taken whole or, while the disk is full, not at all.
        let written = written.and_then(|()| self.file.write_all(&self.text));
        self.note(written);
    }

    fn flush(&mut self) {
        let written = self.file.flush();
        self.note(written);
    }

    fn note(&mut self, written: std::io::Result<()>) {
        match written {
            Ok(()) => self.broken = false,
            Err(error) if !self.broken => {
                self.broken = true;
                tracing::error!(%error, "the event log can't be written: `keyweir verify` will miss steps");
            }
            Err(_) => {}
        }
    }
}

/// A key, as a line names it.
pub fn key_name(hash: u64) -> String {
    format!("{hash:016x}")
}

fn ending(verdict: Option<&Verdict>) -> Ending {
    match verdict {
        Some(Verdict::Done) => Ending::Done,
        Some(Verdict::Retry { .. }) => Ending::Retry,
        Some(Verdict::Reject(_)) => Ending::Reject,
        Some(Verdict::Unavailable { .. }) => Ending::Unavailable,
        None => Ending::Cancelled,
    }
}

impl Observer for EventLog {
    fn record(
        &mut self,
        shard: &Arc<ShardId>,
        fence: Fence,
        key: Option<&[u8]>,
        record: &Record,
        event: RecordEvent<'_>,
    ) {
        let (step, attempt, verdict) = match event {
            RecordEvent::Polled { replayed: false } => (Step::Polled, None, None),
            RecordEvent::Polled { replayed: true } => (Step::Skipped, None, None),
            RecordEvent::Started(attempt) => (Step::Started, Some(attempt.0), None),
            RecordEvent::Ended(attempt, verdict) => (Step::Ended, Some(attempt.0), Some(ending(verdict))),
            RecordEvent::SetAside(_) => (Step::SetAside, None, None),
        };
        let mut lines = self.lines();
        let mut line = lines.line(step, shard, fence);
        line.offset = Some(record.offset.0);
        line.key = key.map(|key| key_name(key_hash(key)));
        line.attempt = attempt;
        line.verdict = verdict;
        if let RecordEvent::SetAside(aside) = event {
            line.aside = Some(match aside {
                Aside::DeadLettered => Road::DeadLettered,
                Aside::Parked => Road::Parked,
                Aside::Skipped => Road::Skipped,
                Aside::Superseded => Road::Superseded,
            });
        }
        lines.write(&line);
    }

    fn gone(&mut self, shard: &Arc<ShardId>, fence: Fence, key: Option<&[u8]>, offset: Offset) {
        let mut lines = self.lines();
        let mut line = lines.line(Step::Gone, shard, fence);
        line.offset = Some(offset.0);
        line.key = key.map(|key| key_name(key_hash(key)));
        lines.write(&line);
    }

    fn shard(&mut self, shard: &Arc<ShardId>, fence: Fence, event: ShardEvent) {
        let step = match event {
            ShardEvent::Owned => Step::Owned,
            ShardEvent::Released => Step::Released,
            ShardEvent::Activated | ShardEvent::WillRelease => return,
        };
        let mut lines = self.lines();
        let line = lines.line(step, shard, fence);
        lines.write(&line);
        lines.flush();
    }

    fn tick(&mut self) {
        self.lines().flush();
    }
}

impl ExecutionLog for EventLog {
    fn began(&self, request: &Request) {
        self.execution(Step::Running, request, None);
    }

    fn ended(&self, request: &Request, verdict: Option<&Verdict>) {
        self.execution(Step::Ran, request, Some(ending(verdict)));
    }
}

impl EventLog {
    fn execution(&self, step: Step, request: &Request, verdict: Option<Ending>) {
        let mut lines = self.lines();
        let mut line = lines.line(step, &request.shard, request.fence);
        line.offset = Some(request.record.offset.0);
        line.key = request.key_hash.map(key_name);
        line.attempt = Some(request.attempt.0);
        line.verdict = verdict;
        lines.write(&line);
    }
}
