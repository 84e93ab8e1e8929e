//! The task behind one path: opens a watch, lists what has to be listed, then tells each change. Up: [the source](super).
//!
//! It knows nothing of slots and keeps nothing: whoever wants something else, or has lost a part, drops it and orders
//! another one. The watch is opened first and reaches back to the listings' revision, so that there is no gap; pages
//! of a listing are of one revision, and begin behind the last key of the page before.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, GetOptions, WatchOptions, WatchResponse, WatchStream};
use keyweir_engine::ports::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::change::{Change, Stored};
use crate::client::Connection;
use crate::convert;
use crate::error::{is_refusal, store_error};
use crate::lease_store::{LARGEST_ANSWER, header_revision};
use crate::range::{behind, prefix_end};

const WATCH: &str = "watch keys";
const LIST: &str = "list keys";

/// Read-ahead is counted in units of so many bytes.
const UNIT: usize = 1024;

/// What is wanted of a path.
pub(super) struct Order {
    pub(super) connection: Connection,
    /// What all its keys begin with.
    pub(super) prefix: Arc<str>,
    /// Changes from this revision on; `None` = from the present one.
    pub(super) from: Option<u64>,
    /// The path as it stood at these revisions, ascending.
    pub(super) listings: Vec<u64>,
    /// And as it stands now.
    pub(super) now: bool,
    pub(super) page_size: u32,
    /// How long to wait before anything is sent.
    pub(super) delay: Duration,
    pub(super) room: Room,
}

/// How much may wait to be taken.
#[derive(Debug, Clone)]
pub(super) struct Room {
    changes: Arc<Semaphore>,
    most_changes: u32,
    units: Arc<Semaphore>,
    most_units: u32,
}

/// Gives its room back when it is dropped.
pub(super) type Taken = (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>);

impl Room {
    /// Room for so many changes of so many bytes together. What is larger than all of it passes alone.
    pub(super) fn new(changes: u32, bytes: usize) -> Self {
        let most_units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 4);
        Self {
            changes: Arc::new(Semaphore::new(changes as usize)),
            most_changes: changes,
            units: Arc::new(Semaphore::new(most_units as usize)),
            most_units,
        }
    }

    /// Waits for room. Never fails: nobody closes it.
    async fn take(&self, changes: usize, bytes: usize) -> Taken {
        let take = async |from: &Arc<Semaphore>, wanted: usize, most: u32| {
            let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).min(most);
            Arc::clone(from).acquire_many_owned(wanted).await.ok()
        };
        let changes = take(&self.changes, changes, self.most_changes).await;
        (changes, take(&self.units, bytes.div_ceil(UNIT), self.most_units).await)
    }
}

/// What the task has to say, and the room that it takes.
pub(super) struct Fed {
    pub(super) news: News,
    _room: Taken,
}

/// What the task has to say.
#[derive(Debug)]
pub(super) enum News {
    /// The watch is open.
    Opened,
    /// A listing at that revision begins; `now` = the one that was wanted of the present.
    Listing { revision: u64, now: bool },
    /// Its next keys, ascending.
    Page(Vec<Stored>),
    /// It is over.
    Listed(u64),
    /// All changes up to a revision.
    Changes(u64, Vec<Change>),
    /// Nothing more comes.
    Ended(Ended),
}

/// Why nothing more comes.
#[derive(Debug)]
pub(super) enum Ended {
    /// History up to and with that revision is gone.
    Compacted(u64),
    Failed(StoreError),
}

/// The server ended the watch.
#[derive(Debug, thiserror::Error)]
#[error("failed to go on watching: {reason}")]
struct Cancelled {
    reason: String,
}

/// Carries out an order until it fails, or nobody listens any more.
pub(super) async fn follow(order: Order, out: mpsc::Sender<Fed>) {
    tokio::time::sleep(order.delay).await;
    let Err(ended) = Following { order, out: &out }.run().await;
    // Nobody listening any more is the listener's choice.
    let _ = out.send(Fed { news: News::Ended(ended), _room: (None, None) }).await;
}

struct Following<'a> {
    order: Order,
    out: &'a mpsc::Sender<Fed>,
}

