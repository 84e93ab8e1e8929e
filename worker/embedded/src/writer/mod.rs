//! The one thread that writes: it gathers what is asked of it into groups and makes each durable with one sync.
//!
//! ```text
//! append ─┐ bounded                    ┌▶ ends of partitions ─▶ commit count ─▶ readers wake
//! save   ─┼─ channel ─▶ group ─▶ batch ─┤
//! park   ─┘             (rows, blocks)  └▶ replies
//! ```
//!
//! While the disk syncs, the next group gathers by itself. All state of the store has this one owner; readers follow
//! a [`View`] that is replaced as a whole. When the store fails it is opened anew, and callers are told to try again.
//! Up: [crate].

mod group;
mod handle;
mod request;
mod retention;
mod rows;
mod topics;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keyweir_engine::NewRecord;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use crate::lock::Lock;
use crate::log::catalogue;
use crate::log::topic::{Fill, TopicOptions, View};
use crate::store::Store;
use crate::store::error::StoreError;

use group::Group;
pub(crate) use handle::Writer;
pub use request::{AppendError, Place};
pub(crate) use request::{Change, Reply, Request};
pub(crate) use rows::{Rows, Table};

/// How many requests wait at most; behind it callers wait.
const QUEUE: usize = 1_024;
/// How much one group gathers at most. One more record may come on top.
const GROUP: usize = 8 << 20;
/// How often retention takes a step and a failed store is opened anew.
const TICK: Duration = Duration::from_secs(1);

/// What readers follow.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    /// What can be read.
    pub(crate) view: watch::Receiver<Arc<View>>,
    /// Counts commits that appended records.
    pub(crate) commits: watch::Receiver<u64>,
}

/// What the writer is started with.
pub(crate) struct Start {
    pub(crate) path: PathBuf,
    pub(crate) reserve: u64,
    pub(crate) topic_defaults: TopicOptions,
    /// Held until the store is closed.
    pub(crate) lock: Lock,
}

/// Opens the store and starts the thread.
pub(crate) fn start(start: Start) -> Result<(Writer, Followed), crate::data_dir::OpenError> {
    use crate::data_dir::OpenError;
    let path = start.path.clone();
    let (requests, queue) = mpsc::channel(QUEUE);
    let (view, commits) = (watch::Sender::new(Arc::default()), watch::Sender::new(0));
    let followed = Followed { view: view.subscribe(), commits: commits.subscribe() };
    let mut owner = Owner {
        path: start.path,
        reserve: start.reserve,
        topic_defaults: start.topic_defaults,
        view,
        commits,
        fills: HashMap::new(),
        away: None,
    };
    owner.open().map_err(|source| OpenError::Store { path: path.clone(), source })?;
    let spawned = std::thread::Builder::new().name("keyweir-log".to_owned()).spawn(move || {
        let lock = start.lock;
        owner.run(queue);
        drop(owner);
        drop(lock);
    });
    let thread = spawned.map_err(|source| OpenError::Io { act: "start the writer of", path, source })?;
    Ok((Writer::new(requests, thread), followed))
}

/// The thread's state.
struct Owner {
    path: PathBuf,
    reserve: u64,
    topic_defaults: TopicOptions,
    view: watch::Sender<Arc<View>>,
    commits: watch::Sender<u64>,
    /// How much each segment holds, by topic and segment number.
    fills: HashMap<(u32, u64), Fill>,
    /// Why the store is away, and since when.
    away: Option<(StoreError, Instant)>,
}

