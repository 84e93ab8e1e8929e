//! One path as this process reads it: its open slots, and the one task that all of them share. Up: [the source](super).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use keyweir_contract::hash::fnv1a;
use keyweir_engine::ports::{Batch, Intake, SourceError, StoreError};
use keyweir_engine::{Arena, Record};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::change::{Change, Stored};
use super::follow::{Ended, Fed, News, Order, Room, follow};
use super::slot::{Need, Slot, TooMany};
use super::{Settings, prefix_of};
use crate::client::Connection;

/// Slots are opened in crowds: one task serves those that come within so long.
const CROWD: Duration = Duration::from_millis(20);

/// How long to wait after a failure, and after many of them.
const AGAIN: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How many news may wait to be taken; their changes are counted apart.
const NEWS: usize = 16;

/// The slot of a key. The same everywhere and in every version: checkpoints belong to slots.
pub(super) fn slot_of(key: &[u8], slots: u32) -> u32 {
    let hash = fnv1a(key.iter().copied());
    ((hash ^ hash >> 32) % u64::from(slots.max(1))) as u32
}

/// An open slot, and whether its records are wanted now.
#[derive(Debug)]
struct Open {
    slot: Slot,
    paused: bool,
    /// It takes part in the listing under way.
    lists: bool,
}

/// The task that follows the path.
#[derive(Debug)]
struct Session {
    news: mpsc::Receiver<Fed>,
    _task: AbortOnDropHandle<()>,
}

/// One path.
#[derive(Debug)]
pub(super) struct Path {
    prefix: Arc<str>,
    connection: Connection,
    settings: Arc<Settings>,
    room: Room,
    slots: BTreeMap<u32, Open>,
    session: Option<Session>,
    /// The session does not do what is needed now.
    stale: bool,
    /// Failures in a row.
    failures: u32,
    arena: Arena,
}

impl Path {
    pub(super) fn new(path: &str, connection: Connection, settings: Arc<Settings>, room: Room) -> Self {
        Self {
            prefix: prefix_of(path).into(),
            connection,
            settings,
            room,
            slots: BTreeMap::new(),
            session: None,
            stale: false,
            failures: 0,
            arena: Arena::new(),
        }
    }

    pub(super) fn open(&mut self, index: u32, slot: Slot) {
        self.slots.insert(index, Open { slot, paused: false, lists: false });
        self.stale = true;
    }

    /// Gives the slot away; what is still on its way to it is passed over.
    pub(super) fn close(&mut self, index: u32) -> Option<Slot> {
        let closed = self.slots.remove(&index);
        if self.slots.is_empty() {
            self.session = None;
        }
        closed.map(|open| open.slot)
    }

    pub(super) fn pause(&mut self, index: u32) {
        if let Some(open) = self.slots.get_mut(&index) {
            open.paused = true;
        }
    }

    /// What it missed is read again.
    pub(super) fn resume(&mut self, index: u32) {
        if let Some(open) = self.slots.get_mut(&index).filter(|open| open.paused) {
            open.paused = false;
            self.stale = true;
        }
    }

