//! The thread behind a reader: takes shards in turn, reads a few blocks of one, hands them over, and sleeps when all
//! are read, paused, or the read-ahead is full.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use keyweir_core::{Offset, ShardId, ShardIndex};
use keyweir_engine::Record;
use keyweir_engine::ports::SourceError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::{Fed, News, Wanted};
use crate::log::block::Block;
use crate::log::read;
use crate::log::topic::View;
use crate::source::{find_shard, source_error};
use crate::store::{Panicked, error::StoreError};
use crate::writer::Followed;

/// How much of one shard is read before the next one has its turn.
const TURN: usize = 128 << 10;

/// The read-ahead is counted in units of so many bytes.
const UNIT: usize = 1 << 10;

/// When a shard in trouble is tried again though nothing seems to have changed.
const RETRY: Duration = Duration::from_secs(1);

/// How far an open shard has been read.
struct Open {
    wanted: Wanted,
    next: Offset,
    troubled: bool,
}

/// What one turn of a shard came to.
enum Turn {
    Read(Vec<Record>, usize),
    /// Nothing is there yet.
    AtEnd,
    /// What was to be read is no more: on at this offset.
    Skipped(Offset),
    Failed(SourceError),
}

pub(super) struct Feed {
    followed: Followed,
    wanted: watch::Receiver<BTreeMap<ShardIndex, Wanted>>,
    news: mpsc::Sender<Fed>,
    room: Arc<Semaphore>,
    units: usize,
    shards: BTreeMap<ShardIndex, Open>,
    /// The shard that had the last turn.
    last: Option<ShardIndex>,
}