impl Owner {
    fn run(&mut self, mut queue: mpsc::Receiver<Request>) {
        // Nothing else runs on this thread, so a commit may block it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let Ok(runtime) =
            runtime.inspect_err(|error| tracing::error!(%error, "the log's timer did not start"))
        else {
            return;
        };
        runtime.block_on(async {
            let mut tick = tokio::time::interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                // The tick first: it is rare and short, and a busy queue must not keep old records alive.
                tokio::select! {
                    biased;
                    _ = tick.tick() => self.tick(),
                    request = queue.recv() => match request {
                        Some(request) => self.serve(request, &mut queue),
                        None => break,
                    },
                }
            }
        });
        self.publish(View::default());
    }

    fn tick(&mut self) {
        match self.store() {
            Ok(store) => self.retain(&store),
            Err(error) => tracing::debug!(%error, "the store is away"),
        }
    }

    /// Serves a request and those that wait behind it as one group.
    fn serve(&mut self, first: Request, queue: &mut mpsc::Receiver<Request>) {
        let mut group = Group::default();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Append { topic, records, room, done } => {
                    self.append(&mut group, topic, records, done);
                    drop(room);
                }
                Request::Change(change) => self.change(&mut group, change),
                // Rare: what was gathered is written first, so that requests take effect in their order.
                Request::EnsureTopic { name, options, done } => {
                    self.commit(std::mem::take(&mut group));
                    let _ = done.send(self.ensure_topic(&name, Some(options)).map(|_| ()));
                }
                Request::DeleteTopic { name, done } => {
                    self.commit(std::mem::take(&mut group));
                    let _ = done.send(self.delete_topic(&name));
                }
            }
            next = if group.weight() < GROUP { queue.try_recv().ok() } else { None };
        }
        self.commit(group);
    }

    fn append(
        &mut self,
        group: &mut Group,
        topic: String,
        records: Vec<NewRecord>,
        done: oneshot::Sender<Result<Vec<Place>, AppendError>>,
    ) {
        match self.ensure_topic(&topic, None).and_then(|found| group.append(&found, records)) {
            Ok(places) => group.reply(Box::new(move |written| {
                let _ = done.send(match written {
                    Ok(()) => Ok(places),
                    Err(source) => Err(AppendError::Store { topic, source }),
                });
            })),
            Err(error) => {
                let _ = done.send(Err(error));
            }
        }
    }

    fn change(&mut self, group: &mut Group, change: Change) {
        let rows = self.store().map(|store| group.rows(&store));
        if let Some(reply) = change(rows) {
            group.reply(reply);
        }
    }

    /// Makes a group durable, shows it to readers and answers its callers.
    fn commit(&mut self, group: Group) {
        if group.is_empty() {
            return;
        }
        let (written, replies) = match self.store() {
            Ok(store) => self.write(&store, group),
            Err(error) => (Err(error), group.into_replies()),
        };
        for reply in replies {
            reply(written.clone());
        }
    }

    fn write(&mut self, store: &Arc<Store>, group: Group) -> (Result<(), StoreError>, Vec<Reply>) {
        if let Err(full) = store.room_for(group.weight()) {
            return (Err(full), group.into_replies());
        }
        let (batch, appended, replies) = group.finish(store, &self.fills, now());
        let written = store.commit(batch);
        match &written {
            Ok(()) => {
                for append in &appended {
                    append.publish(&mut self.fills);
                }
                if !appended.is_empty() {
                    self.commits.send_modify(|count| *count += 1);
                    self.roll_full(store, &appended);
                }
            }
            Err(error) => self.abandon(error.clone()),
        }
        (written, replies)
    }

    /// The store, opened anew if it had failed.
    fn store(&mut self) -> Result<Arc<Store>, StoreError> {
        match &self.away {
            None => {}
            Some((error, since)) if since.elapsed() < TICK / 2 => return Err(error.clone()),
            Some(_) => self.open()?,
        }
        self.view.borrow().store.clone().ok_or(StoreError::Closed)
    }

    fn open(&mut self) -> Result<(), StoreError> {
        let opened = Store::open(&self.path, self.reserve).and_then(|store| {
            let topics = catalogue::load(&store)?;
            let mut fills = HashMap::new();
            for (topic, segment) in topics.values().flat_map(|t| t.segments.iter().map(move |s| (t, s))) {
                let key = (topic.row.number, segment.number);
                fills.insert(key, catalogue::fill(&store, key.0, key.1)?);
            }
            Ok((View { topics, store: Some(Arc::new(store)) }, fills))
        });
        match opened {
            Ok((view, fills)) => {
                self.fills = fills;
                if self.away.take().is_some() {
                    tracing::info!("the store is open again");
                }
                self.publish(view);
                Ok(())
            }
            Err(error) => {
                self.away = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    /// Lets go of a store that failed: what it holds in memory may differ from what lies on the disk.
    fn abandon(&mut self, error: StoreError) {
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed and is opened anew");
        self.publish(View::default());
        self.away = Some((error, Instant::now()));
    }

    fn publish(&self, view: View) {
        self.view.send_replace(Arc::new(view));
    }
}

/// The wall clock, in milliseconds since the epoch.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
