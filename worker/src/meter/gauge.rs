//! One object's lag, asked of its source: from the group's offset, or from where the object would start.

use std::sync::Arc;
use std::time::Duration;

use keyweir_contract::WorkerConfig;
use keyweir_contract::meter::{Backlog, Measured, MeterTrouble, Provisioning, Reading};
use keyweir_core::ShardId;
use keyweir_engine::error_chain;
use keyweir_engine::ports::{MirrorState, Source, SourceError, StartAt};
use tokio::time::{Instant, timeout};

use crate::missing::missing;
use crate::provision::provision;
use crate::wiring;

/// A source that does not answer within this time leaves the lag unknown.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often shards are listed.
const LIST_AGAIN: Duration = Duration::from_secs(10);

/// Measures one object.
pub(super) struct Gauge {
    config: WorkerConfig,
    source: Arc<dyn Source>,
    start: StartAt,
    shards: Vec<ShardId>,
    listed: Option<Instant>,
    measured: Option<Measured>,
    provisioned: Option<Provisioning>,
    looked: Option<Instant>,
}

impl Gauge {
    /// A gauge for an object; `None` = its source can't be asked from outside.
    pub(super) fn of(config: &WorkerConfig) -> Option<Self> {
        let (source, start) = (wiring::source(config)?, wiring::start(config)?);
        let config = config.clone();
        Some(Self {
            config,
            source,
            start,
            shards: Vec::new(),
            listed: None,
            measured: None,
            provisioned: None,
            looked: None,
        })
    }

    /// Whether it measures what the configuration says.
    pub(super) fn fits(&self, config: &WorkerConfig) -> bool {
        is_same(&self.config, config)
    }

    /// Asks the source. A failure leaves the lag unknown, never zero.
    pub(super) async fn measure(&mut self) {
        let late = |late| {
            let what = "the offsets".to_owned();
            Err(SourceError::Unreachable { what, source: Box::new(late) })
        };
        if let Some(trouble) = missing(self.config.fixed.source.files()).into_iter().next() {
            let reason = trouble.reason.to_owned();
            self.measured = Some(Measured::Trouble(MeterTrouble { reason, text: trouble.text }));
            return;
        }
        self.provide().await;
        let asked = timeout(PATIENCE, self.ask()).await.unwrap_or_else(late);
        self.measured = Some(match asked {
            Ok(backlog) => Measured::Backlog(backlog),
            Err(error) => {
                self.listed = None;
                let reason = error.reason().to_owned();
                Measured::Trouble(MeterTrouble { reason, text: error_chain(&error) })
            }
        });
    }

    /// What was found; `None` = nothing was asked yet.
    pub(super) fn reading(&self, name: &str) -> Option<Reading> {
        let uid = self.config.object.uid.clone();
        let (measured, provisioned) = (self.measured.clone()?, self.provisioned.clone());
        Some(Reading { name: name.to_owned(), uid, measured, provisioned })
    }

    /// Makes the topics that are missing, now and then. First, so that what was just made is measured at once.
    async fn provide(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() <= LIST_AGAIN) {
            return;
        }
        self.provisioned = provision(&self.config).await;
        self.looked = Some(Instant::now());
    }

    async fn ask(&mut self) -> Result<Backlog, SourceError> {
        if self.listed.is_none_or(|at| at.elapsed() > LIST_AGAIN) {
            self.shards = self.source.shards().await?;
            self.listed = Some(Instant::now());
        }
        backlog(self.source.as_ref(), &self.shards, self.start).await
    }
}

/// Whether both configurations have the same measured and the same topics made.
pub(super) fn is_same(one: &WorkerConfig, other: &WorkerConfig) -> bool {
    one.object == other.object && one.fixed == other.fixed && one.live.provision == other.live.provision
}

/// How far these shards are behind.
///
/// A shard without an offset starts where the object does; once the object has begun it is a new one, and starts at its
/// first record.
async fn backlog(source: &dyn Source, shards: &[ShardId], start: StartAt) -> Result<Backlog, SourceError> {
    // The offsets first: what is completed meanwhile makes the answer too high, never too low.
    let mirrors = source.mirrored(shards).await?;
    let bounds = source.bounds(shards).await?;
    let started = mirrors.iter().any(|mirror| *mirror != MirrorState::Absent);
    let mut records = 0;
    for ((shard, mirror), bounds) in shards.iter().zip(mirrors).zip(bounds) {
        let from = match (mirror, start) {
            (MirrorState::Marked { frontier: offset, .. } | MirrorState::Reset(offset), _) => offset,
            (MirrorState::Absent, StartAt::Latest) if !started => bounds.end,
            (MirrorState::Absent, StartAt::Timestamp(_)) if !started => source.resolve(shard, start).await?,
            (MirrorState::Absent, _) => bounds.first,
        };
        records += u64::try_from(bounds.end.0.saturating_sub(from.0.max(bounds.first.0))).unwrap_or(0);
    }
    let shards = u32::try_from(shards.len()).unwrap_or(u32::MAX);
    Ok(Backlog { records, shards, started })
}

#[cfg(test)]
mod tests {
    use keyweir_core::{Fence, Offset};
    use keyweir_engine::NewRecord;
    use keyweir_engine::testing::fakes::MemoryLog;

    use super::*;

    /// Two partitions with ten records each, one a second.
    fn log() -> MemoryLog {
        let log = MemoryLog::default();
        log.create("orders", 2);
        for second in 0..10 {
            for partition in 0..2 {
                let timestamp = Some(second * 1000);
                log.append("orders", partition, NewRecord { timestamp, ..NewRecord::default() });
            }
        }
        log
    }

    async fn measured(log: &MemoryLog, start: StartAt) -> (u64, bool) {
        let shards = log.shards().await.expect("the shards");
        let backlog = backlog(log, &shards, start).await.expect("a backlog");
        assert_eq!(backlog.shards, 2);
        (backlog.records, backlog.started)
    }

    /// U142: without an offset the lag counts from where the object would start, whatever the number of partitions.
    #[tokio::test]
    async fn a_group_without_an_offset_is_behind_from_its_start() {
        let log = log();
        assert_eq!(measured(&log, StartAt::Earliest).await, (20, false));
        assert_eq!(measured(&log, StartAt::Latest).await, (0, false));
        assert_eq!(measured(&log, StartAt::Timestamp(7000)).await, (6, false));
        assert_eq!(measured(&log, StartAt::Timestamp(99_000)).await, (0, false));
    }

    #[tokio::test]
    async fn an_object_that_has_begun_is_behind_from_its_offset_and_on_a_new_partition_from_the_first_record()
    {
        let log = log();
        let marked = MirrorState::Marked { frontier: Offset(8), fence: Fence::new(1, 1), sequence: 1 };
        log.set_mirror(ShardId::new("orders", 0), marked);
        assert_eq!(measured(&log, StartAt::Latest).await, (2 + 10, true));
        log.set_mirror(ShardId::new("orders", 1), MirrorState::Reset(Offset(10)));
        assert_eq!(measured(&log, StartAt::Latest).await, (2, true));
    }

    #[tokio::test]
    async fn a_source_that_does_not_answer_leaves_the_lag_unknown() {
        let log = log();
        let shards = log.shards().await.expect("the shards");
        log.set_unreachable(true);
        let failed = backlog(&log, &shards, StartAt::Earliest).await.expect_err("nobody answers");
        assert_eq!(failed.reason(), "Timeout");
    }
}
