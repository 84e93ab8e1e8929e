//! `PrefixReader`: the hot half of the source. Up: [the source](super).

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use keyweir_core::{Offset, RangeSet, ShardId, ShardIndex};
use keyweir_engine::ports::{Intake, Reader};

use super::Settings;
use super::follow::Room;
use super::path::Path;
use super::slot::Slot;
use crate::client::Connection;

/// Where an open handle leads: a path and a slot of it.
#[derive(Debug, Clone)]
struct Place {
    path: Arc<str>,
    slot: u32,
}

/// Reads slots of paths: one task for each path, whatever the number of its slots.
#[derive(Debug)]
pub struct PrefixReader {
    connection: Connection,
    settings: Arc<Settings>,
    room: Room,
    paths: Vec<(Arc<str>, Path)>,
    places: HashMap<ShardIndex, Place>,
    /// Notes for a shard that is opened next.
    noted: HashMap<ShardIndex, Vec<u8>>,
    /// Slots that are closed; their notes are still asked for.
    closed: HashMap<ShardIndex, Slot>,
    ready: VecDeque<Intake>,
    /// The path that is asked first.
    turn: usize,
}

impl PrefixReader {
    /// A reader with nothing open. At most `bytes` wait to be taken.
    #[must_use]
    pub fn new(connection: Connection, settings: Settings, bytes: usize) -> Self {
        let room = Room::new(settings.watch_buffer, bytes);
        Self {
            connection,
            settings: Arc::new(settings),
            room,
            paths: Vec::new(),
            places: HashMap::new(),
            noted: HashMap::new(),
            closed: HashMap::new(),
            ready: VecDeque::new(),
            turn: 0,
        }
    }

    /// The path of that name, made when it is first needed: a connection of its own, so that a watch nobody reads from
    /// for a while holds up nobody else.
    fn path(&mut self, name: &Arc<str>) -> &mut Path {
        let found = self.paths.iter().position(|(known, _)| known == name);
        let place = found.unwrap_or_else(|| {
            let connection = self.connection.another(self.settings.deadline);
            let path = Path::new(name, connection, Arc::clone(&self.settings), self.room.clone());
            self.paths.push((Arc::clone(name), path));
            self.paths.len() - 1
        });
        &mut self.paths[place].1
    }

    fn at(&mut self, shard: ShardIndex) -> Option<(&mut Path, u32)> {
        let Place { path, slot } = self.places.get(&shard)?.clone();
        let path = self.paths.iter_mut().find(|(known, _)| *known == path)?;
        Some((&mut path.1, slot))
    }
}

impl Reader for PrefixReader {
    fn open(&mut self, shard: ShardIndex, id: &ShardId, from: Offset) {
        self.close(shard);
        self.closed.remove(&shard);
        let slot = Slot::open(shard, from, self.noted.remove(&shard).unwrap_or_default());
        self.places.insert(shard, Place { path: Arc::clone(&id.stream), slot: id.index });
        self.path(&id.stream).open(id.index, slot);
    }

    fn close(&mut self, shard: ShardIndex) {
        let closed = self.at(shard).and_then(|(path, slot)| path.close(slot));
        self.places.remove(&shard);
        self.closed.extend(closed.map(|slot| (shard, slot)));
        // What was read ahead of it goes with it.
        self.ready.retain_mut(|intake| match intake {
            Intake::Batch(batch) => {
                batch.records.retain(|record| record.shard != shard);
                batch.positions.retain(|(of, _)| *of != shard);
                !batch.records.is_empty() || !batch.positions.is_empty()
            }
            Intake::Trouble(of, _) | Intake::Recovered(of) => *of != Some(shard),
            Intake::Resynced { shard: of, .. } => *of != shard,
        });
    }

    fn pause(&mut self, shard: ShardIndex) {
        if let Some((path, slot)) = self.at(shard) {
            path.pause(slot);
        }
    }

    fn resume(&mut self, shard: ShardIndex) {
        if let Some((path, slot)) = self.at(shard) {
            path.resume(slot);
        }
    }

    fn remind(&mut self, shard: ShardIndex, notes: &[u8]) {
        self.noted.insert(shard, notes.to_vec());
    }

    fn notes(&mut self, shard: ShardIndex, frontier: Offset, completed: &RangeSet) -> Vec<u8> {
        if let Some(closed) = self.closed.get_mut(&shard) {
            return closed.notes(frontier, completed);
        }
        let open = self.at(shard).and_then(|(path, slot)| path.slot(slot));
        open.map(|slot| slot.notes(frontier, completed)).unwrap_or_default()
    }

    fn forget(&mut self, shard: ShardIndex) {
        self.closed.remove(&shard);
        self.noted.remove(&shard);
    }

    /// Cancel-safe: it waits for a channel only, and what was taken from there is kept until it is given.
    async fn next(&mut self) -> Intake {
        loop {
            if let Some(intake) = self.ready.pop_front() {
                return intake;
            }
            let Self { paths, turn, .. } = self;
            let (place, news) = poll_fn(|cx| {
                for step in 0..paths.len() {
                    let place = (*turn + step) % paths.len();
                    if let Poll::Ready(news) = paths[place].1.poll_news(cx) {
                        return Poll::Ready((place, news));
                    }
                }
                Poll::Pending
            })
            .await;
            self.turn = (place + 1) % self.paths.len();
            self.paths[place].1.take(news, &mut self.ready);
            // Trouble of one path is over when it is of none.
            let troubled = self.paths.iter().any(|(_, path)| path.is_troubled());
            self.ready.retain(|intake| !(troubled && matches!(intake, Intake::Recovered(None))));
        }
    }
}
