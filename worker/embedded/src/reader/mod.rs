//! `EmbeddedReader`: the hot half of a source. A thread reads ahead of the pump, bounded in bytes; the pump's side
//! never touches the disk.
//!
//! ```text
//! pump ──what is wanted (state)──▶ feed (thread) ◀── ends of partitions, woken by commits
//! pump ◀── records, trouble ────── feed              reads blocks while there is room
//! ```

mod feed;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use keyweir_core::{Offset, ShardId, ShardIndex};
use keyweir_engine::Record;
use keyweir_engine::ports::{Batch, Intake, Reader, SourceError};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::writer::Followed;
use feed::Feed;

/// A shard that is to be read.
#[derive(Clone, Debug)]
struct Wanted {
    id: Arc<ShardId>,
    from: Offset,
    /// Tells this opening of the handle from earlier ones.
    tenure: u64,
    paused: bool,
}

/// What the feed has to say of one shard.
#[derive(Debug)]
struct Fed {
    shard: ShardIndex,
    tenure: u64,
    news: News,
    /// Room in the read-ahead that is given back when this is taken.
    _room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum News {
    Records(Vec<Record>),
    /// Records below that offset are no more.
    Position(Offset),
    Trouble(SourceError),
    Recovered,
}

/// The hot half of a source over the log of a data directory.
#[derive(Debug)]
pub struct EmbeddedReader {
    /// What is to be read, by handle; `None` only while the reader is dropped.
    wanted: Option<watch::Sender<BTreeMap<ShardIndex, Wanted>>>,
    fed: mpsc::Receiver<Fed>,
    next_tenure: u64,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// News waiting to be taken: their bytes are bounded apart, by the read-ahead.
const NEWS: usize = 256;

impl EmbeddedReader {
    pub(crate) fn start(followed: Followed, read_ahead: usize) -> io::Result<Self> {
        let wanted = watch::Sender::new(BTreeMap::new());
        let (news, fed) = mpsc::channel(NEWS);
        let feed = Feed::new(followed, wanted.subscribe(), news, read_ahead);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = std::thread::Builder::new()
            .name("keyweir-feed".to_owned())
            .spawn(move || runtime.block_on(feed.run()))?;
        Ok(Self { wanted: Some(wanted), fed, next_tenure: 0, thread: Some(thread) })
    }

    fn want(&self, change: impl FnOnce(&mut BTreeMap<ShardIndex, Wanted>)) {
        if let Some(wanted) = &self.wanted {
            wanted.send_modify(change);
        }
    }

    fn set_paused(&self, shard: ShardIndex, paused: bool) {
        self.want(|all| {
            if let Some(wanted) = all.get_mut(&shard) {
                wanted.paused = paused;
            }
        });
    }

    fn is_current(&self, shard: ShardIndex, tenure: u64) -> bool {
        self.wanted.as_ref().is_some_and(|all| all.borrow().get(&shard).is_some_and(|w| w.tenure == tenure))
    }
}

impl Reader for EmbeddedReader {
    fn open(&mut self, shard: ShardIndex, id: &ShardId, from: Offset) {
        self.next_tenure += 1;
        let wanted = Wanted { id: Arc::new(id.clone()), from, tenure: self.next_tenure, paused: false };
        self.want(|all| drop(all.insert(shard, wanted)));
    }

    fn close(&mut self, shard: ShardIndex) {
        self.want(|all| drop(all.remove(&shard)));
    }

    fn pause(&mut self, shard: ShardIndex) {
        self.set_paused(shard, true);
    }

    fn resume(&mut self, shard: ShardIndex) {
        self.set_paused(shard, false);
    }

    async fn next(&mut self) -> Intake {
        loop {
            let Some(Fed { shard, tenure, news, _room }) = self.fed.recv().await else {
                return std::future::pending().await;
            };
            if !self.is_current(shard, tenure) {
                continue;
            }
            let positions = |offset| Batch { records: Vec::new(), positions: vec![(shard, offset)] };
            return match news {
                News::Records(records) => Intake::Batch(Batch { records, positions: Vec::new() }),
                News::Position(offset) => Intake::Batch(positions(offset)),
                News::Trouble(error) => Intake::Trouble(Some(shard), error),
                News::Recovered => Intake::Recovered(Some(shard)),
            };
        }
    }
}

impl Drop for EmbeddedReader {
    fn drop(&mut self) {
        self.wanted = None;
        self.fed.close();
        // It sees the closed channels between two reads.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