impl Feed {
    pub(super) fn new(
        followed: Followed,
        wanted: watch::Receiver<BTreeMap<ShardIndex, Wanted>>,
        news: mpsc::Sender<Fed>,
        read_ahead: usize,
    ) -> Self {
        // Room for two turns, so that one is read while the other is taken.
        let units = (read_ahead / UNIT).clamp(2 * TURN / UNIT, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let room = Arc::new(Semaphore::new(units));
        Self { followed, wanted, news, room, units, shards: BTreeMap::new(), last: None }
    }

    /// Runs until the reader is dropped.
    pub(super) async fn run(mut self) {
        while !self.news.is_closed() {
            // What changes from here on wakes the wait below.
            self.followed.view.borrow_and_update();
            self.followed.commits.borrow_and_update();
            self.follow_wishes();
            if !self.round().await {
                self.wait().await;
            }
        }
    }

    /// Opens, closes and pauses shards as the reader wants it by now.
    fn follow_wishes(&mut self) {
        if !self.wanted.has_changed().unwrap_or(false) {
            return;
        }
        let all = self.wanted.borrow_and_update().clone();
        self.shards.retain(|shard, open| all.get(shard).is_some_and(|now| now.tenure == open.wanted.tenure));
        for (shard, wanted) in all {
            let fresh = Open { next: wanted.from, wanted: wanted.clone(), troubled: false };
            self.shards.entry(shard).or_insert(fresh).wanted = wanted;
        }
    }

    /// Sleeps until something may have changed. Every arm is only a wake-up, so their order does not matter.
    async fn wait(&mut self) {
        let troubled = self.shards.values().any(|open| open.troubled);
        let Followed { view, commits } = &mut self.followed;
        tokio::select! {
            biased;
            () = self.news.closed() => {}
            Ok(()) = self.wanted.changed() => self.wanted.mark_changed(),
            Ok(()) = commits.changed() => {}
            Ok(()) = view.changed() => {}
            () = tokio::time::sleep(RETRY), if troubled => {}
        }
    }

    /// Gives the next shard that has something its turn. `false` = none has.
    async fn round(&mut self) -> bool {
        let view = self.followed.view.borrow().clone();
        let after = self.last.map_or(0, |last| last.0.saturating_add(1));
        let (before, behind): (Vec<_>, Vec<_>) = self.shards.keys().partition(|shard| shard.0 < after);
        for shard in behind.into_iter().chain(before) {
            if self.turn(&view, shard).await {
                self.last = Some(shard);
                return true;
            }
        }
        false
    }

    async fn turn(&mut self, view: &View, shard: ShardIndex) -> bool {
        let Some(open) = self.shards.get_mut(&shard).filter(|open| !open.wanted.paused) else { return false };
        let tenure = open.wanted.tenure;
        let turn = read(view, shard, &open.wanted.id, open.next);
        let (news, weight) = match turn {
            Turn::AtEnd if !open.troubled => return false,
            Turn::AtEnd => {
                open.troubled = false;
                (vec![News::Recovered], 0)
            }
            Turn::Failed(_) if open.troubled => return false,
            Turn::Failed(error) => {
                open.troubled = true;
                (vec![News::Trouble(error)], 0)
            }
            Turn::Skipped(offset) => {
                let lost =
                    SourceError::OutOfRange { shard: ShardId::clone(&open.wanted.id), offset: open.next };
                open.next = offset;
                open.troubled = true;
                (vec![News::Trouble(lost), News::Position(offset)], 0)
            }
            Turn::Read(records, weight) => {
                open.next = records.last().map_or(open.next, |record| record.offset.next());
                let recovered = std::mem::take(&mut open.troubled).then_some(News::Recovered);
                (recovered.into_iter().chain([News::Records(records)]).collect(), weight)
            }
        };
        self.hand_over(shard, tenure, news, weight).await
    }

    /// Waits for room and gives the news to the reader. `true`: the next round sees whether the reader is gone.
    async fn hand_over(&mut self, shard: ShardIndex, tenure: u64, news: Vec<News>, weight: usize) -> bool {
        let mut room = if weight > 0 { self.room_for(weight).await } else { None };
        for news in news {
            let carried = if matches!(news, News::Records(_)) { room.take() } else { None };
            if self.news.send(Fed { shard, tenure, news, _room: carried }).await.is_err() {
                return true;
            }
        }
        true
    }

    /// Room in the read-ahead; a turn above it all is admitted alone.
    async fn room_for(&self, weight: usize) -> Option<OwnedSemaphorePermit> {
        let units = weight.div_ceil(UNIT).min(self.units) as u32;
        let room = std::pin::pin!(self.room.clone().acquire_many_owned(units));
        let gone = std::pin::pin!(self.news.closed());
        match select(room, gone).await {
            Either::Left((room, _)) => room.ok(),
            Either::Right(_) => None,
        }
    }
}

/// One turn of a shard. The store answers some kinds of damage with a panic: that is trouble of this shard only.
fn read(view: &View, shard: ShardIndex, id: &ShardId, from: Offset) -> Turn {
    let (store, topic) = match find_shard(view, id) {
        Ok(found) => found,
        Err(error) => return Turn::Failed(error),
    };
    let bounds = topic.bounds(id.index);
    if from < bounds.first {
        return Turn::Skipped(bounds.first);
    }
    if from > bounds.end {
        return Turn::Failed(SourceError::OutOfRange { shard: id.clone(), offset: from });
    }
    if from == bounds.end {
        return Turn::AtEnd;
    }
    let blocks = catch_unwind(AssertUnwindSafe(|| read::blocks(&store, &topic, id.index, from, TURN)));
    let blocks = match blocks {
        Ok(Ok(blocks)) => blocks,
        Ok(Err(error)) => return Turn::Failed(source_error(id, error)),
        Err(panic) => {
            let damaged = StoreError::damaged(id.to_string(), Panicked::from(panic));
            return Turn::Failed(source_error(id, damaged));
        }
    };
    records(shard, id, from, &blocks)
}

fn records(shard: ShardIndex, id: &ShardId, from: Offset, blocks: &[Block]) -> Turn {
    let (mut records, mut weight) = (Vec::new(), 0);
    for block in blocks {
        let walked = block.records(shard, from, |record| {
            weight += record.weight();
            records.push(record);
        });
        if let Err(error) = walked {
            return Turn::Failed(source_error(id, StoreError::damaged(id.to_string(), error)));
        }
    }
    // Blocks below the end that hold nothing of this partition: a hole that nothing can fill.
    if records.is_empty() {
        let hole = StoreError::damaged(id.to_string(), crate::log::BlockError::Place);
        return Turn::Failed(source_error(id, hole));
    }
    Turn::Read(records, weight)
}