impl Following<'_> {
    async fn run(mut self) -> Result<Infallible, Ended> {
        let now = if self.order.now { Some(self.present().await?) } else { None };
        let from = match (self.order.from, now) {
            (Some(from), Some(now)) => from.min(now),
            (Some(from), None) => from,
            (None, Some(now)) => now,
            (None, None) => self.present().await?,
        };
        let mut watch = self.open(from).await?;
        self.tell(News::Opened).await;
        for revision in std::mem::take(&mut self.order.listings) {
            self.list(revision, false).await?;
        }
        if let Some(revision) = now {
            self.list(revision, true).await?;
        }
        loop {
            if let Some(changes) = next(&mut watch, from).await? {
                let revision = changes.last().map_or(from, Change::revision);
                let bytes = changes.iter().map(Change::weight).sum();
                let room = self.order.room.take(changes.len(), bytes).await;
                self.send(News::Changes(revision, changes), room).await;
            }
        }
    }

    async fn tell(&self, news: News) {
        self.send(news, (None, None)).await;
    }

    async fn send(&self, news: News, room: Taken) {
        if self.out.send(Fed { news, _room: room }).await.is_err() {
            // Nobody listens any more: this task is about to be dropped.
            std::future::pending::<()>().await;
        }
    }

    /// The store's present revision.
    async fn present(&self) -> Result<u64, Ended> {
        present(&self.order.connection, &self.order.prefix)
            .await
            .map(|(revision, _)| revision)
            .map_err(Ended::Failed)
    }

    /// Opens the watch. The server has it when this returns.
    async fn open(&self, from: u64) -> Result<WatchStream, Ended> {
        let prefix = self.order.prefix.as_bytes();
        let options = WatchOptions::new()
            .with_range(prefix_end(prefix))
            .with_start_revision(convert::signed(from))
            .with_prev_key();
        let open = async |client: Client| {
            let mut client = client.watch_client().max_decoding_message_size(LARGEST_ANSWER);
            let mut watch = client.watch(prefix, Some(options)).await?;
            let first = watch.message().await?;
            Ok((watch, first))
        };
        let opened = self.order.connection.call(WATCH, from, open).await;
        let (watch, first) = opened.map_err(|error| ended(error, from))?;
        look_at(first.as_ref(), from)?;
        Ok(watch)
    }

    /// Tells what stood at a revision, page after page.
    async fn list(&self, revision: u64, now: bool) -> Result<(), Ended> {
        self.tell(News::Listing { revision, now }).await;
        let mut from = self.order.prefix.as_bytes().to_vec();
        loop {
            let (page, more) = self.page(from, revision).await?;
            let last = page.last().map(|found| behind(&found.key));
            let bytes = page.iter().map(Stored::weight).sum();
            let room = self.order.room.take(page.len(), bytes).await;
            self.send(News::Page(page), room).await;
            match last.filter(|_| more) {
                Some(behind) => from = behind,
                None => break,
            }
        }
        self.tell(News::Listed(revision)).await;
        Ok(())
    }

    async fn page(&self, from: Vec<u8>, revision: u64) -> Result<(Vec<Stored>, bool), Ended> {
        let options = GetOptions::new()
            .with_range(prefix_end(self.order.prefix.as_bytes()))
            .with_limit(self.order.page_size.into())
            .with_revision(convert::signed(revision));
        let get = async |client: Client| {
            let mut client = client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
            client.get(from, Some(options)).await
        };
        let mut page =
            self.order.connection.call(LIST, revision, get).await.map_err(|error| match error {
                // What is still listed is of the revision that was compacted to.
                StoreError::Compacted { from } => Ended::Compacted(from + 1),
                error => Ended::Failed(error),
            })?;
        Ok((page.take_kvs().into_iter().map(Stored::from).collect(), page.more()))
    }
}

/// The store's present revision, and the cluster that said so.
pub(super) async fn present(connection: &Connection, prefix: &str) -> Result<(u64, u64), StoreError> {
    let options = GetOptions::new().with_count_only();
    let answer = connection
        .call("ask for the revision", 0, async |client| client.kv_client().get(prefix, Some(options)).await);
    let answer = answer.await?;
    let cluster = answer.header().map(etcd_client::ResponseHeader::cluster_id);
    let told = header_revision(answer.header()).zip(cluster);
    told.ok_or_else(|| crate::lease_store::incomplete("ask for the revision"))
}

/// The next changes; `None` = news without changes.
async fn next(watch: &mut WatchStream, from: u64) -> Result<Option<Vec<Change>>, Ended> {
    let told = watch.message().await.map_err(|error| ended(store_error(WATCH, from, None, error), from))?;
    look_at(told.as_ref(), from)?;
    let changes: Vec<Change> = told.iter().flat_map(|told| told.events()).filter_map(Change::of).collect();
    Ok((!changes.is_empty()).then_some(changes))
}

/// Whether a watch goes on after what the server said.
fn look_at(told: Option<&WatchResponse>, from: u64) -> Result<(), Ended> {
    let Some(told) = told else {
        let source = Cancelled { reason: "the stream is closed".to_owned() };
        return Err(Ended::Failed(StoreError::Unreachable { act: WATCH, source: source.into() }));
    };
    let compacted = convert::revision(told.compact_revision());
    if compacted > 0 {
        return Err(Ended::Compacted(compacted.max(from + 1)));
    }
    if told.canceled() {
        let reason = told.cancel_reason();
        let source = Cancelled { reason: reason.to_owned() };
        return Err(Ended::Failed(match is_refusal(reason) {
            true => StoreError::Refused { act: WATCH, source: source.into() },
            false => StoreError::Unreachable { act: WATCH, source: source.into() },
        }));
    }
    Ok(())
}

fn ended(error: StoreError, from: u64) -> Ended {
    match error {
        StoreError::Compacted { .. } => Ended::Compacted(from + 1),
        error => Ended::Failed(error),
    }
}