    pub(super) fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(&index).map(|open| &mut open.slot)
    }

    /// Whether it can't be reached.
    pub(super) fn is_troubled(&self) -> bool {
        // One failure is no trouble yet: a server that restarts closes every watch.
        self.failures > 1
    }

    /// The next news; starts a task where one is needed.
    pub(super) fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        if self.stale {
            self.begin(CROWD);
        }
        let Some(session) = &mut self.session else {
            return Poll::Pending;
        };
        match session.news.poll_recv(cx) {
            Poll::Ready(Some(fed)) => Poll::Ready(fed.news),
            // A task that ends without a word has panicked.
            Poll::Ready(None) => Poll::Ready(News::Ended(Ended::Failed(StoreError::Unreachable {
                act: "watch keys",
                source: "the task that follows the path has ended".into(),
            }))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Orders what the slots need now.
    fn begin(&mut self, delay: Duration) {
        self.stale = false;
        let needs: Vec<Need> =
            self.slots.values().filter(|open| !open.paused).map(|open| open.slot.need()).collect();
        if needs.is_empty() {
            self.session = None;
            return;
        }
        let mut listings: Vec<u64> = needs
            .iter()
            .filter_map(|need| match need {
                Need::List(revision) => Some(*revision),
                Need::ListNow | Need::Follow(_) => None,
            })
            .collect();
        listings.sort_unstable();
        listings.dedup();
        // One revision too early: a watch that begins exactly where the history was compacted to is let in, though
        // deletions of that revision are no more; one that begins before it is told.
        let from = needs.iter().filter_map(|need| match need {
            Need::List(revision) => Some(*revision),
            Need::Follow(revision) => Some(revision.saturating_sub(1)),
            Need::ListNow => None,
        });
        let (sender, news) = mpsc::channel(NEWS);
        let order = Order {
            connection: self.connection.clone(),
            prefix: Arc::clone(&self.prefix),
            from: from.min().map(|from| from.max(1)),
            listings,
            now: needs.contains(&Need::ListNow),
            page_size: self.settings.page_size,
            delay,
            room: self.room.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(follow(order, sender)));
        self.session = Some(Session { news, _task: task });
    }

    /// What news mean to the slots. Room for what is read ahead is given back with the news.
    pub(super) fn take(&mut self, news: News, out: &mut VecDeque<Intake>) {
        let mut batch = Batch::default();
        let mut after = Vec::new();
        match news {
            News::Opened => self.opened(&mut batch, &mut after),
            News::Listing { revision, now } => {
                for open in self.slots.values_mut() {
                    open.lists = !open.paused && open.slot.begin_listing(revision, now);
                }
            }
            News::Page(page) => self.page(&page, &mut batch.records, &mut after),
            News::Listed(revision) => self.listed(revision, &mut batch, &mut after),
            News::Changes(revision, changes) => self.changes(revision, &changes, &mut batch, &mut after),
            News::Ended(ended) => self.ended(ended, &mut after),
        }
        if !batch.records.is_empty() || !batch.positions.is_empty() {
            out.push_back(Intake::Batch(batch));
        }
        out.extend(after);
    }

    fn opened(&mut self, batch: &mut Batch, after: &mut Vec<Intake>) {
        if self.failures > 1 {
            after.push(Intake::Recovered(None));
        }
        self.failures = 0;
        let following = self.slots.values_mut().filter(|open| !open.paused && open.slot.is_following());
        batch.positions.extend(following.map(|open| (open.slot.handle(), open.slot.tell())));
    }

    fn page(&mut self, page: &[Stored], records: &mut Vec<Record>, after: &mut Vec<Intake>) {
        for found in page {
            let index = slot_of(&found.key, self.settings.slots);
            if let Some(open) = self.slots.get_mut(&index).filter(|open| open.lists && !open.paused)
                && let Err(error) = open.slot.list(found, &mut self.arena, records)
            {
                after.push(overfull(open, error));
            }
        }
    }

    fn listed(&mut self, revision: u64, batch: &mut Batch, after: &mut Vec<Intake>) {
        for open in self.slots.values_mut().filter(|open| open.lists && !open.paused) {
            open.lists = false;
            let every = self.settings.every;
            match open.slot.end_listing(revision, every, &mut self.arena, &mut batch.records) {
                Ok(listed) => {
                    batch.positions.push((open.slot.handle(), open.slot.tell()));
                    if listed.resynced {
                        let shard = open.slot.handle();
                        after.push(Intake::Resynced { shard, lost: listed.lost });
                    }
                }
                Err(error) => after.push(overfull(open, error)),
            }
        }
    }

    fn changes(&mut self, to: u64, changes: &[Change], batch: &mut Batch, after: &mut Vec<Intake>) {
        // How many changes of a slot there were so far at the revision at hand.
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let mut revision = 0;
        for change in changes {
            if change.revision() != revision {
                revision = change.revision();
                numbers.clear();
            }
            let index = slot_of(change.key(), self.settings.slots);
            let number = numbers.entry(index).or_default();
            let at = *number;
            *number += 1;
            let Some(open) = self.slots.get_mut(&index).filter(|open| !open.paused) else {
                continue;
            };
            match open.slot.follow(change, at, &mut self.arena) {
                Ok(record) => batch.records.extend(record),
                Err(error) => after.push(overfull(open, error)),
            }
        }
        for open in self.slots.values_mut().filter(|open| !open.paused) {
            open.slot.pass(to);
            batch.positions.extend(open.slot.position().map(|position| (open.slot.handle(), position)));
        }
    }

    fn ended(&mut self, ended: Ended, after: &mut Vec<Intake>) {
        match ended {
            Ended::Compacted(revision) => {
                for open in self.slots.values_mut().filter(|open| !open.paused) {
                    open.slot.compacted(revision);
                }
                self.begin(Duration::ZERO);
            }
            Ended::Failed(error) => {
                self.failures += 1;
                if self.is_troubled() {
                    after.push(Intake::Trouble(None, source_error(&self.prefix, error)));
                }
                let wait = AGAIN.saturating_mul(1 << (self.failures - 1).min(8)).min(LONGEST_WAIT);
                self.begin(wait);
            }
        }
    }
}

/// A slot that can't number its changes stands still, visibly.
fn overfull(open: &mut Open, error: TooMany) -> Intake {
    open.paused = true;
    let what = "changes of a slot".to_owned();
    Intake::Trouble(Some(open.slot.handle()), SourceError::Damaged { what, source: error.into() })
}

/// What the store's refusal means for a source.
pub(super) fn source_error(what: &str, error: StoreError) -> SourceError {
    let what = what.to_owned();
    match error {
        StoreError::Refused { .. } => SourceError::Refused { what, source: error.into() },
        error => SourceError::Unreachable { what, source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_slot_is_the_same_for_ever() {
        let slots = ["/shop/a", "/shop/b", "/shop/orders/17"].map(|key| slot_of(key.as_bytes(), 64));
        assert_eq!(slots, [61, 48, 11], "changed? then every checkpoint would mean other keys");
    }

    #[test]
    fn keys_spread_over_all_slots() {
        let mut counts = [0; 64];
        for number in 0..6_400 {
            counts[slot_of(format!("/shop/orders/{number}").as_bytes(), 64) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (50..=160).contains(count)), "{counts:?}");
    }
}
